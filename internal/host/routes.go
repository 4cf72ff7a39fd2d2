package host

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/facts"
)

// addRoutes adds the routers of the default routes through a device, and the prefixes
// that routes reach there without one, of every table: that of a VRF that the device is
// in, and those that rules choose (ip-rule(8)), count like the main one.
func (h *Host) addRoutes(f *facts.Facts, index, family int) error {
	routes, err := again(func() ([]netlink.Route, error) {
		// What the kernel filters by; table 0 stands for all of them.
		only := &netlink.Route{LinkIndex: index, Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_UNSPEC}
		return h.handle.RouteListFiltered(family, only, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return err
	}
	hidden := false
	for _, r := range routes {
		hops := hopsOf(r)
		hidden = hidden || r.Type == unix.RTN_UNICAST && len(hops) == 0
		addRoute(f, index, r.Type, r.Dst, hops)
	}
	if !hidden {
		return nil
	}
	return addNexthopRoutes(f, index, family)
}

// A hop is the next one of a route: a router, or none where the route's own addresses
// are on the link.
type hop struct {
	index  int
	router net.IP
}

// hopsOf gives the hops that a route names; none where it names a nexthop object alone.
func hopsOf(r netlink.Route) []hop {
	all := []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
	if len(r.MultiPath) > 0 {
		all = r.MultiPath
	}
	var out []hop
	for _, n := range all {
		router := n.Gw
		if via, ok := n.Via.(*netlink.Via); ok && router == nil {
			router = via.Addr // an IPv4 route by an IPv6 router (RFC 5549)
		}
		if n.LinkIndex != 0 {
			out = append(out, hop{n.LinkIndex, router})
		}
	}
	return out
}

// addRoute adds what a route through a device says. A nil destination is everything.
func addRoute(f *facts.Facts, index, kind int, to *net.IPNet, hops []hop) {
	if kind != unix.RTN_UNICAST {
		return
	}
	prefix, isPrefix := netip.Prefix{}, false
	if to != nil {
		prefix, isPrefix = netipx.FromStdIPNet(to)
	}
	isDefault := !isPrefix || prefix.Bits() == 0
	for _, n := range hops {
		if n.index != index {
			continue
		}
		router, ok := netipx.FromStdIP(n.router)
		hasRouter := ok && !router.IsUnspecified()
		switch {
		case isDefault && hasRouter:
			f.Gateway = append(f.Gateway, router)
		case !isDefault && !hasRouter && !prefix.Addr().IsLinkLocalUnicast() && !prefix.Addr().IsMulticast():
			f.OnLink = append(f.OnLink, prefix.Masked())
		}
	}
}
