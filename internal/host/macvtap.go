package host

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// A Macvtap is a macvtap device of the host.
type Macvtap struct {
	Index  int // given to no other device while the host runs, but to one that asks for it
	Name   string
	Parent int // the index of the NIC it sits on; 0 when that is in another network namespace
	MAC    net.HardwareAddr
	Up     bool // frames may pass
}

// Macvtaps lists the macvtap devices.
func (h *Host) Macvtaps() ([]Macvtap, error) {
	links, err := again(h.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var out []Macvtap
	for _, link := range links {
		if m, ok := macvtapOf(link); ok {
			out = append(out, m)
		}
	}
	return out, nil
}

// Macvtap gives the device of an index. ok is false when there is none, or it is no
// macvtap.
func (h *Host) Macvtap(index int) (m Macvtap, ok bool, err error) {
	link, err := h.handle.LinkByIndex(index)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("network device %d: %w", index, err)
	}
	m, ok = macvtapOf(link)
	return m, ok, nil
}

// Foreign looks at a device that libvirt did not make: it gives its own name, and the NIC
// that it sits on. ok is false when there is none, or it is no macvtap, or one whose NIC is
// in another network namespace.
func (h *Host) Foreign(device string) (name, parent string, ok bool, err error) {
	link, err := h.handle.LinkByName(device)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return "", "", false, nil
	}
	if err != nil {
		return "", "", false, fmt.Errorf("network device %q: %w", device, err)
	}
	m, ok := macvtapOf(link)
	if !ok || m.Parent == 0 {
		return "", "", false, nil
	}
	nic, err := h.NICAt(m.Parent)
	return m.Name, nic.Name, err == nil, err
}

func macvtapOf(link netlink.Link) (Macvtap, bool) {
	if link.Type() != "macvtap" {
		return Macvtap{}, false
	}
	a := link.Attrs()
	m := Macvtap{Index: a.Index, Name: a.Name, Parent: a.ParentIndex, MAC: a.HardwareAddr, Up: a.Flags&net.FlagUp != 0}
	if a.NetNsID >= 0 {
		m.Parent = 0 // an index there says nothing here
	}
	return m, true
}

// NICAt finds the NIC of an index, as NIC does by name.
func (h *Host) NICAt(index int) (NIC, error) {
	link, err := h.handle.LinkByIndex(index)
	if err != nil {
		return NIC{}, fmt.Errorf("network device %d: %w", index, err)
	}
	return nicOf(link), nil
}
