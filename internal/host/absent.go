package host

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/near"
)

// An Absent is a name that no NIC of the host has.
type Absent struct {
	Name   string `json:"name"`
	Likely string `json:"likely,omitempty"` // a NIC's name that may be meant, "" where none is like it
}

// String says it to people.
func (a Absent) String() string {
	if a.Likely == "" {
		return fmt.Sprintf("this host has no NIC %q; \"ip link\" names them", a.Name)
	}
	return fmt.Sprintf("this host has no NIC %q: did you mean %q?", a.Name, a.Likely)
}

// Absent gives those of the names that are neither the name nor an alternative name of a
// NIC.
func (h *Host) Absent(names []string) ([]Absent, error) {
	var out []Absent
	for _, name := range names {
		_, err := h.handle.LinkByName(name)
		var missing netlink.LinkNotFoundError
		switch {
		case errors.As(err, &missing):
			out = append(out, Absent{Name: name})
		case err != nil:
			return nil, fmt.Errorf("network device %q: %w", name, err)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	nics, err := h.carrying()
	for i := range out {
		out[i].Likely = near.NIC(out[i].Name, nics)
	}
	return out, err
}

// carrying gives the names and alternative names of the NICs that VMs can be on.
func (h *Host) carrying() ([]string, error) {
	links, err := again(h.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var names []string
	for _, link := range links {
		if a := link.Attrs(); a.EncapType == "ether" && link.Type() != "macvtap" && link.Type() != "tun" {
			names = append(names, nicOf(link).Names...)
		}
	}
	return names, nil
}
