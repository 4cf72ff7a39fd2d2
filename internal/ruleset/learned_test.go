package ruleset

import (
	"encoding/json"
	"strings"
	"testing"
)

// learning is a table whose rules fill a set of two, which the elements are in.
func learning(elements ...byte) Table {
	t := *right()
	s := Set{Name: "routers", Key: []Type{TypeEtherAddr}, Dynamic: 2}
	for _, e := range elements {
		mac := [][]byte{{2, 0, 0, 0, 0, e}}
		s.Elements = append(s.Elements, Element{From: mac, To: mac})
	}
	t.Sets = append(t.Sets, s)
	t.Chains[1].Rules = []Rule{
		{Matches: []Match{Number(OutputIndex, NotEqual, 7)}, Verdict: Drop},
		{Matches: []Match{Is(ARPOperation, 2)}, Update: &Update{"routers", ARPSenderMAC}},
		{Update: &Update{"routers", EtherSource}, Counter: "dropped"},
		{Matches: []Match{Lookup{Fields: []Field{EtherDestination}, Set: "routers"}}, Verdict: Accept},
	}
	t.Chains = append(t.Chains, Chain{Name: "to-vm", Hook: &Hook{Type: Ingress, Device: "macvtap0"}, Rules: []Rule{
		{Matches: []Match{Number(InputIndex, NotEqual, 7)}, Verdict: Drop},
	}})
	return t
}

func TestDynamicSet(t *testing.T) {
	table := learning(1)
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	const want = "\tset routers {\n\t\ttype ether_addr\n\t\tsize 2\n\t\tflags dynamic\n\t\telements = {\n\t\t\t02:00:00:00:00:01,\n\t\t}\n\t}\n"
	if got := table.String(); !strings.Contains(got, want) {
		t.Errorf("no\n%s\nin\n%s", want, got)
	}
	rules := table.Chains[1].Rules
	if got, want := rules[1].String(), "arp operation 2 update @routers { arp saddr ether }"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := rules[2].String(), `update @routers { ether saddr } counter name "dropped"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	made, err := json.Marshal(rules[2].json("c")["expr"])
	if want := `[{"set":{"elem":{"payload":{"field":"saddr","protocol":"ether"}},"op":"update","set":"@routers"}},{"counter":"dropped"}]`; err != nil || string(made) != want {
		t.Errorf("%s, %v, want %s", made, err, want)
	}
}

// An update's field needs matches before it like any other, and is named like any other.
func TestUpdateDependencies(t *testing.T) {
	for _, test := range []struct {
		rule Rule
		want []Match
	}{
		{Rule{Update: &Update{"s", EtherSource}}, []Match{Compare{DeviceType, Equal, arphrdEther}}},
		{Rule{Update: &Update{"s", ARPSenderMAC}}, []Match{Is(Protocol, EtherTypeARP)}},
		{Rule{Matches: []Match{Is(ARPOperation, 2)}, Update: &Update{"s", ARPSenderMAC}}, []Match{Is(Protocol, EtherTypeARP), Is(ARPOperation, 2)}},
	} {
		got := test.rule.Dependencies()
		if a, b := (Rule{Matches: got}), (Rule{Matches: test.want}); a.String() != b.String() {
			t.Errorf("%s: %s, want %s", test.rule, a, b)
		}
		written := Rule{Matches: got, Update: test.rule.Update}
		if !sameRule(test.rule, written) || written.Normal().String() != test.rule.String() {
			t.Errorf("%s: in normal form %s", written, written.Normal())
		}
	}
	if sameRule(Rule{Update: &Update{"s", EtherSource}}, Rule{Update: &Update{"s", EtherDestination}}) || sameRule(Rule{Update: &Update{"s", EtherSource}}, Rule{}) {
		t.Error("other updates are the same")
	}
}

// What a dynamic set holds is no difference; what it is, is.
func TestDynamicSetsAreTheSame(t *testing.T) {
	should, stands := learning(1), learning(3, 2)
	if diff := Diff("should", should, "stands", stands); diff != "" || !Same(should, stands) {
		t.Errorf("other elements:\n%s", diff)
	}
	for _, test := range []struct {
		holds  []byte
		stands bool
	}{{[]byte{1}, true}, {[]byte{3, 1}, true}, {nil, false}, {[]byte{3, 2}, false}} {
		if got := Stands(should, learning(test.holds...)); got != test.stands {
			t.Errorf("a table that should begin with 1 and holds %v stands: %v", test.holds, got)
		}
	}
	stands.Counters = append(stands.Counters, "more")
	if diff := Diff("should", should, "stands", stands); diff == "" || strings.Contains(diff, "02:00:00:00:00:0") {
		t.Errorf("the difference names what was learned:\n%s", diff)
	}
	larger := learning(1)
	larger.Sets[1].Dynamic++
	plain := learning(1)
	plain.Sets[1].Dynamic = 0
	for _, other := range []Table{larger, plain} {
		if Same(should, other) {
			t.Errorf("the same:\n%s", other)
		}
	}
}

func TestInherit(t *testing.T) {
	for _, test := range []struct {
		about  string
		change func(old *Table)
		want   []byte
	}{
		{"the same VM and device", func(*Table) {}, []byte{1, 3}},
		{"one direction emptied", func(old *Table) { old.Chains[1].Rules = nil }, []byte{1, 3}},
		{"another VM", func(old *Table) { old.Comment = "vm=other" }, []byte{1}},
		{"another device of the name", func(old *Table) {
			old.Chains[1].Rules[0].Matches[0] = Number(OutputIndex, NotEqual, 8)
			old.Chains[2].Rules[0].Matches[0] = Number(InputIndex, NotEqual, 8)
		}, []byte{1}},
		{"a device that is not named", unbound, []byte{1}},
		{"another table", func(old *Table) { old.Name += "1" }, []byte{1}},
		{"another set", func(old *Table) { old.Sets[1].Name = "others" }, []byte{1}},
		{"a set that no rule fills", func(old *Table) { old.Sets[1].Dynamic = 0 }, []byte{1}},
		{"a set of other keys", func(old *Table) { old.Sets[1].Key = []Type{TypeIPv4} }, []byte{1}},
	} {
		fresh, old := learning(1), learning(1, 3, 4)
		test.change(&old)
		got, want := fresh.Inherit(old), learning(test.want...)
		if got.String() != want.String() {
			t.Errorf("%s:\n%s", test.about, got)
		}
		if fresh.String() != learning(1).String() {
			t.Errorf("%s: the table itself was changed", test.about)
		}
	}
	// What one set held of both families, each of the two holds.
	both, one := learning(1), learning(3)
	both.Sets[1].Name = "routers-ipv4"
	both.Sets = append(both.Sets, both.Sets[1])
	both.Sets[2].Name = "routers-ipv6"
	for _, s := range both.Inherit(one).Sets[1:] {
		if len(s.Elements) != 2 {
			t.Errorf("%s holds %d elements of two", s.Name, len(s.Elements))
		}
	}
	// Two tables that do not say whose they are.
	fresh, old := learning(), learning(3)
	unbound(&fresh)
	unbound(&old)
	if got := fresh.Inherit(old); len(got.Sets[1].Elements) > 0 {
		t.Errorf("inherited from nobody's:\n%s", got)
	}
}

// unbound takes away what names the table's device.
func unbound(t *Table) {
	for i := range t.Chains {
		t.Chains[i].Rules = t.Chains[i].Rules[min(1, len(t.Chains[i].Rules)):]
	}
}
