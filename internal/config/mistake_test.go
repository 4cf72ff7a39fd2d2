package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mistakes gives what is wrong with a configuration.
func mistakes(t *testing.T, text string) *Error {
	t.Helper()
	_, err := Parse("c", []byte(text))
	wrong, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%q: error %v, want one with mistakes", text, err)
	}
	return wrong
}

// A file's mistakes are told at once, in its order, and none that only follows from another.
func TestEveryMistake(t *testing.T) {
	const text = `Parents = ["eth0", "a/b"]
reconnect = true
metadata = "maybe"
guard = 1

[policy.dmz]
deny = ["private", 7, "192.168.2.1/16"]
alow = ["10.0.0.1/8"]
spoofing = "pas"
parents = ["eth1"]
serve = "tcp/80"

[[vm]]
nam = "web-*"
policy = "dmzz"

[[vm]]
name = 3
addresses = ["10.0.0.1", "10.0.0.0/33"]

[polcy.lab]
multicast = "Drop"
`
	want := []string{
		`c:1:1: unknown key Parents: did you mean "parents"?`,
		`c:1:20: parents: "a/b" is no name or glob`,
		`c:2:13: reconnect: want a string`,
		`c:3:12: metadata = "maybe": want "ignore" or "honour"`,
		`c:4:9: guard: want true or false`,
		`c:7:20: policy.dmz.deny: want a list of strings`,
		`c:7:23: deny: "192.168.2.1/16" has host bits: write 192.168.0.0/16, or 192.168.2.1 for the one address`,
		`c:8:1: unknown key policy.dmz.alow: did you mean "allow"?`,
		`c:8:9: allow: "10.0.0.1/8" has host bits: write 10.0.0.0/8, or 10.0.0.1 for the one address`,
		`c:9:12: spoofing = "pas": want "drop" or "pass"`,
		`c:10:1: unknown key policy.dmz.parents: it belongs above the first section`,
		`c:11:9: policy.dmz.serve: want a list of strings`,
		`c:14:1: unknown key vm.nam: did you mean "name"?`,
		`c:15:10: [[vm]]: nobody defines the policy "dmzz": did you mean "dmz"?`,
		`c:18:8: vm.name: want a string`,
		`c:19:26: [[vm]]: addresses: "10.0.0.0/33" is no prefix such as 192.168.0.0/16 or fc00::/7`,
		`c:21:2: unknown key polcy: did you mean "policy"?`,
		`c:22:13: multicast = "Drop": want "drop" or "pass"`,
	}
	var got []string
	for _, m := range mistakes(t, text).Mistakes {
		got = append(got, m.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// In one line, the first mistake stands for all.
func TestMistakesInOneLine(t *testing.T) {
	wrong := mistakes(t, "parents = [\"a\"]\ncolour = 1\nshape = 2\n")
	if want := `c:2:1: unknown key colour (and 1 more: "macvtap-filter check" lists them)`; wrong.Error() != want {
		t.Errorf("%q, want %q", wrong, want)
	}
	wrong = mistakes(t, "parents = [\"a\"]\n"+strings.Repeat("[[vm]]\n", maxMistakes+5))
	if len(wrong.Mistakes) != maxMistakes || wrong.More != 5 || !strings.Contains(wrong.Error(), fmt.Sprintf("(and %d more:", maxMistakes+4)) {
		t.Errorf("%d mistakes and %d more: %v", len(wrong.Mistakes), wrong.More, wrong)
	}
}

// The caret stands below what is wrong, whatever is before it in its line.
func TestExcerpt(t *testing.T) {
	long := strings.Repeat(`"eth0", `, 100000)
	for _, test := range []struct {
		about, text string
		column      int
		line, caret string // behind the margin
	}{
		{"a value", "parents = ['a']\nreconnect = 'no'\n", 13, "reconnect = 'no'", "            ^"},
		{"a list", "parents = 'a'\n", 11, "parents = 'a'", "          ^"},
		{"an empty list", "parents = [ ]", 11, "parents = [ ]", "          ^"},
		{"a key", "parents = ['a']\n[policy.x]\n alow = []\n", 2, " alow = []", " ^"},
		{"a dotted key", "parents = ['a']\npolicy . x . \"alöw\" = []\n", 14, `policy . x . "alöw" = []`, "             ^"},
		{"a section", "parents = ['a']\n[ policy . 'x y' ]\n", 12, "[ policy . 'x y' ]", "           ^"},
		{"a key in a table", "parents = ['a']\nvm = [{name = 'a'}, {nam = 'b'}]\n", 22, "vm = [{name = 'a'}, {nam = 'b'}]", "                     ^"},
		{"no TOML", "parents = ['a'] x\n", 17, "parents = ['a'] x", "                ^"},
		{"an end without a line break", "parents = ['a'", 14, "parents = ['a'", "             ^"},
		{"tabs", "parents = ['a']\n\treconnect\t=\t'no'\n", 14, "    reconnect    =    'no'", "                      ^"},
		{"umlauts", "parents = ['ä', 'ö/']\n", 17, "parents = ['ä', 'ö/']", "                ^"},
		{"wide characters", "parents = ['网络', 'a/']\n", 18, "parents = ['网络', 'a/']", "                   ^"},
		{"characters of two parts", "parents = ['e\u0301', 'a/']\n", 18, "parents = ['e\u0301', 'a/']", "                ^"},
		{"no TOML behind wide characters", "parents = ['网络'] x\n", 18, "parents = ['网络'] x", "                   ^"},
		{"Windows", "\ufeffparents = ['a']\r\nreconnect = 'no'\r\n", 13, "reconnect = 'no'", "            ^"},
		{"a byte order mark", "\ufeffparents = 'a'", 11, "parents = 'a'", "          ^"},
		{"no UTF-8", "parents = ['a']\nlisten = '\xff\xfe'", 11, "listen = '\ufffd\ufffd'", "          ^"},
		{"what a terminal obeys", "parents = ['a']\nmetadata = '\u202e' # \u009b2J\n", 12, "metadata = '?' # ?2J", "           ^"},
		{"a long line", "parents = [" + long + "'a/', " + long + "'b']", 11 + len(long) + 1,
			`…, "eth0", "eth0", "eth0", "eth0", "eth0", "eth0", 'a/', "eth0", "eth0", "eth0", "eth0", "eth0", "eth…`, strings.Repeat(" ", 51) + "^"},
	} {
		m := mistakes(t, test.text).Mistakes[0]
		lines := strings.SplitAfter(m.Excerpt(), "\n")
		if len(lines) != 3 || lines[2] != "" {
			t.Errorf("%s: %q is not two lines", test.about, m.Excerpt())
			continue
		}
		want := fmt.Sprintf("%5d | %s\n      | %s\n", m.Line, test.line, test.caret)
		if m.Column != test.column || m.Excerpt() != want {
			t.Errorf("%s: %v: column %d, want %d:\n%swant\n%s", test.about, m, m.Column, test.column, m.Excerpt(), want)
		}
	}
	if m := mistakes(t, "").Mistakes[0]; m.Line != 0 || m.Excerpt() != "" || !strings.HasPrefix(m.String(), "c: no parents") {
		t.Errorf("an empty file: %v, %q", m, m.Excerpt())
	}
}
