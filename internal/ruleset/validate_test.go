package ruleset

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// right makes a table that Validate finds right, with one rule.
func right() *Table {
	return &Table{
		Name: "macvtap-filter-macvtap0", Comment: "vm=web", Counters: []string{"dropped"},
		Sets: []Set{{Name: "allow", Key: []Type{TypeIPv4}}},
		Chains: []Chain{
			{Name: "judge"},
			{Name: "from-vm", Hook: &Hook{Type: Egress, Device: "macvtap0"}, Rules: []Rule{{
				Matches: []Match{Lookup{Fields: []Field{IPSource}, Set: "allow"}},
				Counter: "dropped", Verdict: Goto("judge"), Comment: "why",
			}}},
		},
	}
}

func TestValidate(t *testing.T) {
	if err := right().Validate(); err != nil {
		t.Fatal(err)
	}
	rule := func(t *Table) *Rule { return &t.Chains[1].Rules[0] }
	match := func(m Match) func(*Table) {
		return func(t *Table) { rule(t).Matches = []Match{m} }
	}
	tests := []struct {
		about  string
		change func(*Table)
		want   string
	}{
		{"table without a name", func(t *Table) { t.Name = "" }, `"" is no nft identifier`},
		{"table named with a blank", func(t *Table) { t.Name = "a b" }, `"a b" is no nft identifier`},
		{"table with a long name", func(t *Table) { t.Name = strings.Repeat("a", 128) }, "is no nft identifier"},
		{"counter that begins with a digit", func(t *Table) { t.Counters[0] = "1a" }, `"1a" is no nft identifier`},
		{"set named with a letter of another script", func(t *Table) { t.Sets[0].Name = "é" }, `"é" is no nft identifier`},
		{"chain named with a brace", func(t *Table) { t.Chains[0].Name = "a}" }, `"a}" is no nft identifier`},
		{"device that nft cannot write", func(t *Table) { t.Chains[1].Hook.Device = `a"b` }, `cannot write the device name "a\"b"`},
		{"device that nft reads as a glob", func(t *Table) { t.Chains[1].Hook.Device = "macvtap*" }, `"macvtap*"`},
		{"no device", func(t *Table) { t.Chains[1].Hook.Device = "" }, `cannot write the device name ""`},
		{"a device and prefixes", func(t *Table) { t.Chains[1].Hook.Prefixes = []string{"web"} }, `both the device "macvtap0" and prefixes`},
		{"prefix that is a glob", func(t *Table) { *t.Chains[1].Hook = Hook{Prefixes: []string{"web*"}} }, `the prefix "web*"`},
		{"prefix of every name", func(t *Table) { *t.Chains[1].Hook = Hook{Prefixes: []string{""}} }, `the prefix ""`},
		{"prefix in another", func(t *Table) { *t.Chains[1].Hook = Hook{Prefixes: []string{"macvtap", "mac"}} }, `the prefix "mac" of device names holds "macvtap"`},
		{"mark too short", match(Compare{PacketMark, Equal, []byte{1}}), "meta mark has 4 bytes, compared with 1"},
		{"write of a named field", func(t *Table) { rule(t).Writes = []Write{{To: IPSource, Value: make([]byte, 4)}} }, "want raw bytes"},
		{"write of fewer bytes", func(t *Table) { rule(t).Writes = []Write{{To: Raw(NetworkHeader, 0, 4), Value: []byte{1}}} }, "and as many"},
		{"write of a longer field", func(t *Table) {
			rule(t).Writes = []Write{{To: Raw(NetworkHeader, 0, 4), From: Raw(NetworkHeader, 4, 8)}}
		}, "and as many"},
		{"write behind a protocol", func(t *Table) {
			rule(t).Writes = []Write{{To: Raw(NetworkHeader, 0, 4), Value: make([]byte, 4)}}
		}, "that says a protocol"},
		{"long comment of the table", func(t *Table) { t.Comment = strings.Repeat("a", 129) }, "a comment of 129 bytes"},
		{"quote in the comment of a rule", func(t *Table) { rule(t).Comment = `"` }, `chain "from-vm": rule 1: a comment that nft cannot read back`},
		{"long comment of a rule", func(t *Table) { rule(t).Comment = strings.Repeat("a", 129) }, "a comment of 129 bytes"},
		{"no such counter", func(t *Table) { rule(t).Counter = "other" }, `no counter "other"`},
		{"no such chain", func(t *Table) { rule(t).Verdict = Goto("other") }, `no chain "other"`},
		{"no such set", match(Lookup{Fields: []Field{IPSource}, Set: "other"}), `no set "other"`},
		{"set of another number of fields", match(Lookup{Fields: []Field{IPSource, L4Proto}, Set: "allow"}), `no set "allow" with 2 fields`},
		{"value too short", match(Compare{IPSource, Equal, []byte{1}}), "ip saddr has 4 bytes, compared with 1"},
		{"mask too long", match(Masked{IPFragment, []byte{1, 2, 3}, Equal, []byte{0, 0}}), "compared with 3"},
		{"end of a range too short", match(Between{DestinationPort, []byte{0, 1}, []byte{1}}), "compared with 1"},
		{"prefix of the other family", match(InPrefix{IPSource, false, netip.MustParsePrefix("fe80::/10")}), "ip saddr cannot lie in fe80::/10"},
		{"prefix of every address", match(InPrefix{IPSource, true, netip.MustParsePrefix("0.0.0.0/0")}), "cannot lie in 0.0.0.0/0"},
		{"no prefix", match(InPrefix{IPSource, false, netip.Prefix{}}), "cannot lie in"},
		{"more elements than room", func(t *Table) {
			t.Sets[0].Dynamic, t.Sets[0].Elements = 1, make([]Element, 2)
		}, `set "allow": 2 elements, and room for 1`},
		{"ranges that rules add", func(t *Table) { t.Sets[0].Dynamic, t.Sets[0].Interval = 1, true }, `set "allow": rules add no ranges`},
		{"an update of no set", func(t *Table) { rule(t).Updates = []Update{{Set: "other", Fields: []Field{IPSource}}} }, `no dynamic set "other" for update @other { ip saddr }`},
		{"an update of a set that is not dynamic", func(t *Table) { rule(t).Updates = []Update{{Set: "allow", Fields: []Field{IPSource}}} }, `no dynamic set "allow" for update @allow { ip saddr }`},
		{"an update for a time of a set whose elements stay", func(t *Table) {
			t.Sets[0].Dynamic = 1
			rule(t).Updates = []Update{{Set: "allow", Fields: []Field{IPSource}, Timeout: time.Hour}}
		}, `no dynamic set "allow" for update @allow { ip saddr timeout 1h }`},
		{"an update with another type", func(t *Table) {
			t.Sets[0].Dynamic = 1
			rule(t).Updates = []Update{{Set: "allow", Fields: []Field{EtherSource}}}
		}, `no dynamic set "allow" for update @allow { ether saddr }`},
		{"no match", match(nil), "unknown kind of match"},
	}
	for _, test := range tests {
		t.Run(test.about, func(t *testing.T) {
			table := right()
			test.change(table)
			err := table.Validate()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "table ") {
				t.Errorf("%q does not begin with the table", err)
			}
		})
	}
}

// nft adds these matches by itself; the kernel is programmed with them.
func TestDependencies(t *testing.T) {
	tests := []struct {
		about   string
		matches []Match
		want    string
	}{
		{"a field of IPv4", []Match{Compare{IPSource, Equal, make([]byte, 4)}}, "meta protocol ip, ip saddr 0.0.0.0"},
		{"two fields of IPv4", []Match{Compare{IPSource, Equal, make([]byte, 4)}, Compare{IPDestination, Equal, make([]byte, 4)}},
			"meta protocol ip, ip saddr 0.0.0.0, ip daddr 0.0.0.0"},
		{"written already", []Match{Is(Protocol, EtherTypeIPv6), Compare{IP6Source, Equal, make([]byte, 16)}}, "meta protocol ip6, ip6 saddr ::"},
		{"in a lookup", []Match{Lookup{Fields: []Field{IPSource, L4Proto}, Set: "s"}}, "meta protocol ip, ip saddr . meta l4proto @s"},
		{"a field of Ethernet", []Match{Is(EtherType, EtherTypeARP), Is(EtherType, EtherTypeARP)}, "meta iiftype 1, ether type arp, ether type arp"},
		{"none", []Match{Is(Protocol, EtherTypeARP)}, "meta protocol arp"},
	}
	for _, test := range tests {
		var got []string
		for _, m := range (Rule{Matches: test.matches}).Dependencies() {
			if c, ok := m.(Compare); ok && c.Field.Name == "iiftype" {
				got = append(got, "meta iiftype 1") // in the byte order of the machine
				continue
			}
			got = append(got, m.text(nil))
		}
		if joined := strings.Join(got, ", "); joined != test.want {
			t.Errorf("%s: %s, want %s", test.about, joined, test.want)
		}
	}
}
