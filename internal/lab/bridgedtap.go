package lab

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hypervisorBridge joins a parent NIC and plain tap devices.
const hypervisorBridge = "br0"

// AddBridgedTap makes a plain tap device, and a bridge that joins it and the parent: what
// VMs have that are not on macvtap. It is otherwise as AddMacvtap's. There is one a network.
func (n *Network) AddBridgedTap(name string, mac net.HardwareAddr) (*Tap, error) {
	tap := &Tap{Name: name, MAC: mac, hypervisor: n.Hypervisor, plain: true}
	if err := n.Hypervisor.Do(func() error { return keepTap(name) }); err != nil {
		return nil, fmt.Errorf("add tap device %s: %w", name, err)
	}
	links := n.Hypervisor.links
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name = hypervisorBridge
	if err := links.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("add %s: %w", hypervisorBridge, err)
	}
	for _, port := range []string{n.Parent, name} {
		link, err := links.LinkByName(port)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", port, err)
		}
		if err := links.LinkSetMasterByIndex(link, bridge.Index); err != nil {
			return nil, fmt.Errorf("plug %s into %s: %w", port, hypervisorBridge, err)
		}
		tap.Index = link.Attrs().Index
	}
	return tap, n.Hypervisor.setUp(hypervisorBridge)
}

// keepTap makes a tap device that stays without anybody who has it open.
func keepTap(name string) error {
	fd, err := openTun()
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = ioctl(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	}
	return errors.Join(err, unix.Close(fd))
}

// openTun opens what /dev/net/tun is, in the calling thread's network namespace.
func openTun() (int, error) { return openNode(unix.Mkdev(10, 200)) }
