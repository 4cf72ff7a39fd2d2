package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
)

// A Host is a machine on the LAN, or behind one: a namespace with one NIC,
// whose kernel answers ARP, neighbour discovery and ping.
type Host struct {
	// Namespace is the host's own; processes and sockets can be put there.
	*Namespace
	// Name is how the host was called when it was added.
	Name string
	// MAC is the address of its NIC.
	MAC net.HardwareAddr
	// Addresses are those it was given, its own, with their prefixes.
	Addresses []netip.Prefix

	mu       sync.Mutex
	services []io.Closer
}

// hostNIC is what a host calls its NIC.
const hostNIC = "eth0"

// AddHost puts a host on the LAN. Its name, at most 15 bytes, also names its
// port of the bridge, and must be unique. The network's Close removes it.
func (n *Network) AddHost(name string, mac net.HardwareAddr, addresses ...netip.Prefix) (*Host, error) {
	host, err := n.newHost(name, mac)
	if err != nil {
		return nil, err
	}
	if _, err := n.plug(name, host.Namespace, hostNIC, mac); err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return host, host.add(addresses)
}

// AddBehind puts a host on the far side of a router: one on the internet, when
// the router is the LAN's gateway. Its packets for anybody else go through the
// router, which forwards them from now on. Its addresses should be whole
// (/32, /128).
func (n *Network) AddBehind(router *Host, name string, mac net.HardwareAddr, addresses ...netip.Prefix) (*Host, error) {
	host, err := n.newHost(name, mac)
	if err != nil {
		return nil, err
	}
	if err := host.behind(router, addresses); err != nil {
		return nil, fmt.Errorf("host %s behind %s: %w", name, router.Name, err)
	}
	return host, nil
}

// SetGateway makes the host send what is not on the LAN to a router, for the
// router address's family.
func (h *Host) SetGateway(router netip.Addr) error {
	if err := h.addDefaultRoute(hostNIC, router); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return nil
}

// Addr gives the host's first address of a family: 4 or 6. It gives the zero
// Addr when there is none.
func (h *Host) Addr(family int) netip.Addr {
	for _, prefix := range h.Addresses {
		if prefix.Addr().Is4() == (family == 4) {
			return prefix.Addr()
		}
	}
	return netip.Addr{}
}

func (n *Network) newHost(name string, mac net.HardwareAddr) (*Host, error) {
	ns, err := NewNamespace()
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	host := &Host{Namespace: ns, Name: name, MAC: mac}
	n.hosts = append(n.hosts, host)
	return host, nil
}

// add gives the host addresses.
func (h *Host) add(addresses []netip.Prefix) error {
	for _, address := range addresses {
		if err := h.addAddress(hostNIC, address); err != nil {
			return fmt.Errorf("host %s: %w", h.Name, err)
		}
		h.Addresses = append(h.Addresses, address)
	}
	return nil
}

// Addresses of the two ends of the cable between a router and a host behind it.
var (
	routerEnd4 = netip.MustParseAddr("169.254.0.1")
	routerEnd6 = netip.MustParseAddr("fe80::1")
	hostEnd6   = netip.MustParseAddr("fe80::2")
)

// behind lays the cable to the router, and the routes of both.
func (h *Host) behind(router *Host, addresses []netip.Prefix) error {
	if err := addCable(router.Namespace, h.Name, nil, h.Namespace, hostNIC, h.MAC); err != nil {
		return err
	}
	if err := h.add(addresses); err != nil {
		return err
	}
	for _, address := range addresses {
		via, near := routerEnd4, netip.PrefixFrom(routerEnd4, 32)
		if address.Addr().Is6() {
			via, near = routerEnd6, netip.PrefixFrom(routerEnd6, 64)
			if err := h.addAddress(hostNIC, netip.PrefixFrom(hostEnd6, 64)); err != nil {
				return err
			}
		}
		if err := router.addAddress(h.Name, near); err != nil {
			return err
		}
		if err := router.addRoute(h.Name, address.Masked(), netip.Addr{}); err != nil {
			return err
		}
		if err := h.addDefaultRoute(hostNIC, via); err != nil {
			return err
		}
	}
	return router.forward()
}

// own has the host close a service when it ends.
func (h *Host) own(service io.Closer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.services = append(h.services, service)
}

func (h *Host) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, service := range h.services {
		errs = append(errs, service.Close())
	}
	return errors.Join(append(errs, h.Close())...)
}
