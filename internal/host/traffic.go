package host

import "fmt"

// A Carrier is a macvtap device and what it carried since it was made.
//
// The kernel counts what leaves for the network behind nftables' egress hook and
// traffic control, and what comes from there before the ingress hook
// (drivers/net/macvlan.c, macvlan_start_xmit and macvlan_handle_frame): Sent is what
// every rule let pass, Arrived what the rules were yet to judge.
type Carrier struct {
	Macvtap
	NIC string // the parent's name; "" when it is in another network namespace

	Sent, Arrived Traffic // from the VM, for the VM
}

// A Traffic counts frames and their bytes, the Ethernet header included. What is to
// be cut into several frames later counts as one.
type Traffic struct {
	Frames, Bytes uint64
}

// Carriers lists the macvtap devices with their counts, in one dump.
func (h *Host) Carriers() ([]Carrier, error) {
	links, err := again(h.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	names := map[int]string{0: ""}
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	var out []Carrier
	for _, link := range links {
		m, ok := macvtapOf(link)
		if !ok {
			continue
		}
		c := Carrier{Macvtap: m, NIC: names[m.Parent]}
		if s := link.Attrs().Statistics; s != nil {
			c.Sent = Traffic{s.TxPackets, s.TxBytes}
			c.Arrived = Traffic{s.RxPackets, s.RxBytes}
		}
		out = append(out, c)
	}
	return out, nil
}
