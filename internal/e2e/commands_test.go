//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"
)

// An administrator's commands work on running VMs, by whatever socket libvirt has.
func TestApplyAndRemove(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.start(t, "commanded", s.nics(2)...)
	rules := s.rules(t)

	s.run(t, "macvtap-filter", "remove", "--dry-run", vm.Name)
	s.expectRules(t, rules, true)
	s.run(t, "macvtap-filter", "remove", vm.Name)
	s.expectNoRules(t)
	s.expectOpen(t, vm)

	s.run(t, "macvtap-filter", "apply", "--dry-run", vm.Name)
	s.expectNoRules(t)
	s.run(t, "macvtap-filter", "apply", vm.Name)
	s.expectShielded(t, vm)
	s.run(t, "macvtap-filter", "apply", vm.Name)
	s.expectShielded(t, vm)

	s.run(t, "macvtap-filter", "remove", "--all")
	s.expectNoRules(t)
	s.run(t, "macvtap-filter", "apply", "--all")
	s.expectShielded(t, vm)

	if _, err := s.hv.Run(t.Context(), "macvtap-filter", "apply", "nobody"); err == nil {
		t.Error("apply of a VM that is not there succeeded")
	} else if !strings.Contains(err.Error(), "nobody") {
		t.Errorf("apply does not name the VM at fault: %v", err)
	}

	// The modular daemon's socket, which Debian 12 has no daemon for: the same protocol by another name.
	sockets := s.hv.Path("/run/libvirt/")
	if err := os.Rename(sockets+"/libvirt-sock", sockets+"/virtqemud-sock"); err != nil {
		t.Fatal(err)
	}
	s.run(t, "macvtap-filter", "remove", "--all")
	s.expectNoRules(t)
	s.run(t, "macvtap-filter", "apply", "--all")
	s.expectShielded(t, vm)
}
