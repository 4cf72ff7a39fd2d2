package attack

import (
	"net"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// dhcpMessage is a message of either side (RFC 2131, 2).
func (l *list) dhcpMessage(op layers.DHCPOp, kind layers.DHCPMsgType, client net.HardwareAddr, current, given, server netip.Addr) string {
	m := &layers.DHCPv4{
		Operation: op, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: 0x12345678, ClientHWAddr: client,
		ClientIP: current.AsSlice(), YourClientIP: given.AsSlice(), NextServerIP: server.AsSlice(), RelayAgentIP: none4.AsSlice(),
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(kind)}), layers.NewDHCPOption(layers.DHCPOptEnd, nil)},
	}
	return string(l.bytes(m))
}

// ask is a client's message.
func (l *list) ask(kind layers.DHCPMsgType, current netip.Addr) string {
	return l.dhcpMessage(layers.DHCPOpRequest, kind, l.VM.MAC, current, none4, none4)
}

// answer is a server's, to a client.
func (l *list) answer(kind layers.DHCPMsgType, server, client Host, given netip.Addr) string {
	return l.dhcpMessage(layers.DHCPOpReply, kind, client.MAC, none4, given, server.IPv4)
}

// DHCPv6 messages with no options (RFC 8415, 7.3).
const (
	solicit6   = "\x01\x12\x34\x56"
	advertise6 = "\x02\x12\x34\x56"
	reply6     = "\x07\x12\x34\x56"
)

func (l *list) dhcp() {
	vm, victim := l.VM, l.Victim
	const source = "RFC 2131, 4.1; RFC 7610"
	offer := l.answer(layers.DHCPMsgTypeOffer, vm, victim, victim.IPv4)
	ack := l.answer(layers.DHCPMsgTypeAck, vm, victim, victim.IPv4)
	for _, m := range []struct{ name, text string }{{"offer", offer}, {"acknowledgement", ack}} {
		l.fromVM("DHCP "+m.name+", broadcast", source, "dhcp-server", l.out(allHosts, l.udp(vm.IPv4, broadcast4, 67, 68, m.text)))
		l.fromVM("DHCP "+m.name+", unicast to the client", source, "dhcp-server", l.out(victim.MAC, l.udp(vm.IPv4, victim.IPv4, 67, 68, m.text)))
	}
	// A client without an address hears every datagram in a frame for it, and
	// many look at the destination's port alone.
	given := l.answer(layers.DHCPMsgTypeAck, vm, victim, l.Web.IPv4)
	l.fromVM("DHCP acknowledgement of an internet address, unicast to the client", source, "dhcp-server", l.out(victim.MAC, l.udp(vm.IPv4, l.Web.IPv4, 67, 68, given)))
	l.fromVM("the same from another port", source, "dhcp-server", l.out(victim.MAC, l.udp(vm.IPv4, l.Web.IPv4, 1067, 68, given)))
	l.fromVM("DHCP acknowledgement from another port, broadcast", source, "dhcp-server", l.out(allHosts, l.udp(vm.IPv4, broadcast4, 1067, 68, ack)))
	l.fromVM("DHCP from no address, as a server", source, "dhcp-server", l.out(allHosts, l.udp(none4, broadcast4, 67, 68, offer)))
	l.fromVM("DHCP as a relay, to the gateway", "RFC 1542, 4", "dhcp-client", l.out(l.Gateway.MAC, l.udp(vm.IPv4, l.Gateway.IPv4, 67, 67, offer)))
	l.fromVM("DHCP with the gateway's address", source, "dhcp-server", l.out(allHosts, l.udp(l.Gateway.IPv4, broadcast4, 67, 68, ack)))
	l.fromVM("DHCP request to a denied host", source, "denied-ipv4", l.out(victim.MAC, l.udp(vm.IPv4, victim.IPv4, 68, 67, l.ask(layers.DHCPMsgTypeDiscover, none4))))

	// Many receivers do not care what the IP header says of its length.
	broken := l.udp(vm.IPv4, l.Gateway.IPv4, 67, 68, ack)
	l.fromVM("DHCP acknowledgement in a packet longer than its frame", "RFC 791, 3.1", "malformed", l.out(victim.MAC, changed(broken, 2, byte((len(broken)+1)>>8), byte(len(broken)+1))))

	const source6 = "RFC 8415, 18.3; RFC 7610"
	l.fromVM("DHCPv6 reply to an internet address, unicast to the client", source6, "dhcpv6-server", l.out(victim.MAC, l.udp(vm.IPv6, l.Web.IPv6, 547, 546, reply6)))
	l.fromVM("DHCPv6 advertise to a denied host", source6, "dhcpv6-server", l.out(victim.MAC, l.udp(vm.Link, victim.Link, 547, 546, advertise6)))
	l.fromVM("DHCPv6 reply to a denied host", source6, "dhcpv6-server", l.out(victim.MAC, l.udp(vm.Link, victim.Link, 547, 546, reply6)))
	l.fromVM("DHCPv6 reply to all nodes", source6, "dhcpv6-server", l.out(groupMAC(allNodes), l.udp(vm.Link, allNodes, 547, 546, reply6)))
	l.fromVM("DHCPv6 reply from another port", source6, "dhcpv6-server", l.out(victim.MAC, l.udp(vm.Link, victim.Link, 1547, 546, reply6)))
	l.fromVM("DHCPv6 reply behind destination options", source6, "dhcpv6-server", l.out(victim.MAC, l.ip(vm.Link, victim.Link, dstOptions, join(optionsHeader(udp, 1), l.udp(vm.Link, victim.Link, 547, 546, reply6)[40:]))))
	l.fromVM("DHCPv6 reply to an allowed host", source6, "dhcpv6-server", l.out(l.Gateway.MAC, l.udp(vm.Link, l.Gateway.Link, 547, 546, reply6)))
	// First and atomic fragments say to which port they are, as well as whole packets do.
	piece := func(more bool, packet []byte) []byte {
		return l.out(l.Gateway.MAC, l.ip(vm.Link, l.Gateway.Link, fragmented, join(fragmentHeader(udp, 0, more), packet[40:])))
	}
	reply := l.udp(vm.Link, l.Gateway.Link, 1547, 546, reply6+"fragments ..")
	l.fromVM("DHCPv6 reply in first and atomic fragments", "RFC 8200, 4.5; RFC 6946", "dhcpv6-server", piece(true, reply), piece(false, reply))
	l.relay6(piece)
	agents := netip.MustParseAddr("ff02::1:2")
	l.fromVM("DHCPv6 solicit from no link-local address", "RFC 8415, 7.2", "multicast", l.out(groupMAC(agents), l.udp(vm.IPv6, agents, 546, 547, solicit6)))
}

// relay6 are DHCPv6 messages to servers that are no client's. A relay's has any message of
// any client inside, and the server takes it for that client's.
func (l *list) relay6(piece func(more bool, packet []byte) []byte) {
	const source = "RFC 8415, 7.3, 9 and 19"
	vm, gateway, agents := l.VM, l.Gateway, netip.MustParseAddr("ff02::1:2")
	inside := "\x08\x65\x43\x21\x00\x01\x00\x0a\x00\x03\x00\x01" + string(l.Victim.MAC) // the victim's release
	forward := join([]byte{12, 0}, l.Victim.IPv6.AsSlice(), l.Victim.Link.AsSlice(), []byte{0, 9, 0, byte(len(inside))}, []byte(inside))
	for _, m := range []struct {
		name string
		kind byte
	}{{"relay-forward", 12}, {"relay-reply", 13}, {"advertise", 2}, {"reply", 7}, {"reconfigure", 10}, {"lease query", 14}} {
		text := string(ofType(forward, m.kind))
		l.fromVM("DHCPv6 "+m.name+" to servers", source, "dhcp-client", l.out(groupMAC(agents), l.udp(vm.Link, agents, 546, 547, text)),
			l.out(gateway.MAC, l.udp(vm.Link, gateway.Link, 546, 547, text)), l.out(l.Web.MAC, l.udp(vm.IPv6, l.Web.IPv6, 546, 547, text)))
	}
	l.fromVM("DHCPv6 relay-forward from a relay's port", source, "dhcp-client", l.out(groupMAC(agents), l.udp(vm.Link, agents, 547, 547, string(forward))))
	whole := l.udp(vm.Link, gateway.Link, 546, 547, string(forward))
	behind := func(header byte) []byte {
		return l.out(gateway.MAC, l.ip(vm.Link, gateway.Link, header, join(optionsHeader(udp, 1), whole[40:])))
	}
	l.fromVM("DHCPv6 relay-forward behind an extension header", source, "dhcp-client", behind(hopByHop), behind(dstOptions))
	l.fromVM("DHCPv6 relay-forward in first and atomic fragments", "RFC 8200, 4.5; RFC 6946", "dhcp-client", piece(true, whole[:len(whole)&^7]), piece(true, whole[:48]), piece(false, whole))
	l.fromVM("first fragment of a DHCPv6 solicit", "RFC 8200, 4.5", "dhcp-client", piece(true, l.udp(vm.Link, gateway.Link, 546, 547, solicit6+"more")))
	l.fromVM("DHCPv6 of no type", source, "dhcp-client", l.out(gateway.MAC, l.udp(vm.Link, gateway.Link, 546, 547, "")))
}

// ofType is a DHCPv6 message with another type, its first byte.
func ofType(message []byte, kind byte) []byte {
	return append([]byte{kind}, message[1:]...)
}
