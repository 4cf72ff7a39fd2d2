//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"macvtap-filter/internal/e2e/hypervisor"
)

// With a configuration that cannot be read, a VM with a direct interface does not start, and the administrator learns
// where the fault is. Others start.
func TestBrokenConfig(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.define(t, "guarded", s.nics(1)...)
	none := s.define(t, "no-nic")
	other := s.define(t, "no-macvtap", hypervisor.NIC{Name: "eth0", Type: "ethernet", MAC: mac(t, "52:54:00:e2:ff:00")})
	good := s.readConfig(t)

	bad := strings.TrimRight(good, "\n") + "\nalowed = [\"gateway\"]\n"
	s.writeConfig(t, bad)
	line := strings.Count(bad, "\n")
	s.expectRefused(t, vm, fmt.Sprintf(`%s\D+%d\b`, regexp.QuoteMeta(configPath), line))
	s.expectStarts(t, none, other)

	if err := os.Remove(s.hv.Path(configPath)); err != nil {
		t.Fatal(err)
	}
	s.expectRefused(t, vm, regexp.QuoteMeta(configPath))
	s.expectStarts(t, none, other)

	s.writeConfig(t, good)
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expectShielded(t, vm)
}

// expectRefused fails unless `virsh start` fails with a message that matches, and leaves nothing.
func (s *site) expectRefused(t *testing.T, vm *hypervisor.VM, message string) {
	t.Helper()
	_, err := s.hv.Virsh(t.Context(), "start", vm.Name)
	if err == nil {
		t.Fatalf("%s started", vm.Name)
	}
	t.Log(err)
	if !regexp.MustCompile(message).MatchString(err.Error()) {
		t.Errorf("virsh start says nothing of %s: %v", message, err)
	}
	s.expectState(t, vm, "shut off")
	s.expectNoRules(t)
}

// expectStarts fails unless the VMs start. They are stopped again.
func (s *site) expectStarts(t *testing.T, vms ...*hypervisor.VM) {
	t.Helper()
	for _, vm := range vms {
		if _, err := s.hv.Virsh(t.Context(), "start", "--paused", vm.Name); err != nil {
			t.Error(err)
			continue
		}
		if err := vm.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func (s *site) expectState(t *testing.T, vm *hypervisor.VM, want string) {
	t.Helper()
	got, err := vm.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s is %q, want %q", vm.Name, got, want)
	}
}
