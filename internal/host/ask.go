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
// waited for. What is not known then stays unknown.
func (h *Host) AskGateways(nic NIC, wait time.Duration) (facts.Facts, error) {
	f, devices, err := h.factsOf(nic)
	if err != nil || len(f.GatewayMACs) > 0 || len(f.Gateway) == 0 {
		return f, err
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
		if known, err := h.know(devices, f.Gateway); known || err != nil {
			break // an error comes again
		}
		time.Sleep(min(pause, time.Until(end)))
	}
	return h.FactsOf(nic)
}

// longestPause is between two looks at the neighbour table.
const longestPause = 50 * time.Millisecond

// know reports whether devices have neighbour entries with the MAC addresses of all
// gateways.
func (h *Host) know(devices []int, gateways []netip.Addr) (bool, error) {
	unknown := slices.Clone(gateways)
	for _, index := range devices {
		neighbours, err := h.neighbours(index)
		if err != nil {
			return false, err
		}
		for _, n := range neighbours {
			if a, ok := netipx.FromStdIP(n.IP); ok && isStation(n.HardwareAddr) {
				unknown = slices.DeleteFunc(unknown, func(g netip.Addr) bool { return g == a })
			}
		}
	}
	return len(unknown) == 0, nil
}
