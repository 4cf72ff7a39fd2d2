// Package host reads the host's NICs, addresses and routes over rtnetlink, which needs no
// privilege. All that it changes is that the kernel asks after gateways (AskGateways).
package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/domain"
)

// A Host answers questions about the network namespace that the process is in.
type Host struct {
	handle *netlink.Handle
}

// Open opens a netlink socket for the questions; Close closes it. Each of its
// answers is waited for no longer than ctx lasts.
func Open(ctx context.Context) (*Host, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := handle.SetSocketTimeout(max(time.Until(deadline), time.Millisecond)); err != nil {
			handle.Close()
			return nil, fmt.Errorf("netlink socket: %w", err)
		}
	}
	// The kernel then filters dumps by itself (Linux 4.20), which matters
	// where a host has a million routes. Older kernels dump everything.
	_ = handle.SetStrictCheck(true)
	return &Host{handle}, nil
}

// Close ends the use of the host.
func (h *Host) Close() { h.handle.Close() }

// A NIC is a network device of the host.
type NIC struct {
	Index int
	Name  string
	Names []string // Name and the alternative names

	// Master names the bridge, bond or other device that takes the NIC's frames, ""
	// for none. Where there is one, no macvtap can be on the NIC (net/core/dev.c,
	// netdev_rx_handler_register). Only Match says it.
	Master string

	under place // what a macvtap on it names as the device below
}

// A place is an interface index in a network namespace, by the number that this one has
// for it, -1 for this one itself (rtnetlink(7), IFLA_LINK_NETNSID).
type place struct{ index, namespace int }

// NIC finds a device by its name or alternative name.
func (h *Host) NIC(name string) (NIC, error) {
	link, err := h.link(name)
	if err != nil {
		return NIC{}, err
	}
	return h.lowest(nicOf(link), link)
}

// lowest gives the NIC that a macvtap on a device really sits on: where that device
// is a macvlan or macvtap itself, the one below it (drivers/net/macvlan.c,
// macvlan_common_newlink). It goes by the names of both. Where that one is in another
// network namespace, as below a container's NIC, all that is known here is the macvlan.
func (h *Host) lowest(nic NIC, link netlink.Link) (NIC, error) {
	if kind := link.Type(); kind != "macvlan" && kind != "macvtap" {
		return nic, nil
	}
	if a := link.Attrs(); a.NetNsID >= 0 {
		nic.under = place{a.ParentIndex, a.NetNsID}
		return nic, nil
	}
	below, err := h.handle.LinkByIndex(link.Attrs().ParentIndex)
	if err != nil {
		return NIC{}, fmt.Errorf("the NIC below %q: %w", nic.Name, err)
	}
	lower := nicOf(below)
	lower.Names = append(lower.Names, nic.Names...)
	return lower, nil
}

// Match finds the devices that a parent of the configuration, a name or a glob,
// stands for.
func (h *Host) Match(pattern string) ([]NIC, error) {
	links, err := again(h.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	names := map[int]string{}
	for _, link := range links {
		if link.Type() != "vrf" { // which takes packets, not frames
			names[link.Attrs().Index] = link.Attrs().Name
		}
	}
	var out []NIC
	for _, link := range links {
		nic := nicOf(link)
		nic.Master = names[link.Attrs().MasterIndex]
		if slices.ContainsFunc(nic.Names, func(name string) bool {
			matched, _ := path.Match(pattern, name)
			return matched
		}) {
			out = append(out, nic)
		}
	}
	return out, nil
}

// VLANs names the VLAN devices on a NIC (802.1Q).
func (h *Host) VLANs(index int) ([]string, error) {
	links, err := again(h.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var out []string
	for _, link := range links {
		if link.Type() == "vlan" && link.Attrs().ParentIndex == index && link.Attrs().NetNsID < 0 {
			out = append(out, link.Attrs().Name)
		}
	}
	return out, nil
}

func nicOf(link netlink.Link) NIC {
	a := link.Attrs()
	return NIC{Index: a.Index, Name: a.Name, Names: append([]string{a.Name}, a.AltNames...), under: place{a.Index, -1}}
}

func (h *Host) link(name string) (netlink.Link, error) {
	link, err := h.handle.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("no network device %q on this host", name)
	}
	if err != nil {
		return nil, fmt.Errorf("network device %q: %w", name, err)
	}
	return link, nil
}

// Exists reports whether there is a device of that very name. Where the kernel
// does not say, it does: nothing is then done to what belongs to it.
func (h *Host) Exists(name string) bool {
	link, err := h.handle.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return false
	}
	return err != nil || link.Attrs().Name == name
}

// Check holds an interface of a running domain against the kernel: its device
// exists, is a macvtap, and sits on that parent. One that libvirt made just now has the
// interface's MAC address, too; later somebody, or the guest, may have changed it. Check
// gives the device.
func (h *Host) Check(i domain.Interface, parent NIC, running bool) (Macvtap, error) {
	if i.Target == "" {
		return Macvtap{}, errors.New("no <target dev='…'>: libvirt has made no device for it")
	}
	link, err := h.link(i.Target)
	if err != nil {
		return Macvtap{}, err
	}
	a := link.Attrs()
	device, ok := macvtapOf(link)
	if !ok {
		return Macvtap{}, fmt.Errorf("device %q is of kind %q, not a macvtap", i.Target, link.Type())
	}
	if a.Name != i.Target {
		return Macvtap{}, fmt.Errorf("%q is an alternative name of the device %q", i.Target, a.Name)
	}
	if (place{a.ParentIndex, a.NetNsID}) != parent.under {
		return Macvtap{}, fmt.Errorf("device %q sits on another NIC than %q%s", i.Target, i.Parent, h.below(device))
	}
	if changeable := running || i.TrustGuest || i.Foreign; !changeable && i.MAC != nil && !bytes.Equal(a.HardwareAddr, i.MAC) {
		return Macvtap{}, fmt.Errorf("device %q has the MAC address %s, the domain XML says %s", i.Target, net.HardwareAddr(a.HardwareAddr), i.MAC)
	}
	return device, nil
}

// below names the NIC that a device sits on, for people.
func (h *Host) below(m Macvtap) string {
	nic, err := h.NICAt(m.Parent)
	switch {
	case m.Parent == 0:
		return ": one in another network namespace"
	case err != nil:
		return ""
	}
	return fmt.Sprintf(": %q", nic.Name)
}

// Beneath gives the names of the NIC that an interface's device really sits on, whatever
// its domain's XML says; none where there is no such macvtap, or its NIC is in another
// network namespace.
func (h *Host) Beneath(i domain.Interface) ([]string, error) {
	link, err := h.handle.LinkByName(i.Target)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("network device %q: %w", i.Target, err)
	}
	device, ok := macvtapOf(link)
	if !ok || device.Parent == 0 {
		return nil, nil
	}
	nic, err := h.NICAt(device.Parent)
	return nic.Names, err
}
