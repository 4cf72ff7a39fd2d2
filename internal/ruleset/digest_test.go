package ruleset

import (
	"net/netip"
	"testing"
)

// Parts that differ in whatever it be have digests that differ: rules that somebody changed
// would be trusted otherwise.
func TestDigest(t *testing.T) {
	ports := []Field{L4Proto, DestinationPort}
	mark := uint32(1)
	rule := func(r Rule) Part { return Part{Chains: []Chain{{Name: "a", Rules: []Rule{r}}}} }
	match := func(m ...Match) Part { return rule(Rule{Matches: m}) }
	update := func(all ...Update) Part { return rule(Rule{Updates: all}) }
	set := func(s Set) Part { return Part{Sets: []Set{s}} }
	prefix := netip.MustParsePrefix
	parts := []Part{
		{}, {Chains: []Chain{{Name: "a"}}}, {Chains: []Chain{{Name: "b"}}}, {Chains: []Chain{{Name: "a"}, {Name: "b"}}},
		set(Set{Name: "a"}), set(Set{Name: "a", Key: []Type{TypeIPv4}}), set(Set{Name: "a", Key: []Type{TypeIPv6}}),
		set(Set{Name: "a", Typeof: ports}), set(Set{Name: "a", Typeof: ports[:1]}), set(Set{Name: "a", Interval: true}),
		set(Set{Name: "a", Dynamic: 1}), set(Set{Name: "a", Dynamic: 1, Expires: true}), set(Set{Name: "a", Elements: []Element{element(1)}}), set(Set{Name: "a", Elements: []Element{element(1), element(2)}}),
		set(Set{Name: "a", Elements: []Element{{From: [][]byte{{1}}, To: [][]byte{{2}}}}}), set(Set{Name: "a", Unknown: "x"}),
		rule(Rule{}), rule(Rule{Verdict: Accept}), rule(Rule{Verdict: Drop}), rule(Rule{Verdict: Goto("a")}), rule(Rule{Verdict: Goto("b")}),
		rule(Rule{Comment: "x"}), rule(Rule{Unknown: "x"}), rule(Rule{Counter: "x"}), rule(Rule{Log: "x"}), rule(Rule{Limit: 1}), rule(Rule{Mark: new(uint32)}), rule(Rule{Mark: &mark}),
		rule(Rule{Writes: []Write{{To: Raw(NetworkHeader, 0, 1), Value: []byte{1}}}}), rule(Rule{Writes: []Write{{To: Raw(NetworkHeader, 0, 1), Value: []byte{2}}}}), rule(Rule{Writes: []Write{{To: Raw(NetworkHeader, 0, 1), From: Raw(NetworkHeader, 1, 1)}}}),
		update(Update{Set: "a"}), update(Update{Set: "b"}), update(Update{Set: "a"}, Update{Set: "b"}), update(Update{Set: "a", Count: true}), update(Update{Set: "a", Fields: ports}),
		update(Update{Set: "a", Delete: true}), update(Update{Set: "a", Timeout: Day}), update(Update{Set: "a", Share: Share{1, 2, Day, false}}), update(Update{Set: "a", Share: Share{2, 1, Day, false}}), update(Update{Set: "a", Share: Share{1, 2, Week, false}}), update(Update{Set: "a", Share: Share{1, 2, Week, true}}),
		match(Byte(L4Proto, 6)), match(Byte(L4Proto, 17)), match(Byte(IP6NextHeader, 6)), match(Compare{L4Proto, NotEqual, []byte{6}}), match(Byte(L4Proto, 6), Byte(L4Proto, 6)),
		match(InPrefix{IPSource, false, prefix("10.0.0.0/8")}), match(InPrefix{IPSource, true, prefix("10.0.0.0/8")}), match(InPrefix{IPSource, false, prefix("10.0.0.0/9")}),
		match(Masked{IPSource, []byte{1}, Equal, []byte{2}}), match(Masked{IPSource, []byte{1}, NotEqual, []byte{2}}), match(Masked{IPSource, []byte{2}, Equal, []byte{2}}), match(Masked{IPSource, []byte{1}, Equal, []byte{1}}),
		match(Between{L4Proto, []byte{1}, []byte{2}}), match(Between{L4Proto, []byte{1}, []byte{3}}), match(Between{L4Proto, []byte{0}, []byte{2}}),
		match(OneOf{L4Proto, false, []Element{element(1), element(2)}}), match(OneOf{L4Proto, true, []Element{element(1), element(2)}}), match(OneOf{L4Proto, false, []Element{element(1), element(3)}}),
		match(Lookup{ports, false, "a"}), match(Lookup{ports, true, "a"}), match(Lookup{ports, false, "b"}), match(Lookup{ports[:1], false, "a"}),
		match(Byte(Raw(NetworkHeader, 0, 1), 1)), match(Byte(Raw(NetworkHeader, 1, 1), 1)), match(Byte(Raw(TransportHeader, 0, 1), 1)), match(Byte(Raw(NetworkHeader, 0, 2), 1)),
	}
	known := map[string]int{}
	for n, p := range parts {
		sum := p.Digest()
		if other, taken := known[sum]; taken {
			t.Errorf("the parts %d and %d have one digest: %+v and %+v", other, n, parts[other], p)
		}
		if known[sum] = n; p.Digest() != sum {
			t.Errorf("the part %d has two digests", n)
		}
	}
}
