//go:build e2e

package e2e

import (
	"net/netip"
	"testing"
)

// A guest's root sends the whole attack suite from inside, and hostile hosts theirs to it: nothing arrives, and what an
// ordinary VM needs does. Without the rules all of it arrives.
func TestWholePolicy(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.start(t, "hostile", s.nics(2)...)
	for _, nic := range vm.NICs {
		s.expectSuite(t, vm, nic, false)
	}
	// Last: the hosts of the LAN believe what they are told now.
	s.run(t, "macvtap-filter", "remove", vm.Name)
	s.expectSuite(t, vm, vm.NICs[0], true)
}

// Large transfers with the internet are complete, with all that QEMU's NIC leaves to others, and in fragments.
func TestLargeTransfers(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.start(t, "busy", s.nics(1)...)
	s.expectTransfers(t, vm, vm.NICs[0])
	s.expectShielded(t, vm)
}

// A guest learns its addresses from the LAN's router as ever, by DHCP and by router advertisements, and from nobody
// else. With them it asks the name server, and reaches whom it may.
func TestAddressesFromTheNetwork(t *testing.T) {
	s := shieldedSite(t, "")
	nics := s.nics(1)
	nics[0].Auto = true
	nics[0].Addr6 = netip.PrefixFrom(slaac(nics[0].MAC), 64)
	vm := s.start(t, "ordinary", nics...)
	s.expectAutoconfigured(t, vm, vm.NICs[0])
	s.expectLease(t, vm, vm.NICs[0])
	s.expectNames(t, vm, vm.NICs[0])
	s.expectShielded(t, vm)
	s.expectKnown(t, vm, map[netip.Addr]string{nics[0].Addr4.Addr(): "dhcp", nics[0].Addr6.Addr(): "probe", linkLocal(nics[0].MAC): "probe"})

	s.run(t, "macvtap-filter", "remove", vm.Name)
	s.expectRogueAddress(t, vm, vm.NICs[0])
	s.expectRogueLease(t, vm, vm.NICs[0])
}
