package leaks

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// changed gives an event in which something changes about a VM that runs.
func changed(change func(s *site, v *session, round int)) func(*site) *tally {
	return func(s *site) *tally {
		got := new(tally)
		for i := range s.rounds(3, 20) {
			v := s.newVM(i, "macvtap0")
			guest := s.protected(v)
			change(s, guest, i)
			s.repaired(guest)
			s.unplug(v, guest, got)
		}
		return got
	}
}

// rename gives a device that is in use another name.
func rename(s *site, v *session, _ int) {
	s.t.Helper()
	links := s.Hypervisor.Links()
	link, err := links.LinkByIndex(v.tap.Index)
	s.must(err)
	err = links.LinkSetName(link, "macvtap900")
	if errors.Is(err, unix.EBUSY) { // before Linux 6.2 it has to be down
		s.must(links.LinkSetDown(link))
		s.must(links.LinkSetName(link, "macvtap900"))
		s.must(links.LinkSetUp(link))
		err = nil
	}
	s.must(err)
}

// changeMAC gives a device another MAC address, which the guest then uses, and its own
// again: the rules stay with that one.
func changeMAC(s *site, v *session, _ int) {
	s.t.Helper()
	links := s.Hypervisor.Links()
	link, err := links.LinkByIndex(v.tap.Index)
	s.must(err)
	own := v.tap.MAC
	other := append(net.HardwareAddr{}, own...)
	other[3]++
	for _, mac := range []net.HardwareAddr{other, own} {
		s.must(links.LinkSetHardwareAddr(link, mac))
		v.tap.MAC = mac
		v.talk(lan)
		s.must(v.sent(calm))
	}
}

// changeNetwork has the LAN get one more prefix, which is denied from then on.
func changeNetwork(s *site, v *session, round int) {
	s.t.Helper()
	links := s.Hypervisor.Links()
	link, err := links.LinkByName(parent)
	s.must(err)
	address := [4]byte{198, 18, byte(round), 2}
	s.must(links.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: address[:], Mask: net.CIDRMask(24, 32)}}))
	address[3] = 7
	v.talk(peers{netip.AddrFrom4(address), lan.allowed})
}

// changeConfiguration has the administrator deny other prefixes.
func changeConfiguration(s *site, v *session, round int) {
	s.t.Helper()
	address := netip.AddrFrom4([4]byte{203, 0, byte(113 + round%2), 7})
	s.configure(fmt.Sprintf("%s[policy.default]\ndeny = [\"%s/32\", \"192.168.0.0/16\"]\n", policies, address))
	v.talk(peers{address, lan.allowed})
}
