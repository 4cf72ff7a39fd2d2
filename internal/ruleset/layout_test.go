package ruleset

import "testing"

// Whatever a policy and a parent are called, the part that a chain is of is read off its name.
func TestPartNames(t *testing.T) {
	for _, policy := range []string{"a-to", "a-from", "to", "from", "a-from-vm", "to-vm", "vm", "drop", "nic", "from-vm-drops", "-", "a"} {
		for _, parent := range []string{"vm", "vm-1", "eth0", "to-vm", "from", "from-vm"} {
			n := 0
			for name := range (Table{Policy: policy, Parent: parent}).Names {
				for _, direction := range directions {
					if got := PartName(name + "-" + direction + "-ipv4"); got != name {
						t.Errorf("policy %q, parent %q: the chain %s-%s-ipv4 is of %q", policy, parent, name, direction, got)
					}
				}
				if n++; n == 4 {
					break
				}
			}
		}
	}
}
