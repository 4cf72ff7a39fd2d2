package status

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/filter"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// sample has an interface in each state, with names of several scripts.
func sample() Status {
	flow := func(frames, size uint64, drops ...Drop) Flow {
		return Flow{Passed: &Count{frames, size}, Arrived: &Count{frames, size}, Drops: append([]Drop{{"vlan", 0, new(uint64(0))}}, drops...)}
	}
	at := func(d time.Duration) *time.Time { return new(noon.Add(-d)) }
	return Status{
		Schema: Schema, Time: noon, Complete: true, Notes: []string{"libvirt: no daemon answers"},
		Guard: &Guard{FromVM: []Drop{{"no-rules", 12, new(uint64(900))}}},
		Interfaces: []Interface{
			{VM: "web-1", Number: 1, Device: "macvtap0", Index: 7, Parent: "enp88s0", Policy: "default", State: Protected, Since: at(90 * time.Minute),
				FromVM: flow(1234567, 987654321, Drop{"denied-ipv4", 31, new(uint64(3100))}, Drop{"spoofed-mac", 2, new(uint64(120))}), ToVM: flow(2345678, 3456789012, Drop{"denied-ipv4", 4, new(uint64(400))}),
				Addresses: []Address{
					{Address: netip.MustParseAddr("192.168.2.100"), Source: filter.DHCP, Since: at(80 * time.Minute), Used: at(5 * time.Minute)},
					{Address: netip.MustParseAddr("203.0.113.7"), Source: filter.Configured},
					{Address: netip.MustParseAddr("2001:db8:2:aaaa:bbbb:cccc:dddd:eeee"), Source: filter.Probe, Used: at(26 * time.Hour)},
				}},
			{VM: "数据库-主", Device: "macvtap1", Index: 8, Parent: "enp88s0", Policy: "dmz", State: Drifted, Problem: "other rules stand than should", Since: at(49 * time.Hour), FromVM: flow(10, 1000), ToVM: flow(20, 2000)},
			{VM: "خادم الويب", Device: "macvtap2", Index: 9, Parent: "enp88s0", State: Unprotected, Problem: "no rules stand, the local network and the VM are open to each other: \"macvtap-filter verify --repair\" makes them",
				FromVM: Flow{Passed: &Count{3, 300}, Drops: []Drop{}}, ToVM: Flow{Passed: &Count{4, 400}, Arrived: &Count{4, 400}, Drops: []Drop{}}},
			{VM: "वेब\x1b[31m\u009b2J\u202e", Device: "macvtap3", State: Stale, Problem: "there is no device \"macvtap3\" any more; a later one of that name would get these rules", FromVM: Flow{Drops: []Drop{}}, ToVM: Flow{Drops: []Drop{}}},
			{Device: "macvtap4", Index: 11, Parent: "enp88s0", Policy: "default", State: Unknown, Since: at(3 * time.Second), FromVM: flow(0, 0), ToVM: flow(0, 0)},
			{VM: strings.Repeat("long-", 30), Device: "macvtap5", Index: 12, Parent: "br0", State: Unfiltered, FromVM: flow(9999, 640000), ToVM: flow(10000, 123)},
			{VM: "e\u0301\u0323tude", Device: "macvtap6", Index: 13, Parent: "enp88s0", Problem: "nobody could compare its rules with those that should stand"},
		},
	}
}

var sequences = regexp.MustCompile("\x1b\\[[0-9;]*m")

// TestFits shows that a status fits every terminal, in every column and line of it, and
// that nothing in it commands the terminal.
func TestFits(t *testing.T) {
	for columns := 1; columns <= 200; columns++ {
		for _, rates := range []map[int]Rates{nil, {}, {7: {&Rate{12.5, 99999}, &Rate{1e6, 1e9}, new(3.0)}}} {
			for _, colour := range []bool{false, true} {
				text := View{Columns: columns, Colour: colour, Rates: rates, Title: "macvtap-filter status", Notes: true}.Text(sample())
				if colour {
					text = sequences.ReplaceAllString(text, "")
				}
				for line := range strings.Lines(text) {
					line = strings.TrimSuffix(line, "\n")
					if w := width(line); w > columns && columns >= 20 {
						t.Fatalf("%d columns: a line of %d: %q", columns, w, line)
					}
					if strings.ContainsAny(line, "\x1b\u009b\u202e\r\t") {
						t.Fatalf("%d columns: %q commands the terminal", columns, line)
					}
				}
			}
		}
	}
}

// TestColumnsAlign shows that what is beside each other is, whatever the names' script.
func TestColumnsAlign(t *testing.T) {
	for columns := 60; columns <= 200; columns++ {
		v := View{Columns: columns}
		s := sample()
		table := v.table(s.Interfaces, s)
		if !table.fits() {
			continue
		}
		at := 0
		for n, c := range table.columns {
			for _, text := range append([]string{c.title}, c.cells...) {
				if w := width(c.pad(text)); w != c.wide {
					t.Fatalf("%d columns: column %d: %q is %d wide, want %d", columns, n, text, w, c.wide)
				}
			}
			at += c.wide + len(gap)
		}
		if at-len(gap) > columns {
			t.Fatalf("%d columns: the table takes %d", columns, at)
		}
	}
}

// TestHeight shows that what is wrong comes first where there is no room for all.
func TestHeight(t *testing.T) {
	s := sample()
	for i := range 100 {
		s.Interfaces = append([]Interface{{VM: fmt.Sprintf("vm-%d", i), Device: "macvtap", Index: 100 + i, State: Protected}}, s.Interfaces...)
	}
	for lines := 24; lines < 60; lines++ {
		text := View{Columns: 120, Lines: lines, Title: "title", Notes: true}.Text(s)
		if n := strings.Count(text, "\n"); n > lines {
			t.Fatalf("%d lines on a terminal of %d:\n%s", n, lines, text)
		}
		for _, want := range []string{"数据库-主", "… and ", "107 macvtap interfaces: 101 protected, 1 drifted"} {
			if !strings.Contains(text, want) {
				t.Fatalf("%d lines: no %q in\n%s", lines, want, text)
			}
		}
	}
}

var update = flag.Bool("update", false, "write how a status looks to the golden files, instead of comparing")

// TestLooks pins how a status looks on terminals of some widths, and without one.
func TestLooks(t *testing.T) {
	s := sample()
	rates := map[int]Rates{7: {&Rate{1250.4, 98765}, &Rate{0.5, 30}, new(3.0)}, 8: {&Rate{}, &Rate{}, new(0.0)}}
	for name, v := range map[string]View{
		"pipe": {}, "120-columns": {Columns: 120, Notes: true}, "80-columns": {Columns: 80}, "40-columns": {Columns: 40},
		"watch-80-columns": {Columns: 80, Lines: 20, Rates: rates, Title: "macvtap-filter status", Notes: true},
		"watch-40-columns": {Columns: 40, Rates: rates, Title: "macvtap-filter status"},
	} {
		file := filepath.Join("..", "..", "testdata", "status", name+".txt")
		got := v.Text(s)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got; -update writes it):\n%s", name, diff)
		}
	}
}

// TestColour shows a state coloured, and nothing else than the sequences besides.
func TestColour(t *testing.T) {
	s := sample()
	for _, columns := range []int{0, 40, 120} {
		text := View{Columns: columns, Colour: true}.Text(s)
		for _, want := range []string{green + "protected", red + "drifted", red + "unprotected"} {
			if columns != 40 && !strings.Contains(text, want) {
				t.Errorf("%d columns: no %q in %q", columns, want, text)
			}
		}
		if plainText := (View{Columns: columns}).Text(s); sequences.ReplaceAllString(text, "") != plainText {
			t.Errorf("%d columns: with colours the text is another", columns)
		}
	}
}

func TestShort(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0", 1: "1", 0.25: "0.2", 12.5: "12.5", 99.96: "100", 9999: "9999", 9999.4: "9999", 9999.5: "10.0k", 10000: "10.0k", 99949: "99.9k", 99950: "100k",
		123456: "123k", 999499: "999k", 999500: "1.0M", 1234567: "1.2M", 18446744073709551615: "18.4E", 5e21: "5000E",
	} {
		if got := short(n); got != want {
			t.Errorf("%g: %q, want %q", n, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text    string
		columns int
		want    string
	}{
		{"web", 3, "web"}, {"web-1", 3, "we…"}, {"web", 1, "…"}, {"web", 0, ""}, {"数据库", 6, "数据库"}, {"数据库", 5, "数据…"}, {"数据库", 4, "数…"},
		{"e\u0301\u0323tude", 3, "e\u0301\u0323t…"}, {"👩‍💻👩‍💻", 3, "👩‍💻…"},
	} {
		if got := cut(c.text, c.columns); got != c.want {
			t.Errorf("%q in %d columns: %q, want %q", c.text, c.columns, got, c.want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text    string
		columns int
		want    []string
	}{
		{"", 5, []string{""}}, {"one two", 0, []string{"one two"}}, {"a" + together("b c d"), 4, []string{"ab c", " d"}}, {"one two three", 7, []string{"one two", "three"}},
		{"abcdefgh ij", 3, []string{"abc", "def", "gh", "ij"}}, {"数据库", 2, []string{"数", "据", "库"}}, {"数", 1, []string{"数"}},
	} {
		if diff := cmp.Diff(c.want, wrap(c.text, c.columns)); diff != "" {
			t.Errorf("%q in %d columns (-want +got):\n%s", c.text, c.columns, diff)
		}
	}
}

// TestRates shows counters that go on, wrap, begin anew, vanish or come between two
// looks.
func TestRates(t *testing.T) {
	look := func(at time.Duration, interfaces ...Interface) Status {
		return Status{Time: noon.Add(at), Interfaces: interfaces}
	}
	i := func(index int, rules, out, in, dropped uint64) Interface {
		return Interface{
			Index: index, Rules: rules, FromVM: Flow{Passed: &Count{out, out * 100}, Drops: []Drop{{"vlan", dropped, nil}}},
			ToVM: Flow{Passed: &Count{in, in * 100}, Drops: []Drop{}},
		}
	}
	unread := i(7, 1, 30, 40, 5)
	unread.FromVM.Drops, unread.ToVM = nil, Flow{Arrived: unread.ToVM.Passed}
	for _, c := range []struct {
		name          string
		before, after Status
		want          map[int]Rates
	}{
		{"they go on", look(0, i(7, 1, 10, 20, 1)), look(2*time.Second, i(7, 1, 30, 40, 5)), map[int]Rates{7: {&Rate{10, 1000}, &Rate{10, 1000}, new(2.0)}}},
		{"they stand still", look(0, i(7, 1, 10, 20, 1)), look(time.Second, i(7, 1, 10, 20, 1)), map[int]Rates{7: {&Rate{}, &Rate{}, new(0.0)}}},
		{"the device's wrap", look(0, i(7, 1, 1<<63, 20, 1)), look(time.Second, i(7, 1, 3, 20, 1)), map[int]Rates{7: {nil, &Rate{}, new(0.0)}}},
		{"a reason's wraps", look(0, i(7, 1, 1, 20, 1<<63)), look(time.Second, i(7, 1, 1, 20, 1)), map[int]Rates{7: {&Rate{}, &Rate{}, nil}}},
		{"the rules are others", look(0, i(7, 1, 10, 20, 1)), look(time.Second, i(7, 2, 11, 9000, 5000)), map[int]Rates{7: {&Rate{1, 100}, nil, nil}}},
		{"the device is another", look(0, i(7, 1, 10, 20, 1)), look(time.Second, i(8, 1, 1000, 2000, 9)), map[int]Rates{}},
		{"it goes", look(0, i(7, 1, 10, 20, 1)), look(time.Second), map[int]Rates{}},
		{"it comes", look(0), look(time.Second, i(7, 1, 10, 20, 1)), map[int]Rates{}},
		{"nobody could read them", look(0, i(7, 1, 10, 20, 1)), look(time.Second, unread), map[int]Rates{7: {&Rate{20, 2000}, nil, nil}}},
		{"no time passed", look(0, i(7, 1, 10, 20, 1)), look(0, i(7, 1, 11, 20, 1)), nil},
		{"time went back", look(time.Second, i(7, 1, 10, 20, 1)), look(0, i(7, 1, 11, 20, 1)), nil},
	} {
		if diff := cmp.Diff(c.want, RatesBetween(c.before, c.after)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
