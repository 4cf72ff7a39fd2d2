package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Options say what a network's hypervisor is like. The zero value is a
// hypervisor without addresses, whose parent NIC is called enp88s0.
type Options struct {
	// Parent names the hypervisor's NIC. Default: enp88s0.
	Parent string
	// ParentMAC is its address. Default: 02:00:00:00:88:00, and one more for each
	// further hypervisor.
	ParentMAC net.HardwareAddr
	// Addresses are the parent's own. Without an IPv6 one it speaks no IPv6.
	Addresses []netip.Prefix
	// Gateways are the hypervisor's default routes, at most one a family.
	Gateways []netip.Addr
}

// A Network is a hypervisor, a LAN, and the cable between them.
type Network struct {
	// Hypervisor holds the parent NIC and the macvtap devices.
	Hypervisor *Namespace
	// LAN holds the bridge that joins the cable and the hosts.
	LAN *Namespace
	// Parent is the name of the hypervisor's NIC.
	Parent string

	uplink   int // index of the cable's LAN end
	bridge   int // index of the bridge
	wire     *Wire
	sentinel *sentinel
	others   []*Namespace // further hypervisors
	hosts    []*Host
	taps     []*Tap
}

// Names of the devices in the LAN namespace.
const (
	uplinkName = "uplink"
	bridgeName = "bridge"
)

// New makes a network. The caller closes it; what was made is removed when it fails.
func New(options Options) (*Network, error) {
	n := &Network{Parent: options.Parent}
	if n.Parent == "" {
		n.Parent = "enp88s0"
	}
	if err := n.build(options); err != nil {
		return nil, errors.Join(fmt.Errorf("make a network: %w", err), n.Close())
	}
	return n, nil
}

func (n *Network) build(options Options) error {
	var err error
	if n.Hypervisor, err = NewNamespace(); err != nil {
		return err
	}
	if n.LAN, err = NewNamespace(); err != nil {
		return err
	}
	if n.bridge, err = addBridge(n.LAN); err != nil {
		return err
	}
	n.uplink, err = n.connect(uplinkName, n.Hypervisor, n.Parent, options)
	return err
}

// AddHypervisor plugs another hypervisor into a port of the LAN's bridge, with a
// cable and a parent NIC of its own. The port's name, at most 15 bytes, must be
// unique. A parent that options do not name is called as the first one's. The
// network's Close removes it; taps and the Wire are the first hypervisor's.
func (n *Network) AddHypervisor(port string, options Options) (*Namespace, error) {
	ns, err := NewNamespace()
	if err != nil {
		return nil, fmt.Errorf("add a hypervisor: %w", err)
	}
	n.others = append(n.others, ns)
	parent := options.Parent
	if parent == "" {
		parent = n.Parent
	}
	if _, err := n.connect(port, ns, parent, options); err != nil {
		return nil, fmt.Errorf("add a hypervisor: %w", err)
	}
	return ns, nil
}

// connect lays a hypervisor's cable and gives its parent NIC what options say, and
// gives the index of the cable's LAN end.
func (n *Network) connect(port string, ns *Namespace, parent string, options Options) (int, error) {
	mac := options.ParentMAC
	if mac == nil {
		mac = net.HardwareAddr{2, 0, 0, 0, 0x88, byte(len(n.others))}
	}
	index, err := n.plug(port, ns, parent, mac)
	if err != nil {
		return 0, err
	}
	for _, address := range options.Addresses {
		if err := ns.addAddress(parent, address); err != nil {
			return 0, err
		}
	}
	for _, gateway := range options.Gateways {
		if err := ns.addDefaultRoute(parent, gateway); err != nil {
			return 0, err
		}
	}
	return index, nil
}

// Wire gives the LAN end of the cable, the same every time. It is opened at the
// first call, since listening costs time on every frame.
func (n *Network) Wire() (*Wire, error) {
	if n.wire == nil {
		wire, err := n.LAN.openWire(n.uplink)
		if err != nil {
			return nil, err
		}
		n.wire = wire
	}
	return n.wire, nil
}

// Close removes everything: when it returns, the macvtap devices and their
// nodes are gone; the kernel removes the rest in the background.
func (n *Network) Close() error {
	var errs []error
	for _, tap := range n.taps {
		errs = append(errs, tap.Delete())
	}
	if n.wire != nil {
		errs = append(errs, n.wire.close())
	}
	if n.sentinel != nil {
		errs = append(errs, n.sentinel.close())
	}
	for _, host := range n.hosts {
		errs = append(errs, host.close())
	}
	for _, ns := range append(n.others, n.Hypervisor, n.LAN) {
		if ns != nil {
			errs = append(errs, ns.Close())
		}
	}
	*n = Network{}
	return errors.Join(errs...)
}

// addBridge makes the LAN's switch. It neither speaks nor listens itself.
func addBridge(ns *Namespace) (int, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	snooping := false
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := ns.links.LinkAdd(bridge); err != nil {
		return 0, fmt.Errorf("add the LAN's bridge: %w", err)
	}
	return bridge.Attrs().Index, ns.setUp(bridgeName)
}

// plug lays a cable from a port of the bridge to a new device of another
// namespace, both ends up, and gives the port's index.
func (n *Network) plug(port string, ns *Namespace, device string, mac net.HardwareAddr) (int, error) {
	if err := addCable(n.LAN, port, nil, ns, device, mac); err != nil {
		return 0, err
	}
	link, err := n.LAN.links.LinkByName(port)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", port, err)
	}
	if err := n.LAN.links.LinkSetMasterByIndex(link, n.bridge); err != nil {
		return 0, fmt.Errorf("plug %s into the bridge: %w", port, err)
	}
	return link.Attrs().Index, nil
}

// addCable makes a veth pair with an end in each namespace, both up. A nil MAC
// leaves the address to the kernel.
func addCable(here *Namespace, name string, mac net.HardwareAddr, there *Namespace, peer string, peerMAC net.HardwareAddr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.HardwareAddr = mac
	veth := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         peer,
		PeerHardwareAddr: peerMAC,
		PeerNamespace:    netlink.NsFd(there.FD()),
	}
	if err := here.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("lay a cable from %s to %s: %w", name, peer, err)
	}
	return errors.Join(here.setUp(name), there.setUp(peer))
}
