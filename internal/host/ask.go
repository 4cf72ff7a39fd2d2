package host

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"

	"macvtap-filter/internal/facts"
)

// AskGateways gives the facts of a parent as FactsOf does. Where they hold no gateway's
// MAC address, as on a host that has sent nothing yet, the kernel is told to ask for
// those of all gateways, as for a datagram of the host's own, and their answers are
// waited for. What is not known then stays unknown. again is how long to wait where all
// were asked just before: who did so has waited already.
func (h *Host) AskGateways(nic NIC, wait, again time.Duration) (facts.Facts, error) {
	f, devices, err := h.factsOf(nic)
	if err != nil || len(f.GatewayMACs) > 0 || len(f.Gateway) == 0 {
		return f, err
	}
	if asked, err := h.have(devices, f.Gateway, isAsked); asked || err != nil {
		wait = again
	}
	for _, index := range devices {
		for _, a := range f.Gateway {
			// Some may be asked on another device alone, and whoever is not
			// root may ask on none.
			_ = h.handle.NeighAppend(&netlink.Neigh{LinkIndex: index, IP: a.AsSlice(), Flags: netlink.NTF_USE})
		}
	}
	pause := time.Millisecond
	for end := time.Now().Add(wait); time.Now().Before(end); pause = min(2*pause, longestPause) {
		if known, err := h.have(devices, f.Gateway, hasMAC); known || err != nil {
			break // an error comes again
		}
		time.Sleep(min(pause, time.Until(end)))
	}
	return h.FactsOf(nic)
}

// longestPause is between two looks at the neighbour table.
const longestPause = 50 * time.Millisecond

func hasMAC(n netlink.Neigh) bool { return isStation(n.HardwareAddr) }

// isAsked reports whether the kernel asks a neighbour, or has in vain (arp(7)).
func isAsked(n netlink.Neigh) bool { return n.State&(netlink.NUD_INCOMPLETE|netlink.NUD_FAILED) != 0 }

// have reports whether devices have neighbour entries of a kind for all gateways.
func (h *Host) have(devices []int, gateways []netip.Addr, is func(netlink.Neigh) bool) (bool, error) {
	unknown := slices.Clone(gateways)
	for _, index := range devices {
		neighbours, err := h.neighbours(index)
		if err != nil {
			return false, err
		}
		for _, n := range neighbours {
			if a, ok := netipx.FromStdIP(n.IP); ok && is(n) {
				unknown = slices.DeleteFunc(unknown, func(g netip.Addr) bool { return g == a })
			}
		}
	}
	return len(unknown) == 0, nil
}
