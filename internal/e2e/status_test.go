//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/status"
)

// status runs "macvtap-filter status --json" with more arguments, wants it to say that all is well or not, and gives
// what it says by device.
func (s *site) status(t *testing.T, right bool, args ...string) map[string]status.Interface {
	t.Helper()
	output, err := s.hv.Run(t.Context(), "macvtap-filter", append([]string{"status", "--json"}, args...)...)
	if right != (err == nil) {
		t.Errorf("status %q: error %v, want none: %t", args, err, right)
	}
	var found status.Status
	if err := json.Unmarshal([]byte(output), &found); err != nil {
		t.Fatalf("status %q: %v in %s", args, err, output)
	}
	if !found.Complete || len(found.Notes) > 0 {
		t.Errorf("status %q: complete %v, notes %q: libvirt answers", args, found.Complete, found.Notes)
	}
	byDevice := map[string]status.Interface{}
	for _, i := range found.Interfaces {
		byDevice[i.Device] = i
	}
	return byDevice
}

// Status names the guests that libvirt runs, counts what their rules drop, and finds what is wrong with them: by
// comparison, and by the word of a watch.
func TestStatus(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.start(t, "shown", s.nics(2)...)
	other := s.start(t, "sleeping", s.nics(1)...)
	first := vm.NICs[0]
	denied := func() uint64 {
		t.Helper()
		var dropped uint64
		for device, i := range s.status(t, true, vm.Name) {
			if i.VM != vm.Name || i.State != status.Protected || i.Policy == "" || i.Parent == "" {
				t.Errorf("%s: %+v", device, i)
			}
			if i.MAC == first.MAC.String() {
				dropped, _ = i.FromVM.Dropped()
			}
		}
		return dropped
	}
	before := denied()
	for _, p := range s.peers {
		if p.hidden && p.addr.Is4() {
			s.expectOut(t, vm, first, p, "udp", false)
		}
	}
	if after := denied(); after <= before {
		t.Errorf("%d frames dropped before a guest tried, %d after", before, after)
	}
	if all := s.status(t, true); len(all) != 3 {
		t.Errorf("%d interfaces, want 3: %+v", len(all), all)
	}
	if _, err := s.hv.Run(t.Context(), "macvtap-filter", "status", "sleping"); err == nil || !strings.Contains(err.Error(), `did you mean "sleeping"?`) {
		t.Errorf("of a name that is mistyped status says %v", err)
	}

	lost := s.deviceOf(t, vm)
	for _, direction := range []string{"from-vm", "to-vm"} {
		s.run(t, "nft", "delete chain netdev "+ruleset.RulesTable+" "+ruleset.BaseName(direction, lost))
	}
	for device, i := range s.status(t, false, vm.Name) {
		if wrong := device == lost; wrong != (i.State == status.Unprotected) || i.VM != vm.Name || i.Number == 0 && wrong {
			t.Errorf("without the chains of %s: %+v", lost, i)
		}
	}
	s.status(t, true, other.Name)
	startWatch(t, s)
	for device, i := range s.status(t, true) {
		if i.State != status.Protected || i.VM == "" || i.Number == 0 || i.Since == nil {
			t.Errorf("by watch, %s: %+v", device, i)
		}
	}
}
