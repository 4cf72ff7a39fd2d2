//go:build e2e

package e2e

import (
	"encoding/json"
	"net/netip"
	"testing"

	"macvtap-filter/internal/e2e/hypervisor"
)

// expectKnown fails unless the program names these addresses as a VM's own, and how each is known.
func (s *site) expectKnown(t *testing.T, vm *hypervisor.VM, want map[netip.Addr]string) {
	t.Helper()
	var all []struct {
		Addresses []struct {
			Address netip.Addr
			Source  string
		}
	}
	text := s.run(t, "macvtap-filter", "addresses", "--json", vm.Name)
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 {
		t.Fatalf("addresses --json: %v: %s", err, text)
	}
	got := map[netip.Addr]string{}
	for _, a := range all[0].Addresses {
		got[a.Address] = a.Source
	}
	for a, source := range want {
		if got[a] != source {
			t.Errorf("%s: %s is known by %q, want %q; all that is known: %v", vm.Name, a, got[a], source, got)
		}
	}
}
