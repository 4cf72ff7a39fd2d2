package filter

import (
	"slices"

	"macvtap-filter/internal/ruleset"
)

// The places of a DHCP message that say who asks (RFC 2131, 2), behind the UDP header:
// what the message is, a request (1) of an Ethernet (1) address of six bytes; the address
// that the client has, ciaddr; the relay's IP address, giaddr; and the client's MAC address,
// chaddr. dhcpLength is the UDP header's.
var (
	dhcpLength   = ruleset.Raw(ruleset.TransportHeader, 4, 2)
	dhcpKind     = ruleset.Raw(ruleset.TransportHeader, 8, 3)
	dhcpAddress  = ruleset.Raw(ruleset.TransportHeader, 8+12, 4)
	dhcpRelay    = ruleset.Raw(ruleset.TransportHeader, 8+24, 4)
	dhcpHardware = ruleset.Raw(ruleset.TransportHeader, 8+28, 6)
)

// dhcpClientEnd is where the client's address ends, from the UDP header on.
const dhcpClientEnd = 8 + 28 + 6

// dhcpClient lets the VM find a DHCP server, from whatever address a client does, as
// itself: a server takes the client's address inside for the one that asks, and ends or
// declines its lease, and answers to the relay's.
func (c *chain) dhcpClient(f family) {
	if f.name == family6.name {
		c.dhcpv6Client()
		c.asksDHCP(f, 546, 547)
		c.accept("DHCPv6 of a client to all servers", all(toGroup("ff02::1:2"), one(within(ruleset.IP6Source, linkLocal6, false)), withPorts(f, ruleset.UDP), fromTo(546, 547))...)
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
		if c.knowsOwn(f) && !c.learns(f) { // a lease may be older than its rules
			c.drop(reason, "DHCP about another's address", all(c.isNotVMs(f, dhcpAddress), toServer, one(isNot(dhcpAddress, 0, 0, 0, 0)))...)
		}
		c.forgetLease(toServer)
	}
	c.asksDHCP(f, 68, 67)
	if c.learns(f) {
		if servers := c.dhcpServers(); len(servers) > 0 {
			c.accept("DHCP of a client to its server", all([]ruleset.Match{unicast, noOptions, among(ruleset.IPDestination, servers)}, withPorts(f, ruleset.UDP), fromTo(68, 67))...)
		}
	}
	c.accept("DHCP of a client to all servers", all(one(group), one(noOptions), one(equals(ruleset.IPDestination, "255.255.255.255")), withPorts(f, ruleset.UDP), fromTo(68, 67))...)
}

// moreFragments matches fragments but the last (RFC 791, 3.1).
var moreFragments = ruleset.Masked{Field: ruleset.IPFragment, Mask: []byte{0x20, 0}, Op: ruleset.NotEqual, Value: []byte{0, 0}}

// dhcpv6Length is the least of a client's message with UDP's header: its type and a
// transaction's number (RFC 8415, 8).
const dhcpv6Length = 8 + 4

// dhcpv6Type is the first byte of a DHCPv6 message, and dhcpv6ClientTypes are those of
// clients: solicit, request, confirm, renew, rebind, release, decline, information-request
// (RFC 8415, 7.3). A relay's holds whatever message of whatever client it likes.
var (
	dhcpv6Type        = ruleset.Raw(ruleset.TransportHeader, 8, 1)
	dhcpv6ClientTypes = []byte{1, 3, 4, 5, 6, 8, 9, 11}
)

// dhcpv6Client drops what the VM sends to DHCPv6 servers otherwise than as a client, or so
// that not every receiver reads it as these rules do.
func (c *chain) dhcpv6Client() {
	if c.policy.PassDHCPServer {
		return
	}
	const reason, server = "dhcp-client", 547
	c.drop(reason, "DHCPv6 in fragments, or behind an extension header", all(toPort6(server), one(isNot(ruleset.IP6NextHeader, ruleset.UDP)))...)
	c.drop(reason, "DHCPv6 cut short", ruleset.Byte(ruleset.L4Proto, ruleset.UDP), portAndMore(2, port(server), port(0), port(dhcpv6Length-1)))
	var client []ruleset.Element
	for _, kind := range dhcpv6ClientTypes {
		client = append(client, bytesOf(kind))
	}
	c.drop(reason, "DHCPv6 of another kind than a client's", all(toPort6(server), one(ruleset.Among(dhcpv6Type, true, client...)))...)
}

// toPort6 matches UDP over IPv6 to a port, whatever headers stand between: whole, or in a
// first fragment.
func toPort6(n uint16) []ruleset.Match {
	return []ruleset.Match{ruleset.Byte(ruleset.L4Proto, ruleset.UDP), portAndMore(2, port(n), port(0), port(0xffff))}
}

// fromPort6 matches UDP over IPv6 from a port in the same way.
func fromPort6(n uint16) []ruleset.Match {
	return []ruleset.Match{ruleset.Byte(ruleset.L4Proto, ruleset.UDP), portAndMore(0, port(n), []byte{0}, []byte{0xff})}
}

// portAndMore matches a port together with the bytes behind it. Of a later fragment of
// IPv6 the kernel reads a port alone from the Ethernet header (see withPorts), and
// innocent ones would match; what is not 1, 2 or 4 aligned bytes it does not read there.
func portAndMore(offset uint32, port, from, to []byte) ruleset.Match {
	field := ruleset.Raw(ruleset.TransportHeader, offset, uint32(len(port)+len(from)))
	return ruleset.Between{Field: field, From: slices.Concat(port, from), To: slices.Concat(port, to)}
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
		c.drop("dhcpv6-server", "DHCPv6 server", fromPort6(547)...)
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
		var whole []ruleset.Match
		if f.name == family4.name {
			whole = one(noOptions) // a source route leads past the rules
		}
		c.accept(dhcpServer, all(whole, withPorts(f, ruleset.UDP), fromTo(server, client))...)
	} else {
		c.accept(dhcpServer, append(withPorts(f, ruleset.UDP), fromTo(client, server)...)...)
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
		if c.learns(f) { // it may come back from a router
			c.drop("dhcp-server", "DHCP server", firstFragment, ruleset.Byte(ruleset.L4Proto, ruleset.UDP), ruleset.Is(ruleset.SourcePort, 67))
		}
	default:
		c.drop("dhcpv6-server", "DHCPv6 to a client", toPort6(546)...)
	}
}
