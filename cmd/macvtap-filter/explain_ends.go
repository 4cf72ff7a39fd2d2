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
	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/why"
)

// ends are what frames have at either end where the question does not say.
type ends struct {
	vm     net.HardwareAddr
	own    config.Own       // the VM's addresses, if the configuration has them
	router net.HardwareAddr // the gateway's
	facts  facts.Facts
	asks   func() why.Asker // about the interface's rules
	others []netip.Addr     // that no VM has: the router's, name servers', those of hosts that are allowed
}

// Addresses that documents use (RFC 5737, RFC 3849), and a MAC address of nobody's.
var (
	anyIPv4   = netip.MustParseAddr("198.51.100.7")
	anyIPv6   = netip.MustParseAddr("2001:db8:100::7")
	broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	anyMAC    = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xfe}
)

// endsOf gives what the XML, the configuration and the network know of both ends.
func endsOf(c *config.Config, d *domain.Domain, i domain.Interface, n plan.Network) ends {
	// The rules are made from both already, so neither is wrong in a way that matters.
	names, _ := n.Names(i.Parent)
	p, _ := plan.Configured(d, i, names, c)
	known, _ := n.Facts(i.Parent)
	e := ends{vm: i.MAC, own: p.Own, router: anyMAC, facts: known}
	e.asks = func() why.Asker { return why.New(c, p, known, honoured(d, c)) }
	e.others = slices.Concat(known.Gateway, known.DNS, known.Broadcast, []netip.Addr{broadcast})
	for _, entry := range p.Allow {
		if entry.Word == "" && entry.Range.From() == entry.Range.To() {
			e.others = append(e.others, entry.Range.From())
		}
	}
	switch {
	case len(p.GatewayMACs) > 0:
		e.router = p.GatewayMACs[0]
	case len(known.GatewayMACs) > 0:
		e.router = net.HardwareAddr(known.GatewayMACs[0])
	}
	return e
}

// honoured is what a VM's own definition adds to what it is allowed.
func honoured(d *domain.Domain, c *config.Config) []string {
	if d.Choice == nil || !c.HonourMetadata {
		return nil
	}
	return d.Choice.Allow
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

// address is the VM's own by which it talks with a peer: as hosts choose it, link-local with
// link-local (RFC 6724, 5).
func (e ends) address(peer netip.Addr) netip.Addr {
	var other netip.Addr
	for _, a := range e.own.Addresses {
		switch near := a.IsLinkLocalUnicast() == (peer.IsLinkLocalUnicast() || peer.IsLinkLocalMulticast()); {
		case a.Is6() != peer.Is6():
		case near || a.Is4():
			return a
		case !other.IsValid():
			other = a
		}
	}
	if other.IsValid() {
		return other
	}
	for _, p := range e.own.Prefixes {
		if a := e.free(p); a.Is6() == peer.Is6() && a.IsValid() {
			return a
		}
	}
	if peer.Is6() {
		return anyIPv6
	}
	return anyIPv4
}

// free is an address of a prefix of the VM's that is nobody else's for certain.
func (e ends) free(p netip.Prefix) netip.Addr {
	a := p.Addr().Next()
	for p.Contains(a) && (slices.Contains(e.others, a) || slices.Contains(e.facts.Host, a)) {
		a = a.Next()
	}
	if !p.Contains(a) {
		return netip.Addr{}
	}
	return a
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
func (q question) bindings(ctx context.Context, std streams, running bool, t ruleset.Table, i domain.Interface, e ends) (ruleset.Table, ends, error) {
	var known []netip.Addr
	inWords := q.hex+q.pcap == "" && (q.out && q.from == "" || q.in && q.to == "")
	if learns := filter.LearnsFamily(t, anyIPv4) || filter.LearnsFamily(t, anyIPv6); running && learns { // who asks may not be root
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
	for _, one := range []netip.Addr{anyIPv4, anyIPv6} {
		learned := slices.DeleteFunc(slices.Clone(known), func(a netip.Addr) bool { return a.Is6() != one.Is6() })
		if inWords && len(learned) == 0 {
			learned = []netip.Addr{e.address(one)}
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

// assumeOwn gives rules that learn addresses, of a VM that does not run and of which none is
// known, with the first of each family that the frames have at the VM's end: it has one by the
// time that it sends such frames.
func (q question) assumeOwn(t ruleset.Table, e ends, frames [][]byte, running bool) (with ruleset.Table, taken []netip.Addr) {
	if running {
		return t, nil
	}
	own, _, _ := filter.Addresses(t)
	for _, f := range frames {
		a, to := frame.Addresses(f)
		if q.in {
			a = to
		}
		isOwn := func(other filter.Address) bool { return other.Is6() == a.Is6() }
		nobodys := !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || slices.Contains(e.others, a)
		if nobodys || !filter.LearnsFamily(t, a) || slices.ContainsFunc(own, isOwn) {
			continue
		}
		t, taken = filter.WithAddress(t, a), append(taken, a)
		own = append(own, filter.Address{Addr: a})
	}
	return t, taken
}

// whose names the VM or device that runs.
func (q question) whose() string {
	if q.own != "" {
		return fmt.Sprintf("device %q", q.own)
	}
	return fmt.Sprintf("VM %q", q.vm)
}
