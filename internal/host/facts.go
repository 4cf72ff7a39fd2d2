package host

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/facts"
)

// limitedBroadcast reaches every host of a link, whatever its prefix (RFC 919).
var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Facts reads the facts of a parent. Where the parent itself has no address, as
// on hosts that talk to their VMs through a macvlan device of their own, those
// devices' facts count as the parent's.
func (h *Host) Facts(parent string) (facts.Facts, error) {
	nic, err := h.NIC(parent)
	if err != nil {
		return facts.Facts{}, err
	}
	return h.FactsOf(nic)
}

// FactsOf reads the facts of a parent, as Facts does.
func (h *Host) FactsOf(nic NIC) (facts.Facts, error) {
	f, _, err := h.factsOf(nic)
	return f, err
}

// factsOf gives the devices, too, that the facts were read from.
func (h *Host) factsOf(nic NIC) (f facts.Facts, devices []int, err error) {
	f = facts.Facts{
		Parent: nic.Name, Names: nic.Names[1:], Broadcast: []netip.Addr{limitedBroadcast},
		Gateway: []netip.Addr{}, DNS: []netip.Addr{}, OnLink: []netip.Prefix{}, // in JSON [], not null
	}
	if devices, err = h.addAll(&f, nic.Index); err != nil {
		return f, nil, fmt.Errorf("facts of %q: %w", nic.Name, err)
	}
	f.Gateway, f.DNS, f.Broadcast, f.Host = sortAddrs(f.Gateway), sortAddrs(f.DNS), sortAddrs(f.Broadcast), sortAddrs(f.Host)
	slices.SortFunc(f.OnLink, netipx.ComparePrefix)
	f.OnLink = slices.Compact(f.OnLink)
	return f, devices, nil
}

// addAll adds what devices and files say, and gives the devices.
func (h *Host) addAll(f *facts.Facts, parent int) (devices []int, err error) {
	own, err := again(func() ([]netlink.Addr, error) { return h.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	devices = []int{parent}
	if err := h.addFacts(f, parent, own); err != nil {
		return nil, err
	}
	if len(f.OnLink) == 0 {
		siblings, err := h.macvlans(parent)
		if err != nil {
			return nil, err
		}
		for _, index := range siblings {
			if err := h.addFacts(f, index, own); err != nil {
				return nil, err
			}
		}
		devices = append(devices, siblings...)
	}
	servers, err := nameServers()
	if err != nil {
		return nil, err
	}
	f.DNS = append(f.DNS, slices.DeleteFunc(servers, func(a netip.Addr) bool { return h.isOwn(a, own) })...)
	return devices, nil
}

// isOwn reports whether an address is the host's own: one of its NICs has it, in a VRF
// or not, or a route says that it is local.
func (h *Host) isOwn(a netip.Addr, own []netlink.Addr) bool {
	if slices.ContainsFunc(own, func(o netlink.Addr) bool { return o.IP.Equal(a.AsSlice()) }) {
		return true
	}
	routes, err := h.handle.RouteGet(a.AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}

func sortAddrs(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// addFacts adds what addresses and routes of one device say.
func (h *Host) addFacts(f *facts.Facts, index int, own []netlink.Addr) error {
	for _, a := range own {
		p, ok := netipx.FromStdIPNet(a.IPNet)
		if !ok || a.LinkIndex != index {
			continue
		}
		if a.Flags&unix.IFA_F_TEMPORARY == 0 { // that of today is another tomorrow
			f.Host = append(f.Host, p.Addr())
		}
		if p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() {
			continue
		}
		f.OnLink = append(f.OnLink, p.Masked())
		if p.Addr().Is4() && p.Bits() <= 30 {
			f.Broadcast = append(f.Broadcast, netipx.RangeOfPrefix(p).To())
		}
		if b, ok := netipx.FromStdIP(a.Broadcast); ok && b.Is4() && !b.IsUnspecified() {
			f.Broadcast = append(f.Broadcast, b)
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if err := h.addRoutes(f, index, family); err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
	}
	if err := h.addNeighbours(f, index); err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	return nil
}

// linkRouters is the link's subnet-router anycast address.
var linkRouters = netip.MustParseAddr("fe80::")

// addNeighbours adds the gateways' MAC addresses, and the link-local addresses under
// which these same gateways said they are IPv6 routers (RFC 4861, 4.4): their
// advertisements come from there, whatever address the host's routes name. Any
// host of the LAN may say that it is a router; only a default route makes it one.
// To the subnet-router anycast address every machine answers that forwards (RFC
// 4291, 2.6.1), not the gateway alone.
func (h *Host) addNeighbours(f *facts.Facts, index int) error {
	neighbours, err := h.neighbours(index)
	if err != nil {
		return err
	}
	for _, n := range neighbours {
		if a, ok := netipx.FromStdIP(n.IP); ok && isStation(n.HardwareAddr) && slices.Contains(f.Gateway, a) {
			f.GatewayMACs = append(f.GatewayMACs, facts.MAC(n.HardwareAddr))
		}
	}
	for _, n := range neighbours {
		a, ok := netipx.FromStdIP(n.IP)
		sameMAC := func(m facts.MAC) bool { return bytes.Equal(m, n.HardwareAddr) }
		if ok && a.Is6() && a.IsLinkLocalUnicast() && a != linkRouters && n.Flags&netlink.NTF_ROUTER != 0 && slices.ContainsFunc(f.GatewayMACs, sameMAC) {
			f.Gateway = append(f.Gateway, a)
		}
	}
	slices.SortFunc(f.GatewayMACs, func(a, b facts.MAC) int { return bytes.Compare(a, b) })
	f.GatewayMACs = slices.CompactFunc(f.GatewayMACs, func(a, b facts.MAC) bool { return bytes.Equal(a, b) })
	return nil
}

// neighbours lists the neighbour entries of a device.
func (h *Host) neighbours(index int) ([]netlink.Neigh, error) {
	// The library's request for neighbours does not stand the kernel's strict
	// check (net/core/neighbour.c, neigh_valid_dump_req).
	_ = h.handle.SetStrictCheck(false)
	defer func() { _ = h.handle.SetStrictCheck(true) }()
	return again(func() ([]netlink.Neigh, error) { return h.handle.NeighList(index, netlink.FAMILY_ALL) })
}

// isStation reports whether a MAC address is one of a single NIC: no neighbour's is a
// group's, whatever the table says (RFC 1812, 3.3.2), nor the zeros that stand for none.
func isStation(mac net.HardwareAddr) bool {
	return len(mac) == 6 && mac[0]&1 == 0 && !bytes.Equal(mac, make([]byte, 6))
}

// macvlans gives the indexes of the macvlan devices on a NIC.
func (h *Host) macvlans(parent int) ([]int, error) {
	links, err := again(h.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var out []int
	for _, l := range links {
		if l.Type() == "macvlan" && l.Attrs().ParentIndex == parent && l.Attrs().NetNsID < 0 {
			out = append(out, l.Attrs().Index)
		}
	}
	return out, nil
}

// again repeats a listing that something changed under, which the kernel marks
// (netlink(7), NLM_F_DUMP_INTR): it may lack entries.
func again[T any](list func() ([]T, error)) ([]T, error) {
	const times = 8
	var out []T
	var err error
	for range times {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return nil, err
}
