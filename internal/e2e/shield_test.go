//go:build e2e

package e2e

import (
	"testing"
)

// The binary as `make install` leaves it closes the LAN to a guest, on each of its NICs, and nothing else.
func TestShield(t *testing.T) {
	s := shieldedSite(t, "enp88s0")
	vm := s.start(t, "shielded", s.nics(2)...)
	s.expectShielded(t, vm)
	s.expectKinds(t, vm, false)
}

// A libvirt network of macvtap devices is a direct interface too, and `make install` finds the NIC of the default route.
func TestNetworkOfMacvtaps(t *testing.T) {
	s := shieldedSite(t, "")
	s.definePool(t)
	nics := s.nics(1)
	nics[0].Type, nics[0].Source = "network", poolName
	vm := s.start(t, "pooled", nics...)
	s.expectShielded(t, vm)
}
