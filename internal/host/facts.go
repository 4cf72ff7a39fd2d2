package host

import (
	"bytes"
	"errors"
	"fmt"
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
	f := facts.Facts{
		Parent: nic.Name, Names: nic.Names[1:], Broadcast: []netip.Addr{limitedBroadcast},
		Gateway: []netip.Addr{}, DNS: []netip.Addr{}, OnLink: []netip.Prefix{}, // in JSON [], not null
	}
	if err := h.addFacts(&f, nic.Index); err != nil {
		return f, fmt.Errorf("facts of %q: %w", nic.Name, err)
	}
	if len(f.OnLink) == 0 {
		siblings, err := h.macvlans(nic.Index)
		if err != nil {
			return f, fmt.Errorf("facts of %q: %w", nic.Name, err)
		}
		for _, index := range siblings {
			if err := h.addFacts(&f, index); err != nil {
				return f, fmt.Errorf("facts of %q: %w", nic.Name, err)
			}
		}
	}
	servers, err := nameServers()
	if err != nil {
		return f, fmt.Errorf("facts of %q: %w", nic.Name, err)
	}
	f.DNS = append(f.DNS, slices.DeleteFunc(servers, h.isOwn)...)
	f.Gateway, f.DNS, f.Broadcast = sortAddrs(f.Gateway), sortAddrs(f.DNS), sortAddrs(f.Broadcast)
	slices.SortFunc(f.OnLink, netipx.ComparePrefix)
	f.OnLink = slices.Compact(f.OnLink)
	return f, nil
}

// isOwn reports whether an address is the host's own.
func (h *Host) isOwn(a netip.Addr) bool {
	routes, err := h.handle.RouteGet(a.AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}

func sortAddrs(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// addFacts adds what addresses and routes of one device say.
func (h *Host) addFacts(f *facts.Facts, index int) error {
	link := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}
	addrs, err := again(func() ([]netlink.Addr, error) { return h.handle.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		p, ok := netipx.FromStdIPNet(a.IPNet)
		if !ok || p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() {
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
	// The library's request for neighbours does not stand the kernel's strict
	// check (net/core/neighbour.c, neigh_valid_dump_req).
	_ = h.handle.SetStrictCheck(false)
	neighbours, err := again(func() ([]netlink.Neigh, error) { return h.handle.NeighList(index, netlink.FAMILY_ALL) })
	_ = h.handle.SetStrictCheck(true)
	if err != nil {
		return err
	}
	for _, n := range neighbours {
		if a, ok := netipx.FromStdIP(n.IP); ok && len(n.HardwareAddr) == 6 && slices.Contains(f.Gateway, a) {
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

// addRoutes adds the routers of the default routes, and the prefixes that routes
// reach without one, of the main table.
func (h *Host) addRoutes(f *facts.Facts, index, family int) error {
	routes, err := again(func() ([]netlink.Route, error) {
		only := &netlink.Route{LinkIndex: index, Table: unix.RT_TABLE_MAIN}
		return h.handle.RouteListFiltered(family, only, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Type != unix.RTN_UNICAST {
			continue
		}
		prefix, isPrefix := netip.Prefix{}, false
		if r.Dst != nil {
			prefix, isPrefix = netipx.FromStdIPNet(r.Dst)
		}
		isDefault := !isPrefix || prefix.Bits() == 0
		routers, direct := nextHops(r, index)
		switch {
		case isDefault:
			f.Gateway = append(f.Gateway, routers...)
		case direct && len(routers) == 0 && !prefix.Addr().IsLinkLocalUnicast() && !prefix.Addr().IsMulticast():
			f.OnLink = append(f.OnLink, prefix.Masked())
		}
	}
	return nil
}

// nextHops gives the routers of a route through one device; direct reports that
// the route goes through that device at all.
func nextHops(r netlink.Route, index int) (routers []netip.Addr, direct bool) {
	hops := []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
	if len(r.MultiPath) > 0 {
		hops = r.MultiPath
	}
	for _, hop := range hops {
		if hop.LinkIndex != index {
			continue
		}
		direct = true
		gw := hop.Gw
		if via, ok := hop.Via.(*netlink.Via); ok && gw == nil {
			gw = via.Addr // an IPv4 route by an IPv6 router (RFC 5549)
		}
		if a, ok := netipx.FromStdIP(gw); ok && !a.IsUnspecified() {
			routers = append(routers, a)
		}
	}
	return routers, direct
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
