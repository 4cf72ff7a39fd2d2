package kernel_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// story plans the tables of one folder of testdata/cases.
func story(t *testing.T, folder string) []ruleset.Table {
	t.Helper()
	xml := open(t, folder, "domain.xml")
	d, err := domain.Parse(xml)
	if err != nil {
		t.Fatal(err)
	}
	d.Complete()
	text, err := os.ReadFile(filepath.Join(folder, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("config.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	var known plan.Recorded
	if _, err := os.Stat(filepath.Join(folder, "facts.json")); err == nil {
		if known, err = facts.Read(open(t, folder, "facts.json")); err != nil {
			t.Fatal(err)
		}
	}
	made, err := plan.Make(d, c, known)
	if err != nil {
		t.Fatal(err)
	}
	return made.Tables
}

func open(t *testing.T, folder, name string) *os.File {
	t.Helper()
	file, err := os.Open(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// everyMatch is a table with each kind of match on each field that takes it.
func everyMatch() ruleset.Table {
	var rules []ruleset.Rule
	add := func(matches ...ruleset.Match) {
		rules = append(rules, ruleset.Rule{Matches: matches, Counter: "seen", Verdict: ruleset.Accept, Comment: ruleset.Comment(`a "quoted" \ comment`)})
	}
	add(ruleset.Is(ruleset.Protocol, 0x88cc))
	add(ruleset.Is(ruleset.EtherType, ruleset.EtherTypeQinQ))
	add(ruleset.Compare{Field: ruleset.EtherType, Op: ruleset.NotEqual, Value: []byte{0x08, 0x06}})
	add(ruleset.Compare{Field: ruleset.IPSource, Op: ruleset.Less, Value: []byte{224, 0, 0, 0}})
	add(ruleset.Compare{Field: ruleset.IPSource, Op: ruleset.GreaterEqual, Value: []byte{0, 0, 0, 0}})
	add(ruleset.Compare{Field: ruleset.IP6Source, Op: ruleset.GreaterEqual, Value: make([]byte, 16)})
	for _, bits := range []int{1, 7, 8, 12, 16, 24, 31, 32} {
		p := netip.PrefixFrom(netip.MustParseAddr("192.168.77.5"), bits).Masked()
		add(ruleset.InPrefix{Field: ruleset.IPDestination, Prefix: p})
		add(ruleset.InPrefix{Field: ruleset.IPSource, Not: true, Prefix: p})
	}
	for _, bits := range []int{1, 7, 10, 16, 24, 40, 64, 65, 96, 127, 128} {
		p := netip.PrefixFrom(netip.MustParseAddr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"), bits).Masked()
		add(ruleset.InPrefix{Field: ruleset.IP6Destination, Prefix: p})
		add(ruleset.InPrefix{Field: ruleset.IP6Source, Not: true, Prefix: p})
	}
	add(ruleset.Masked{Field: ruleset.IPFragment, Mask: []byte{0x1f, 0xff}, Op: ruleset.NotEqual, Value: []byte{0, 0}})
	tcp := ruleset.Compare{Field: ruleset.L4Proto, Op: ruleset.Equal, Value: []byte{6}}
	add(tcp, ruleset.Between{Field: ruleset.DestinationPort, From: []byte{0, 80}, To: []byte{0, 90}})
	add(tcp, ruleset.Compare{Field: ruleset.SourcePort, Op: ruleset.Equal, Value: []byte{1, 187}})
	add(ruleset.Lookup{Fields: []ruleset.Field{ruleset.IPSource}, Set: "hosts"})
	add(ruleset.Lookup{Fields: []ruleset.Field{ruleset.IPSource}, Not: true, Set: "ranges"})
	add(ruleset.Lookup{Fields: []ruleset.Field{ruleset.IP6Source, ruleset.L4Proto, ruleset.SourcePort}, Set: "services"})
	add(ruleset.Compare{Field: ruleset.EtherSource, Op: ruleset.NotEqual, Value: vmMAC})
	add(ruleset.Masked{Field: ruleset.EtherDestination, Mask: []byte{1, 0, 0, 0, 0, 0}, Op: ruleset.Equal, Value: make([]byte, 6)})
	add(ruleset.OneOf{Field: ruleset.EtherDestination, Not: true, Elements: []ruleset.Element{{From: [][]byte{vmMAC}, To: [][]byte{vmMAC}}, {From: [][]byte{lanMAC}, To: [][]byte{lanMAC}}}})
	add(ruleset.Is(ruleset.ARPHardware, 1), ruleset.Is(ruleset.ARPProtocol, ruleset.EtherTypeIPv4), ruleset.Byte(ruleset.ARPHardLen, 6), ruleset.Byte(ruleset.ARPProtoLen, 4),
		ruleset.Between{Field: ruleset.ARPOperation, From: []byte{0, 1}, To: []byte{0, 2}})
	add(ruleset.Compare{Field: ruleset.ARPSenderMAC, Op: ruleset.NotEqual, Value: vmMAC})
	add(ruleset.InPrefix{Field: ruleset.ARPSenderIP, Prefix: netip.MustParsePrefix("10.0.0.0/9")})
	add(ruleset.Lookup{Fields: []ruleset.Field{ruleset.ARPTargetIP}, Set: "ranges"})
	add(ruleset.Byte(ruleset.ICMPv6Type, 134))
	add(ruleset.Byte(ruleset.ICMPType, 5))
	add(ruleset.OneOf{Field: ruleset.ICMPv6Type, Elements: []ruleset.Element{{From: [][]byte{{133}}, To: [][]byte{{133}}}, {From: [][]byte{{135}}, To: [][]byte{{135}}}}})
	add(ruleset.Is(ruleset.IP6Length, 32), ruleset.Byte(ruleset.IP6NextHeader, ruleset.ICMPv6), ruleset.Byte(ruleset.IP6HopLimit, 255), ruleset.Byte(ruleset.ICMPv6Type, 135))
	target := ruleset.Raw(ruleset.TransportHeader, 8, 16)
	addr := func(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
	add(ruleset.Byte(ruleset.L4Proto, ruleset.ICMPv6), ruleset.OneOf{Field: target, Elements: []ruleset.Element{{From: [][]byte{addr("fe80::1")}, To: [][]byte{addr("fe80::1")}}, {From: [][]byte{addr("fe80::2")}, To: [][]byte{addr("fe80::2")}}}})
	add(ruleset.Byte(ruleset.L4Proto, ruleset.ICMPv6), ruleset.OneOf{Field: target, Not: true, Elements: []ruleset.Element{{From: [][]byte{addr("fe80::1")}, To: [][]byte{addr("fe80::f")}}, {From: [][]byte{addr("ffff::")}, To: [][]byte{addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}}}})
	add(ruleset.Byte(ruleset.L4Proto, ruleset.ICMPv6), ruleset.Masked{Field: target, Mask: append([]byte{0xff, 0xc0}, make([]byte, 14)...), Op: ruleset.NotEqual, Value: addr("fe80::")})
	add(ruleset.Byte(ruleset.L4Proto, ruleset.ICMPv6), ruleset.Compare{Field: ruleset.Raw(ruleset.TransportHeader, 26, 6), Op: ruleset.Equal, Value: vmMAC})
	add(protocols(ruleset.IPinIP, ruleset.SixIn4, ruleset.GRE))
	not := protocols(ruleset.IPinIP, ruleset.SixIn4, ruleset.GRE)
	not.Not = true
	add(not)
	add(ruleset.Byte(ruleset.L4Proto, ruleset.TCP), ruleset.Masked{Field: ruleset.TCPFlags, Mask: []byte{0x12}, Op: ruleset.NotEqual, Value: []byte{2}})
	for _, op := range []ruleset.Op{ruleset.Equal, ruleset.NotEqual} {
		add(ruleset.Number(ruleset.PacketMark, op, 0x6d766601))
		add(ruleset.Number(ruleset.InputIndex, op, 4711))
		add(ruleset.Number(ruleset.OutputIndex, op, 1<<30+4711))
		add(ruleset.Kind(ruleset.InputKind, op, "macvtap"))
		add(ruleset.Kind(ruleset.OutputKind, op, "macvtap"))
	}
	rules = append(rules, ruleset.Rule{Mark: new(uint32(0x6d766601))}, ruleset.Rule{Mark: new(uint32(0)), Counter: "seen", Verdict: ruleset.Accept})
	sender, target4 := ruleset.Raw(ruleset.NetworkHeader, 14, 4), ruleset.Raw(ruleset.NetworkHeader, 24, 4)
	rules = append(rules, ruleset.Rule{Writes: []ruleset.Write{{To: target4, From: sender}, {To: sender, Value: []byte{192, 0, 2, 1}}}, Verdict: ruleset.Accept},
		ruleset.Rule{Counter: "seen", Writes: []ruleset.Write{{To: target4, Value: make([]byte, 4)}}})
	learn := func(f ruleset.Field) []ruleset.Update {
		return []ruleset.Update{{Set: "learned", Fields: []ruleset.Field{f}}}
	}
	rules = append(rules, ruleset.Rule{Updates: learn(ruleset.EtherSource)}, ruleset.Rule{Updates: learn(ruleset.ARPSenderMAC), Comment: "learned"})
	rules = append(rules, ruleset.Rule{Matches: []ruleset.Match{ruleset.Is(ruleset.ARPOperation, 2)}, Updates: learn(ruleset.ARPSenderMAC), Counter: "seen", Verdict: ruleset.Accept})
	rules = append(rules, ruleset.Rule{
		Matches: []ruleset.Match{ruleset.Is(ruleset.EtherType, ruleset.EtherTypeARP)}, Updates: learn(ruleset.ARPSenderMAC),
		Limit: 5, Log: "learned: ", Mark: new(uint32(7)), Verdict: ruleset.Drop,
	})
	rules = append(rules, ruleset.Rule{Updates: []ruleset.Update{
		{Set: "shares", Fields: []ruleset.Field{ruleset.EtherSource}, Share: ruleset.Share{Rate: 1, Burst: 1, Unit: ruleset.Week}},
		{Set: "times", Fields: []ruleset.Field{ruleset.EtherSource}, Timeout: ruleset.Day},
		{Set: "times", Fields: []ruleset.Field{ruleset.EtherDestination}, Timeout: time.Second},
		{Set: "learned", Fields: []ruleset.Field{ruleset.EtherDestination}, Delete: true},
	}})
	rules = append(rules, ruleset.Rule{Updates: []ruleset.Update{{Set: "shares", Fields: []ruleset.Field{ruleset.EtherDestination}, Share: ruleset.Share{Rate: 16, Burst: 8, Unit: ruleset.Day}}}, Verdict: ruleset.Drop})
	rules = append(rules, ruleset.Rule{Limit: 5, Log: "macvtap-filter: web-1: ", Comment: "logged"})
	rules = append(rules, ruleset.Rule{Verdict: ruleset.Goto("end")})
	v4 := func(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
	single := func(s string) ruleset.Element { return ruleset.Element{From: [][]byte{v4(s)}, To: [][]byte{v4(s)}} }
	return ruleset.Table{
		Name: "every-match", Comment: "every match", Counters: []string{"seen"},
		Sets: []ruleset.Set{
			{Name: "hosts", Key: []ruleset.Type{ruleset.TypeIPv4}, Elements: []ruleset.Element{single("192.0.2.1"), single("192.0.2.2")}},
			{Name: "ranges", Key: []ruleset.Type{ruleset.TypeIPv4}, Interval: true, Elements: []ruleset.Element{
				{From: [][]byte{v4("0.0.0.0")}, To: [][]byte{v4("0.0.0.9")}},
				single("192.0.2.1"),
				{From: [][]byte{v4("192.0.2.7")}, To: [][]byte{v4("192.0.2.9")}},
				{From: [][]byte{v4("255.0.0.0")}, To: [][]byte{v4("255.255.255.255")}},
			}},
			{Name: "services", Interval: true, Key: []ruleset.Type{ruleset.TypeIPv6, ruleset.TypeInetProto, ruleset.TypeInetService}, Elements: []ruleset.Element{
				{From: [][]byte{v4("fe80::1"), {6}, {0, 80}}, To: [][]byte{v4("fe80::f"), {6}, {0, 90}}},
				{From: [][]byte{v4("fe80::1"), {17}, {0, 53}}, To: [][]byte{v4("fe80::1"), {17}, {0, 53}}},
			}},
			{Name: "empty", Key: []ruleset.Type{ruleset.TypeIPv4}},
			{Name: "shares", Key: []ruleset.Type{ruleset.TypeEtherAddr}, Dynamic: 64},
			{Name: "times", Key: []ruleset.Type{ruleset.TypeEtherAddr}, Dynamic: 64, Expires: true},
			{Name: "learned", Key: []ruleset.Type{ruleset.TypeEtherAddr}, Dynamic: 64, Elements: []ruleset.Element{{From: [][]byte{lanMAC}, To: [][]byte{lanMAC}}}},
		},
		Chains: []ruleset.Chain{
			{Name: "end"},
			{Name: "in", Hook: &ruleset.Hook{Type: ruleset.Ingress, Device: "odd+name"}, Rules: rules},
			{Name: "out", Hook: &ruleset.Hook{Type: ruleset.Egress, Device: "odd+name", Priority: 1}, Rules: rules},
		},
	}
}

// protocols matches frames whose protocol above IP is one of those given.
func protocols(all ...byte) ruleset.OneOf {
	m := ruleset.OneOf{Field: ruleset.L4Proto}
	for _, p := range all {
		m.Elements = append(m.Elements, ruleset.Element{From: [][]byte{{p}}, To: [][]byte{{p}}})
	}
	return m
}
