package status

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// A set to which rules add is counted over all interfaces; one to which none does, and flows, are not.
func TestFilled(t *testing.T) {
	set := func(name string, most, elements int) ruleset.Set {
		return ruleset.Set{Name: name, Dynamic: most, Elements: make([]ruleset.Element, elements)}
	}
	tally := func(sets ...ruleset.Set) kernel.Tally { return kernel.Tally{Table: ruleset.Table{Sets: sets}} }
	got := filled([]kernel.Tally{
		tally(set("nic-routers", 1024, 2), set("allowed", 0, 7), set(ruleset.FlowPrefix+"from-vm", 100, 5)),
		tally(set("nic-learned", 65535, 1), set("nic-routers", 1024, 3)),
	})
	if diff := cmp.Diff([]Set{{"nic-learned", 1, 65535}, {"nic-routers", 5, 1024}}, got); diff != "" {
		t.Error(diff)
	}
}
