package ruleset

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// matches are all kinds of matches, as nft text and as nft's JSON.
var matches = []struct {
	match      Match
	text, json string
}{
	{Is(Protocol, EtherTypeIPv4), "meta protocol ip", `{"match":{"left":{"meta":{"key":"protocol"}},"op":"==","right":"ip"}}`},
	{Is(EtherType, 0x88cc), "ether type 0x88cc", `{"match":{"left":{"payload":{"field":"type","protocol":"ether"}},"op":"==","right":35020}}`},
	{Compare{EtherType, Less, []byte{6, 0}}, "ether type < 0x0600", `{"match":{"left":{"payload":{"field":"type","protocol":"ether"}},"op":"\u003c","right":1536}}`},
	{Compare{L4Proto, NotEqual, []byte{6}}, "meta l4proto != 6", `{"match":{"left":{"meta":{"key":"l4proto"}},"op":"!=","right":6}}`},
	{Compare{L4Proto, Equal, []byte{47}}, "meta l4proto 47", `{"match":{"left":{"meta":{"key":"l4proto"}},"op":"==","right":47}}`},
	{Compare{IPSource, GreaterEqual, []byte{0, 0, 0, 0}}, "ip saddr >= 0.0.0.0", `{"match":{"left":{"payload":{"field":"saddr","protocol":"ip"}},"op":"\u003e=","right":"0.0.0.0"}}`},
	{Compare{IP6Source, GreaterEqual, make([]byte, 16)}, "ip6 saddr >= ::", `{"match":{"left":{"payload":{"field":"saddr","protocol":"ip6"}},"op":"\u003e=","right":"::"}}`},
	{InPrefix{IPDestination, false, netip.MustParsePrefix("10.0.0.0/8")}, "ip daddr 10.0.0.0/8", `{"match":{"left":{"payload":{"field":"daddr","protocol":"ip"}},"op":"==","right":{"prefix":{"addr":"10.0.0.0","len":8}}}}`},
	{InPrefix{IP6Destination, true, netip.MustParsePrefix("fe80::/10")}, "ip6 daddr != fe80::/10", `{"match":{"left":{"payload":{"field":"daddr","protocol":"ip6"}},"op":"!=","right":{"prefix":{"addr":"fe80::","len":10}}}}`},
	{InPrefix{IPDestination, true, netip.MustParsePrefix("10.0.0.1/32")}, "ip daddr != 10.0.0.1", `{"match":{"left":{"payload":{"field":"daddr","protocol":"ip"}},"op":"!=","right":"10.0.0.1"}}`},
	{Masked{IPFragment, []byte{0x1f, 0xff}, Equal, []byte{0, 0}}, "ip frag-off & 8191 == 0", `{"match":{"left":{"\u0026":[{"payload":{"field":"frag-off","protocol":"ip"}},8191]},"op":"==","right":0}}`},
	{Between{DestinationPort, []byte{0, 80}, []byte{1, 0}}, "th dport 80-256", `{"match":{"left":{"payload":{"field":"dport","protocol":"th"}},"op":"==","right":{"range":[80,256]}}}`},
	{Number(PacketMark, Equal, 0x6d766601), "meta mark 0x6d766601", `{"match":{"left":{"meta":{"key":"mark"}},"op":"==","right":1836475905}}`},
	{Number(OutputIndex, NotEqual, 37), "meta oif != 37", `{"match":{"left":{"meta":{"key":"oif"}},"op":"!=","right":37}}`},
	{Kind(InputKind, NotEqual, "macvtap"), `meta iifkind != "macvtap"`, `{"match":{"left":{"meta":{"key":"iifkind"}},"op":"!=","right":"macvtap"}}`},
	{Lookup{[]Field{IPSource}, true, "deny"}, "ip saddr != @deny", `{"match":{"left":{"payload":{"field":"saddr","protocol":"ip"}},"op":"!=","right":"@deny"}}`},
	{Lookup{[]Field{IPSource, L4Proto, SourcePort}, false, "s"}, "ip saddr . meta l4proto . th sport @s", `{"match":{"left":{"concat":[{"payload":{"field":"saddr","protocol":"ip"}},{"meta":{"key":"l4proto"}},{"payload":{"field":"sport","protocol":"th"}}]},"op":"==","right":"@s"}}`},
}

func TestMatches(t *testing.T) {
	for _, m := range matches {
		if got := m.match.text(nil); got != m.text {
			t.Errorf("%#v:\ntext %s\nwant %s", m.match, got, m.text)
		}
		got, err := json.Marshal(m.match.json(nil))
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(m.json, string(got)); diff != "" {
			t.Errorf("%s: JSON: %s", m.text, diff)
		}
	}
}

func TestRuleString(t *testing.T) {
	r := Rule{Matches: []Match{Is(Protocol, EtherTypeIPv4), Is(EtherType, EtherTypeVLAN)}, Counter: "c", Verdict: Goto("other"), Comment: "why"}
	if got, want := r.String(), `meta protocol ip ether type 8021q counter name "c" goto other comment "why"`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got, want := (Rule{Mark: new(uint32(7)), Verdict: Accept}).String(), "meta mark set 0x00000007 accept"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := (Rule{Verdict: Drop}).String(); got != "drop" {
		t.Errorf("%s, want drop", got)
	}
}

// A chain is bound to a device, or to all that a prefix names.
func TestHookText(t *testing.T) {
	table := Table{Name: "t", Chains: []Chain{
		{Name: "one", Hook: &Hook{Type: Egress, Device: "macvtap0"}},
		{Name: "all", Hook: &Hook{Type: Ingress, Prefixes: []string{"macvtap", "web"}, Priority: 1}},
	}}
	text := table.String()
	for _, want := range []string{
		`type filter hook egress device "macvtap0" priority filter; policy drop;`,
		`type filter hook ingress devices = { "macvtap*", "web*" } priority 1; policy drop;`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	made, err := JSON([]Table{table})
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(made)), "")
	for _, want := range []string{`"dev":"macvtap0"`, `"dev":["macvtap*","web*"]`, `"prio":1`} {
		if !strings.Contains(flat, want) {
			t.Errorf("no %s in\n%s", want, made)
		}
	}
}

// elements are elements of sets as text; how they are JSON follows from it.
func TestElementText(t *testing.T) {
	v4 := func(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
	one := func(from, to []byte) Element { return Element{From: [][]byte{from}, To: [][]byte{to}} }
	service := []Type{TypeIPv4, TypeInetProto, TypeInetService}
	tests := []struct {
		element Element
		key     []Type
		want    string
	}{
		{one(v4("10.0.0.1"), v4("10.0.0.1")), []Type{TypeIPv4}, "10.0.0.1"},
		{one(v4("10.0.0.0"), v4("10.0.0.255")), []Type{TypeIPv4}, "10.0.0.0/24"},
		{one(v4("10.0.0.1"), v4("10.0.0.2")), []Type{TypeIPv4}, "10.0.0.1-10.0.0.2"},
		{one(v4("fe80::"), v4("fe80::1")), []Type{TypeIPv6}, "fe80::/127"},
		{one([]byte{0x52, 0x54, 0, 0, 0, 1}, []byte{0x52, 0x54, 0, 0, 0, 1}), []Type{TypeEtherAddr}, "52:54:00:00:00:01"},
		{Element{From: [][]byte{v4("10.0.0.1"), {6}, {0, 80}}, To: [][]byte{v4("10.0.0.1"), {6}, {0, 80}}}, service, "10.0.0.1 . 6 . 80"},
		{Element{From: [][]byte{v4("10.0.0.0"), {17}, {0, 80}}, To: [][]byte{v4("10.0.0.3"), {17}, {0, 90}}}, service, "10.0.0.0/30 . 17 . 80-90"},
	}
	for _, test := range tests {
		if got := test.element.text(test.key, nil); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}
