package journal

import "testing"

func TestLine(t *testing.T) {
	for message, want := range map[string]string{
		"":                              "",
		"VM \"web\" is protected":       "VM \"web\" is protected",
		"网关 خادم 🦊":                     "网关 خادم 🦊",
		"two\nlines\n":                  "two; lines",
		"\x1b[31mred\x07\r\t\x00\u0085": "?[31mred?????",
		"\u202eback\u2066\u200b\ufeff":  "?back???",
		"no UTF-8: \xff\xfe":            "no UTF-8: \ufffd\ufffd",
		"macvtap-filter: a\r\nerror: b": "macvtap-filter: a?; error: b",
	} {
		if got := Line(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}

func TestNamed(t *testing.T) {
	got := Fields{VM: "a\nb", Reason: Protected}.named()
	if len(got) != 3 || got["VM"] != "a\nb" || got["REASON"] != "protected" || got["SYSLOG_IDENTIFIER"] != "macvtap-filter" {
		t.Errorf("%q", got)
	}
}
