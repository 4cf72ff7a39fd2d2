package prove_test

import (
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"macvtap-filter/internal/prove"
	"macvtap-filter/internal/ruleset"
)

// TestSpecimens has the proof fail of rules with faults that such rules had, or easily have.
func TestSpecimens(t *testing.T) {
	single := make([]byte, 6)
	for _, test := range []struct {
		name, story, chain, comment string
		lacks                       ruleset.Match
		hook                        ruleset.HookType
		broken                      string
	}{
		{"ports of later fragments", "services", "to-vm-ipv4", "allow: 192.168.2.10", ruleset.Masked{Field: ruleset.IPFragment, Mask: []byte{0x1f, 0xff}, Op: ruleset.Equal, Value: []byte{0, 0}}, ruleset.Ingress, "no denied IPv4 source"},
		{"ARP cut short", "guarded", "from-vm-arp", "answer to a router", ruleset.Compare{Field: ruleset.ARPTargetIP, Op: ruleset.NotEqual, Value: netip.IPv4Unspecified().AsSlice()}, ruleset.Egress, "ARP of the VM's own MAC address"},
		{"a group as router", "guarded", "to-vm-icmpv6", "", ruleset.Masked{Field: ruleset.EtherSource, Mask: []byte{1, 0, 0, 0, 0, 0}, Op: ruleset.Equal, Value: single}, ruleset.Ingress, "what rules add to nic-routers-ipv6"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := load(t, filepath.Join("..", "..", "testdata", "cases", test.story))[0]
			without, changed := lacking(s.table, test.chain, test.comment, test.lacks)
			if !changed {
				t.Fatalf("no rule of %s has the match", test.chain)
			}
			c := prove.NewCircuit()
			sets := prove.NewSets(c)
			j := prove.Judge(prove.NewFrame(c, test.hook), without, sets)
			spec := prove.Spec{Policy: s.policy, Facts: s.facts, MAC: s.mac}
			for _, p := range slices.Concat(spec.Properties(j), spec.Filled(j)) {
				if p.Name != test.broken {
					continue
				}
				v, broken := solve(j, sets, p.Broken, spec.Kept(j))
				if !broken {
					t.Errorf("%q holds of rules that break it", p.Name)
					continue
				}
				t.Log(j.Line(v, 0))
			}
		})
	}
}

// lacking gives a table without a match of the rules of a chain whose comment begins so.
func lacking(t ruleset.Table, chain, comment string, lacks ruleset.Match) (_ ruleset.Table, changed bool) {
	t.Chains = slices.Clone(t.Chains)
	for i, c := range t.Chains {
		if c.Name != chain {
			continue
		}
		t.Chains[i].Rules = slices.Clone(c.Rules)
		for n, r := range c.Rules {
			if !strings.HasPrefix(r.Comment, comment) {
				continue
			}
			left := slices.DeleteFunc(slices.Clone(r.Matches), func(m ruleset.Match) bool { return reflect.DeepEqual(m, lacks) })
			changed = changed || len(left) < len(r.Matches)
			t.Chains[i].Rules[n].Matches = left
		}
	}
	return t, changed
}
