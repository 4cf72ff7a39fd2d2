package main

import (
	"net"
	"net/netip"
	"slices"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/plan"
)

// ends are what frames have at either end where the question does not say.
type ends struct {
	vm     net.HardwareAddr
	own    config.Own       // the VM's addresses, if the configuration has them
	router net.HardwareAddr // the gateway's
	facts  facts.Facts
}

// Addresses that documents use (RFC 5737, RFC 3849), and a MAC address of nobody's.
var (
	anyIPv4 = netip.MustParseAddr("198.51.100.7")
	anyIPv6 = netip.MustParseAddr("2001:db8:100::7")
	anyMAC  = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xfe}
)

// endsOf gives what the XML, the configuration and the network know of both ends.
func endsOf(c *config.Config, d *domain.Domain, i domain.Interface, n plan.Network) ends {
	// The rules are made from both already, so neither is wrong in a way that matters.
	p, _ := plan.Configured(d, c)
	known, _ := n.Facts(i.Parent)
	e := ends{vm: i.MAC, own: p.Own, router: anyMAC, facts: known}
	switch {
	case len(p.GatewayMACs) > 0:
		e.router = p.GatewayMACs[0]
	case len(known.GatewayMACs) > 0:
		e.router = net.HardwareAddr(known.GatewayMACs[0])
	}
	return e
}

// A neighbourhood is a network whose gateway has a MAC address: where the host does not
// know it, the VM asks for it, and the rules know it as soon as the VM does.
type neighbourhood struct{ plan.Network }

// Facts gives the facts of a parent, with the MAC address that frames have at a gateway's
// end where the facts know none.
func (n neighbourhood) Facts(parent string) (facts.Facts, error) {
	known, err := n.Network.Facts(parent)
	if len(known.GatewayMACs) == 0 {
		known.GatewayMACs = []facts.MAC{facts.MAC(anyMAC)}
	}
	return known, err
}

// address is the VM's own of a family.
func (e ends) address(is6 bool) netip.Addr {
	for _, a := range e.own.Addresses {
		if a.Is6() == is6 {
			return a
		}
	}
	for _, p := range e.own.Prefixes {
		if p.Addr().Is6() == is6 {
			return p.Addr().Next()
		}
	}
	if is6 {
		return anyIPv6
	}
	return anyIPv4
}

// peerMAC is the other end's in a frame from or to an address.
func (e ends) peerMAC(a netip.Addr) net.HardwareAddr {
	if e.facts.Beyond(a) || slices.Contains(e.facts.Gateway, a) {
		return e.router
	}
	return anyMAC
}
