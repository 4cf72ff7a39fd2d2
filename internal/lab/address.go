package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addAddress gives a device of the namespace an address, usable at once: an
// IPv6 address skips duplicate address detection.
func (ns *Namespace) addAddress(device string, prefix netip.Prefix) error {
	link, err := ns.links.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	if prefix.Addr().Is6() {
		if err := ns.enableIPv6(device); err != nil {
			return err
		}
	}
	addr := &netlink.Addr{IPNet: ipNet(prefix)}
	if prefix.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := ns.links.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("add %s to %s: %w", prefix, device, err)
	}
	return nil
}

// addRoute sends a prefix out of a device of the namespace, by way of a next
// hop unless via is the zero Addr. The hop is taken to be on the link.
func (ns *Namespace) addRoute(device string, to netip.Prefix, via netip.Addr) error {
	link, err := ns.links.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to)}
	if via.IsValid() {
		route.Gw = via.AsSlice()
		route.Flags = int(netlink.FLAG_ONLINK)
	}
	if err := ns.links.RouteReplace(route); err != nil {
		return fmt.Errorf("route %s via %s on %s: %w", to, via, device, err)
	}
	return nil
}

// addDefaultRoute sends everything of via's family to via.
func (ns *Namespace) addDefaultRoute(device string, via netip.Addr) error {
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if via.Is6() {
		all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return ns.addRoute(device, all, via)
}

// SetNeighbour tells the namespace for good which MAC an address has that it reaches over
// a device, so that it need not ask.
func (ns *Namespace) SetNeighbour(device string, address netip.Addr, mac net.HardwareAddr) error {
	link, err := ns.links.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	entry := &netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: address.AsSlice(), HardwareAddr: mac}
	if err := ns.links.NeighSet(entry); err != nil {
		return fmt.Errorf("neighbour %s at %s: %w", address, mac, err)
	}
	return nil
}

// SetNeighbour tells the host for good which MAC an address on its link has, so
// that it need not ask.
func (h *Host) SetNeighbour(address netip.Addr, mac net.HardwareAddr) error {
	if err := h.Namespace.SetNeighbour(hostNIC, address, mac); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return nil
}

// HasIPv6 reports whether the kernel speaks IPv6. Without it no host can have
// an address of that family.
func HasIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}
