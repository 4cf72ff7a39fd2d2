package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
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
	names, _ := n.Names(i.Parent)
	p, _ := plan.Configured(d, i, names, c)
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

// bindings gives rules that learn the VM's addresses with those that they have learned: of a
// running VM, from the kernel. Where nothing was, and the question names no address of the
// VM's, it has the one that the frame will be from. Who may not read the kernel is told so.
func (q question) bindings(ctx context.Context, std streams, t ruleset.Table, i domain.Interface, e ends) (ruleset.Table, ends, error) {
	var known []netip.Addr
	inWords := q.hex+q.pcap == "" && (q.out && q.from == "" || q.in && q.to == "")
	if learns := filter.LearnsFamily(t, anyIPv4) || filter.LearnsFamily(t, anyIPv6); q.vm+q.own != "" && learns { // who asks may not be root
		held, err := kernel.Read(ctx, ruleset.TableName(i.Target))
		switch {
		case errors.Is(err, fs.ErrPermission) && inWords:
			notef(std, "%s: only root can read the addresses that its rules have learned: the one that the frame has is taken for its own", q.whose())
		case errors.Is(err, fs.ErrPermission):
			notef(std, "%s: only root can read the addresses that its rules have learned: none is taken for its own", q.whose())
		case err != nil:
			return t, e, err
		}
		for _, h := range held {
			own, _, _ := filter.Addresses(h.Table)
			for _, a := range own {
				known = append(known, a.Addr)
			}
		}
	}
	for _, is6 := range []bool{false, true} {
		learned := slices.DeleteFunc(slices.Clone(known), func(a netip.Addr) bool { return a.Is6() != is6 })
		if inWords && len(learned) == 0 {
			learned = []netip.Addr{e.address(is6)}
		}
		for _, a := range learned {
			if filter.LearnsFamily(t, a) && !slices.Contains(e.own.Addresses, a) {
				t = filter.WithAddress(t, a)
				e.own.Addresses = append(e.own.Addresses, a)
			}
		}
	}
	return t, e, nil
}

// whose names the VM or device that runs.
func (q question) whose() string {
	if q.own != "" {
		return fmt.Sprintf("device %q", q.own)
	}
	return fmt.Sprintf("VM %q", q.vm)
}
