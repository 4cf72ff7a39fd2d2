package filter

import (
	"macvtap-filter/internal/ruleset"
)

// The places of a DHCP message that say who asks (RFC 2131, 2), behind the UDP header:
// what the message is, a request (1) of an Ethernet (1) address of six bytes, and, side by
// side, the relay's IP address, giaddr, and the client's MAC address, chaddr. dhcpLength is
// the UDP header's.
var (
	dhcpLength = ruleset.Raw(ruleset.TransportHeader, 4, 2)
	dhcpKind   = ruleset.Raw(ruleset.TransportHeader, 8, 3)
	dhcpRelay  = ruleset.Raw(ruleset.TransportHeader, 8+24, 4)

	dhcpHardware = ruleset.Raw(ruleset.TransportHeader, 8+28, 6)
)

// dhcpClientEnd is where the client's address ends, from the UDP header on.
const dhcpClientEnd = 8 + 28 + 6

// dhcpClient lets the VM find a DHCP server, from whatever address a client does, as
// itself: a server takes the client's address inside for the one that asks, and ends or
// declines its lease, and answers to the relay's.
func (c *chain) dhcpClient(f family) {
	if f.name == family6.name {
		c.accept(all(toGroup("ff02::1:2"), one(c.linkLocalSource()), withPorts(f, ruleset.UDP), fromTo(546, 547))...)
		return
	}
	toServer := all(withPorts(f, ruleset.UDP), one(ruleset.Is(ruleset.DestinationPort, 67)))
	if !c.policy.PassDHCPServer { // else it may be a relay
		const reason = "dhcp-client"
		c.drop(reason, "DHCP in fragments, or cut short", all(toServer, one(moreFragments))...)
		c.drop(reason, "DHCP in fragments, or cut short", all(toServer, one(ruleset.Compare{Field: dhcpLength, Op: ruleset.Less, Value: port(dhcpClientEnd)}))...)
		c.drop(reason, "DHCP of another kind than a client's request", all(toServer, one(isNot(dhcpKind, 1, 1, 6)))...)
		c.drop(reason, "DHCP of a relay", all(toServer, one(isNot(dhcpRelay, 0, 0, 0, 0)))...)
		c.drop(reason, "DHCP of another client", all(toServer, one(c.isNotOwn(ownBitsSet, dhcpHardware)))...)
	}
	c.accept(all(one(group), one(equals(ruleset.IPDestination, "255.255.255.255")), c.mayDiscover(), withPorts(f, ruleset.UDP), fromTo(68, 67))...)
}

// moreFragments matches fragments but the last (RFC 791, 3.1).
var moreFragments = ruleset.Masked{Field: ruleset.IPFragment, Mask: []byte{0x20, 0}, Op: ruleset.NotEqual, Value: []byte{0, 0}}

// mayDiscover matches the addresses from which a DHCP client broadcasts.
func (c *chain) mayDiscover() []ruleset.Match {
	if !c.knowsOwn(family4) {
		return nil
	}
	sources := append([]ruleset.Element{single(noAddress4)}, elements(ofAddrs(c.own(family4)))...)
	return one(ruleset.Among(ruleset.IPSource, false, sources...))
}

// linkLocalSource matches the VM's link-local addresses, all where its own are not known.
func (c *chain) linkLocalSource() ruleset.Match {
	if !c.knowsOwn(family6) {
		return within(ruleset.IP6Source, linkLocal6, false)
	}
	var known []ruleset.Element
	for _, a := range c.own(family6) {
		if linkLocal6.Contains(a) {
			known = append(known, single(a))
		}
	}
	return ruleset.Among(ruleset.IP6Source, false, known...)
}

// dhcpServer drops what the VM sends as a DHCP server, or lets it and its clients find
// each other.
func (c *chain) dhcpServer(f family) {
	switch {
	case c.policy.PassDHCPServer:
		c.serveLeases(f)
	case !c.out:
	case f.name == family4.name:
		c.drop("dhcp-server", "DHCP server", firstFragment, ruleset.Byte(ruleset.L4Proto, ruleset.UDP), ruleset.Is(ruleset.SourcePort, 67))
	default:
		c.drop("dhcpv6-server", "DHCPv6 server", ruleset.Byte(ruleset.L4Proto, ruleset.UDP), ruleset.Is(ruleset.SourcePort, 547))
	}
}

// serveLeases lets the VM and its DHCP clients find each other: they ask all, from
// no address yet, and are answered there (RFC 2131, 4.1; RFC 8415, 7.2).
func (c *chain) serveLeases(f family) {
	server, client := uint16(67), uint16(68)
	if f.name == family6.name {
		server, client = 547, 546
	}
	if c.out {
		c.accept(append(withPorts(f, ruleset.UDP), fromTo(server, client)...)...)
	} else {
		c.accept(append(withPorts(f, ruleset.UDP), fromTo(client, server)...)...)
	}
}

// leases drops what a DHCP server sends to clients. A client without an address takes
// it whatever address it is for, so this comes before what lets the internet pass,
// and many look at no port but their own.
func (c *chain) leases(f family) {
	switch {
	case c.policy.PassDHCPServer:
	case f.name == family4.name:
		c.drop("dhcp-server", "DHCP to a client",
			ruleset.Byte(ruleset.L4Proto, ruleset.UDP), ruleset.Is(ruleset.DestinationPort, 68), firstFragment)
	default:
		c.drop("dhcpv6-server", "DHCPv6 to a client",
			ruleset.Byte(ruleset.L4Proto, ruleset.UDP), ruleset.Is(ruleset.DestinationPort, 546), isNot(ruleset.IP6NextHeader, fragmentHeader))
	}
}
