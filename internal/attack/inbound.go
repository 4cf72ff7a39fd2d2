package attack

import (
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// inbound is what denied hosts send to the VM.
func (l *list) inbound() {
	vm, victim := l.VM, l.Victim
	plain := l.udp(victim.IPv4, vm.IPv4, 53, 40000, "sixteen bytes ..")
	plain6 := l.udp(victim.Link, vm.Link, 53, 40000, "sixteen bytes ..")
	send := func(packet []byte) []byte { return ether(vm.MAC, victim.MAC, typeIPv4, packet) }
	wrap := func(next byte, payload ...[]byte) []byte {
		return l.in(victim.MAC, l.ip(victim.Link, vm.Link, next, join(payload...)))
	}
	l.toVM("TCP of a denied host", "RFC 9293", "denied-ipv4", l.in(victim.MAC, l.tcp(victim.IPv4, vm.IPv4, 40000, 22, false)))
	l.toVM("UDP of a denied host", "RFC 768", "denied-ipv4", send(plain))
	l.toVM("ping of a denied host", "RFC 792", "denied-ipv4", l.in(victim.MAC, l.icmp(victim.IPv4, vm.IPv4, 8, make([]byte, 8))))
	l.toVM("ICMP redirect of a denied host", "RFC 792", "denied-ipv4", l.in(victim.MAC, l.icmp(victim.IPv4, vm.IPv4, 5, join(victim.IPv4.AsSlice(), plain[:28]))))
	l.toVM("a denied host by way of the gateway", "RFC 1812", "denied-ipv4", l.in(l.Gateway.MAC, l.udp(victim.IPv4, vm.IPv4, 53, 40000, "by the gateway")))
	l.toVM("options of a denied host", "RFC 7126", "denied-ipv4", send(withOptions(plain, 1, 1, 1, 0)), send(withOptions(plain, route(131, vm.IPv4)...)))
	l.toVM("fragments of a denied host", "RFC 1858", "denied-ipv4", send(fragment(plain, 0, true)), send(fragment(plain, 8, false)))
	l.toVM("malformed IPv4 of a denied host", "RFC 791, 3.1", "denied-ipv4", send(changed(plain, 0, 0x65)), send(changed(plain, 0, 0x44)), send(changed(plain, 2, 0xff, 0xff)))
	l.toVM("UDP of a denied host, link-local and global", "RFC 4291", "denied-ipv6", l.in(victim.MAC, plain6), l.in(victim.MAC, l.udp(victim.IPv6, vm.IPv6, 53, 40000, "global")))
	l.toVM("ping of a denied host over IPv6", "RFC 4443", "denied-ipv6", l.in(victim.MAC, l.icmp(victim.Link, vm.Link, 128, make([]byte, 8))))
	l.toVM("extension headers and fragments of a denied host", "RFC 8200, 4", "denied-ipv6",
		wrap(hopByHop, optionsHeader(udp, 1), plain6[40:]), wrap(routing, changed(routingHeader(udp, 0, vm.Link), 3, 0), plain6[40:]),
		wrap(fragmented, fragmentHeader(udp, 0, true), plain6[40:]), wrap(fragmented, fragmentHeader(udp, 8, false), plain6[48:]))
	l.toVM("broadcast of a denied host", "RFC 919", "denied-ipv4",
		ether(allHosts, victim.MAC, typeIPv4, l.udp(victim.IPv4, broadcast4, 9, 9, "limited")), ether(allHosts, victim.MAC, typeIPv4, l.udp(victim.IPv4, last(l.LAN), 137, 137, "directed")))
	l.toVM("IPv4 multicast of a denied host", "RFC 6762", "denied-ipv4",
		ether(groupMAC(netip.MustParseAddr("224.0.0.251")), victim.MAC, typeIPv4, l.udp(victim.IPv4, netip.MustParseAddr("224.0.0.251"), 5353, 5353, "mdns")))
	l.toVM("IPv6 multicast of a denied host", "RFC 6762", "denied-ipv6", ether(groupMAC(netip.MustParseAddr("ff02::fb")), victim.MAC, typeIPv6, l.udp(victim.Link, netip.MustParseAddr("ff02::fb"), 5353, 5353, "mdns")))
	l.toVM("DHCP offer of a denied host", "RFC 7610", "denied-ipv4", l.in(victim.MAC, l.udp(victim.IPv4, vm.IPv4, 67, 68, "offer")), ether(allHosts, victim.MAC, typeIPv4, l.udp(victim.IPv4, broadcast4, 67, 68, "offer")))
	l.toVM("DHCPv6 advertise of a denied host", "RFC 7610", "denied-ipv6", l.in(victim.MAC, l.udp(victim.Link, vm.Link, 547, 546, advertise6)))
	for _, from := range []struct{ name, address, source, reason string }{
		{"this network", "0.0.0.0", "RFC 1122, 3.2.1.3", "denied-ipv4"}, {"loopback", "127.0.0.1", "RFC 1122, 3.2.1.3", "denied-ipv4"},
		{"link-local", "169.254.7.7", "RFC 3927", "denied-ipv4"}, {"a group", "224.0.0.1", "RFC 1112, 7.2", "denied-ipv4"}, {"broadcast", "255.255.255.255", "RFC 1122, 3.2.1.3", "denied-ipv4"},
	} {
		l.toVM("from "+from.name, from.source, from.reason, l.in(victim.MAC, l.udp(netip.MustParseAddr(from.address), vm.IPv4, 53, 40000, from.name)))
	}
	for _, from := range []struct{ name, address string }{{"the unspecified address", "::"}, {"loopback", "::1"}, {"a unique local address", "fd00::77"}, {"a group", "ff02::77"}} {
		l.toVM("from "+from.name, "RFC 4291, 2", "denied-ipv6", l.in(victim.MAC, l.udp(netip.MustParseAddr(from.address), vm.Link, 53, 40000, from.name)))
	}
	l.toVM("IP in IP of a denied host", "RFC 2003", "tunnel", send(l.ip(victim.IPv4, vm.IPv4, ipip, plain)), send(l.ip(victim.IPv4, vm.IPv4, gre, join([]byte{0, 0, 8, 0}, plain))), wrap(ipip, plain))
	l.toVM("IP in IP by way of an internet host", "RFC 2003; CVE-2020-10136", "tunnel", l.in(l.Gateway.MAC, l.ip(l.Web.IPv4, vm.IPv4, ipip, plain)), l.in(l.Gateway.MAC, l.ip(l.Web.IPv6, vm.IPv6, ipip, plain)))
	l.misquoted()
}

// misquoted are ICMP errors of denied hosts about traffic that is not the VM's with
// the internet.
func (l *list) misquoted() {
	vm, victim, web := l.VM, l.Victim, l.Web
	tell4 := func(kind byte, about []byte) []byte { return l.icmp(victim.IPv4, vm.IPv4, kind, quote(576, about)) }
	tell6 := func(kind byte, about []byte) []byte { return l.icmp(victim.IPv6, vm.IPv6, kind, quote(1280, about)) }
	about4, about6 := l.udp(vm.IPv4, web.IPv4, 40000, 443, "quoted"), l.udp(vm.IPv6, web.IPv6, 40000, 443, "quoted")
	send := func(packets ...[]byte) (frames [][]byte) {
		for _, p := range packets {
			frames = append(frames, l.in(victim.MAC, p))
		}
		return frames
	}
	const source, source6 = "RFC 5927", "RFC 4890, 4.3"
	l.toVM("ICMP error about a denied host", source, "denied-ipv4", send(tell4(3, l.udp(vm.IPv4, victim.IPv4, 40000, 53, "quoted")),
		tell4(11, l.udp(vm.IPv4, l.Gateway.IPv4, 40000, 53, "quoted")), tell4(12, l.udp(vm.IPv4, broadcast4, 40000, 53, "quoted")))...)
	l.toVM("ICMP error that quotes nothing, too little, or no IPv4", source, "denied-ipv4", send(tell4(3, nil), tell4(3, about4[:19]), tell4(3, about6))...)
	l.toVM("ICMP messages of a denied host that are no errors, with a quotation", source, "denied-ipv4",
		send(tell4(0, about4), tell4(4, about4), tell4(5, about4), tell4(8, about4), tell4(9, about4), tell4(13, about4))...)
	whole := tell4(3, about4)
	l.toVM("ICMP error in a later fragment", "RFC 1858", "denied-ipv4", send(fragment(whole, 8, false), fragment(whole, 8, true))...)
	l.toVM("ICMPv6 error about a denied host", source6, "denied-ipv6", send(tell6(2, l.udp(vm.IPv6, victim.IPv6, 40000, 53, "quoted")),
		tell6(1, l.udp(vm.Link, victim.Link, 40000, 53, "quoted")), tell6(3, l.udp(vm.IPv6, netip.MustParseAddr("fd00::77"), 40000, 53, "quoted")))...)
	l.toVM("ICMPv6 error that quotes nothing, too little, or no IPv6", source6, "denied-ipv6", send(tell6(2, nil), tell6(2, about6[:38]), tell6(2, about4))...)
	l.toVM("ICMPv6 messages of a denied host that are no errors, with a quotation", source6, "denied-ipv6", send(tell6(0, about6), tell6(5, about6), tell6(127, about6), tell6(128, about6), tell6(129, about6), tell6(139, about6))...)
	error6 := tell6(2, about6)
	wrap := func(next byte, headers ...[]byte) []byte {
		return l.ip(victim.IPv6, vm.IPv6, next, join(append(headers, error6[40:])...))
	}
	l.toVM("ICMPv6 error behind an extension header, or in fragments", "RFC 7112", "denied-ipv6",
		send(wrap(hopByHop, optionsHeader(icmp6, 1)), wrap(dstOptions, optionsHeader(icmp6, 1)), wrap(fragmented, fragmentHeader(icmp6, 0, true)), wrap(fragmented, fragmentHeader(icmp6, 8, false)))...)
}

// misdelivered are frames of allowed hosts and of the internet to a denied one: switches
// deliver them to the VM once it has sent from that one's MAC address.
func (l *list) misdelivered() {
	const source = "IEEE 802.1D, 7.8"
	victim, gateway, web := l.Victim, l.Gateway, l.Web
	to := func(packet []byte) []byte { return ether(victim.MAC, gateway.MAC, kindOf(packet), packet) }
	l.toVM("TCP from the internet to a denied host", source, "other-host", to(l.tcp(web.IPv4, victim.IPv4, 443, 40000, true)), to(l.tcp(web.IPv6, victim.IPv6, 443, 40000, true)))
	l.toVM("UDP from the internet to a denied host", source, "other-host", to(l.udp(web.IPv4, victim.IPv4, 443, 40000, "not yours")), to(l.udp(web.IPv6, victim.IPv6, 443, 40000, "not yours")))
	l.toVM("UDP from the gateway to a denied host", source, "other-host", to(l.udp(gateway.IPv4, victim.IPv4, 53, 40000, "not yours")), to(l.udp(gateway.Link, victim.Link, 53, 40000, "not yours")))
	l.toVM("datagram for the VM in a denied host's frame", source, "other-host", to(l.udp(web.IPv4, l.VM.IPv4, 443, 40000, "for the VM")), to(l.udp(web.IPv6, l.VM.IPv6, 443, 40000, "for the VM")))
	l.toVM("fragments from the internet to a denied host", source, "other-host", to(fragment(l.udp(web.IPv4, victim.IPv4, 443, 40000, "sixteen bytes .."), 8, false)))
	l.toVM("ARP reply of the gateway to a denied host", source, "other-host", to(l.reply(gateway, gateway.IPv4, victim)))
	l.toVM("neighbour advertisement of the gateway to a denied host", source, "other-host", to(l.advertisement(gateway.Link, victim.Link, gateway.Link, isSolicited|overrides, gateway.MAC)))
	l.toVM("DHCP acknowledgement to a denied host", source, "other-host", to(l.udp(gateway.IPv4, victim.IPv4, 67, 68, l.answer(layers.DHCPMsgTypeAck, gateway, victim, victim.IPv4))))
}
