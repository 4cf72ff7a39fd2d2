package journal

import "testing"

// What others say is passed on as one line that commands no terminal: names are quoted by who names them, but an error's
// text may hold anything.
func TestLine(t *testing.T) {
	for message, want := range map[string]string{
		"VM \"网关 一号\" is protected":            "VM \"网关 一号\" is protected",
		"one\n":                                "one",
		"one\ntwo\n\n":                         "one; two",
		"red \x1b[31m, bell \a, C1 \u009b":     "red ?[31m, bell ?, C1 ?",
		"right to left \u202e, isolate \u2066": "right to left ?, isolate ?",
		"carriage\rreturn\ttab":                "carriage?return?tab",
		"not UTF-8 \xff":                       "not UTF-8 \ufffd",
	} {
		if got := Line(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}
