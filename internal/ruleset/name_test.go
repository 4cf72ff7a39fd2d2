package ruleset

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestComment(t *testing.T) {
	long := strings.Repeat("x", MaxComment)
	tests := []struct{ about, text, want string }{
		{"nothing", "", ""},
		{"plain", "uuid=1 vm=web-1", "uuid=1 vm=web-1"},
		{"quotes", `a"b'c`, "a?b'c"},
		{"backslash", `a\b`, "a?b"},
		{"control characters", "a\nb\tc\x00d\x7fe\x1b[0m", "a?b?c?d?e?[0m"},
		{"control characters of a terminal", "a\u009b31mb\u2028c\u202ed", "a?31mb?c?d"},
		{"no UTF-8", "a\xffb", "a?b"},
		{"other scripts", "Größe 網頁 🖧", "Größe 網頁 🖧"},
		{"nft syntax", "a; } # {", "a; } # {"},
		{"longest", long, long},
		{"a byte too long", long + "y", long},
		{"far too long", strings.Repeat(long, 9), long},
		{"letter of two bytes across the end", long[1:] + "é", long[1:]},
		{"letter of two bytes up to the end", long[2:] + "é", long[2:] + "é"},
		{"letter of four bytes across the end", long[1:] + "🖧", long[1:]},
		{"letter of four bytes, three within", long[3:] + "🖧", long[3:]},
		{"letter of four bytes up to the end", long[4:] + "🖧", long[4:] + "🖧"},
		{"too long before it is made fit", long[1:] + "\xff\xff", long[1:] + "?"},
	}
	for _, test := range tests {
		if got := Comment(test.text); got != test.want {
			t.Errorf("%s: %q becomes %q, want %q", test.about, test.text, got, test.want)
		}
	}
}

// FuzzComment looks for text that stays unfit to be a comment.
func FuzzComment(f *testing.F) {
	for _, s := range []string{"", "uuid=1 vm=web-1", "a\"b\\c\nd\x00\x7f", "\xff\xfe", strings.Repeat("é", 200), strings.Repeat("x", 127) + "🖧"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := Comment(s)
		if len(c) > MaxComment {
			t.Errorf("%d bytes", len(c))
		}
		if !utf8.ValidString(c) {
			t.Errorf("%q is no UTF-8", c)
		}
		for _, r := range c {
			if !unicode.IsPrint(r) || r == '"' || r == '\\' {
				t.Errorf("%q has %q", c, r)
			}
		}
		if again := Comment(c); again != c {
			t.Errorf("%q becomes %q, and that %q", s, c, again)
		}
		if err := validComment(c); err != nil {
			t.Errorf("%q: %v", c, err)
		}
	})
}

func TestValidDevice(t *testing.T) {
	for _, name := range []string{"macvtap0", "a", "123456789012345", "eth0.100", "a:b", "a-b_c", "x;y", "$x", "@a", "a'b", "{", "}", "#1", "-", "0", "~"} {
		if !ValidDevice(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", "1234567890123456", "a b", "a\tb", "a\nb", "a\x00", "a\x7f", `a"b`, `a\b`, "a*", "*", "a/b", "é", "\xff"} {
		if ValidDevice(name) {
			t.Errorf("%q is accepted", name)
		}
	}
}

func TestTableName(t *testing.T) {
	for device, want := range map[string]string{
		"macvtap0":        "macvtap-filter-macvtap0",
		"eth0.1-a_b":      "macvtap-filter-eth0.1-a_b",
		"a:b":             "macvtap-filter-a/3ab",
		"{;}":             "macvtap-filter-/7b/3b/7d",
		"a/b":             "macvtap-filter-a/b",
		"\xff é":          "macvtap-filter-/ff/20/c3/a9",
		"$$$$$$$$$$$$$$$": "macvtap-filter-" + strings.Repeat("/24", 15),
	} {
		got := TableName(device)
		if got != want {
			t.Errorf("%q: table %q, want %q", device, got, want)
		}
		if !validIdentifier(got) {
			t.Errorf("%q: %q is no identifier", device, got)
		}
	}
}

func TestTableDevice(t *testing.T) {
	for table, want := range map[string]string{
		"macvtap-filter-macvtap0":          "macvtap0",
		"macvtap-filter-a/3ab":             "a:b",
		"macvtap-filter-macvtap-filter-x0": "macvtap-filter-x0",
	} {
		if got, ok := TableDevice(table); !ok || got != want {
			t.Errorf("%q: device %q (%t), want %q", table, got, ok, want)
		}
	}
	for _, table := range []string{
		"", "macvtap0", "macvtap-filter", "Macvtap-filter-macvtap0", "x-macvtap-filter-macvtap0",
		"macvtap-filter-a/", "macvtap-filter-a/3", "macvtap-filter-a/3A", "macvtap-filter-a/zz",
		"macvtap-filter-a/61",       // not escaped so: 'a' needs no escape
		"macvtap-filter-a b",        // escaped: ' ' needs one
		"macvtap-filter-a/+1",       // a number for strconv, no escape
		"macvtap-filter-",           // of no device
		"macvtap-filter-a/2fb",      // no device's name has a '/'
		"macvtap-filter-" + "/3a/5", // broken at the end
	} {
		if got, ok := TableDevice(table); ok {
			t.Errorf("%q is taken for the table of %q", table, got)
		}
	}
}

// FuzzTableName looks for a device whose table is no identifier, or is taken for
// another device's.
func FuzzTableName(f *testing.F) {
	for _, s := range []string{"macvtap0", "a:b", "a\"b", "/61", "é\xff", "", "macvtap-filter-a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if device, ok := TableDevice(s); ok && TableName(device) != s {
			t.Errorf("%q is taken for the table of %q", s, device)
		}
		if len(s) == 0 || len(s) > maxDevice || strings.Contains(s, "/") {
			return // no device
		}
		table := TableName(s)
		if !validIdentifier(table) {
			t.Errorf("%q: %q is no identifier", s, table)
		}
		if device, ok := TableDevice(table); !ok || device != s {
			t.Errorf("%q: its table %q is taken for that of %q (%t)", s, table, device, ok)
		}
	})
}

func TestLogPrefix(t *testing.T) {
	const words = "macvtap-filter from-vm REASON=vlan DEVICE=macvtap0 VM="
	for _, test := range []struct{ name, want string }{
		{"web-1", "web-1 "},
		{"My Windows VM", "My_Windows_VM "},
		{"网关 一号", "网关_一号 "},
		{`q"\$x`, "q???x "},
		{"a\nmacvtap-filter \x1b[31m\u202e\xff", "a?macvtap-filter_?[31m?? "},
		{strings.Repeat("y", 127-1-len(words)), strings.Repeat("y", 127-1-len(words)) + " "},
		{strings.Repeat("y", 127-len(words)), strings.Repeat("y", 127-4-len(words)) + "… "},
		{strings.Repeat("机", 300), strings.Repeat("机", (127-4-len(words))/3) + "… "},
	} {
		got := LogPrefix(words, test.name)
		if got != words+test.want {
			t.Errorf("%q: %q, want %q", test.name, got, words+test.want)
		}
		table := Table{Name: TableName("macvtap0"), Chains: []Chain{{Name: "c", Rules: []Rule{{Log: got}}}}}
		if err := table.Validate(); err != nil {
			t.Errorf("%q: %v", test.name, err)
		}
	}
}
