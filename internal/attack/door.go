package attack

import (
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// doors are a denied host's other addresses, as that of a bridge for containers, or of a
// VPN: Linux takes a datagram for any address that it has on any NIC, and answers ARP for
// any of them there (the weak host model, RFC 1122, 3.3.4.2).
func (l *list) doors() {
	const weak = "RFC 1122, 3.3.4.2"
	vm, victim, web := l.VM, l.Victim, l.Web
	own := macOption(sourceMAC, vm.MAC)
	for _, door := range []struct{ name, address string }{
		{"a public", web.IPv4.String()}, {"a container bridge's", "172.17.0.1"}, {"a VPN's", "10.8.0.1"}, {"a carrier's", "100.100.1.1"},
	} {
		to := netip.MustParseAddr(door.address)
		l.fromVM("ARP for "+door.name+" address of a denied host", weak, "arp-target", l.out(allHosts, l.request(vm, vm.IPv4, to)),
			l.out(victim.MAC, l.request(vm, vm.IPv4, to)), l.out(allHosts, l.request(vm, none4, to)))
	}
	l.fromVM("ARP reply to a public address of a denied host", weak, "arp-target", l.out(victim.MAC, l.arpPacket(layers.ARPReply, vm.MAC, vm.IPv4, victim.MAC, web.IPv4)))
	group := solicited(web.IPv6)
	l.fromVM("neighbour solicitation for a public address of a denied host", weak, "nd", l.out(groupMAC(group), l.solicitation(vm.Link, group, web.IPv6, own)),
		l.out(groupMAC(allNodes), l.solicitation(vm.Link, allNodes, web.IPv6, own)))
	l.fromVM("probe for a public address of a denied host", weak, "nd", l.out(groupMAC(group), l.solicitation(none6, group, web.IPv6)))
	l.fromVM("neighbour solicitation to a public address of a denied host", weak, "next-hop", l.out(victim.MAC, l.solicitation(vm.Link, web.IPv6, web.IPv6, own)))
	// It rewrites the host's neighbour table.
	l.fromVM("neighbour advertisement to a public address of a denied host, in its frame", "RFC 4861, 7.2.5", "next-hop",
		l.out(victim.MAC, l.advertisement(vm.Link, web.IPv6, vm.Link, isSolicited|overrides, vm.MAC)))
	l.fromVM("neighbour advertisement to a public address of a denied host", "RFC 4861, 7.2.5", "nd",
		l.out(groupMAC(allNodes), l.advertisement(vm.Link, web.IPv6, vm.Link, overrides, vm.MAC)), l.out(allHosts, l.advertisement(vm.Link, web.IPv6, vm.Link, overrides, vm.MAC)))

	for _, kind := range []struct {
		name   string
		packet []byte
	}{
		{"TCP", l.tcp(vm.IPv4, web.IPv4, 40000, 22, false)},
		{"UDP", l.udp(vm.IPv4, web.IPv4, 40000, 53, "another door")},
		{"ping", l.icmp(vm.IPv4, web.IPv4, 8, make([]byte, 8))},
		{"IPsec", l.ip(vm.IPv4, web.IPv4, 50, make([]byte, 64))},
		{"SCTP", l.ip(vm.IPv4, web.IPv4, sctp, l.chunk(40000, 5000, sctpInit))},
		{"first fragment", fragment(l.udp(vm.IPv4, web.IPv4, 40000, 53, "sixteen bytes .."), 0, true)},
		{"later fragment", fragment(l.udp(vm.IPv4, web.IPv4, 40000, 53, "sixteen bytes .."), 8, false)},
		{"TCP over IPv6", l.tcp(vm.IPv6, web.IPv6, 40000, 22, false)},
		{"UDP over IPv6", l.udp(vm.IPv6, web.IPv6, 40000, 53, "another door")},
		{"ping over IPv6", l.icmp(vm.IPv6, web.IPv6, 128, make([]byte, 8))},
		{"UDP behind IPv6 options", l.ip(vm.IPv6, web.IPv6, dstOptions, join(optionsHeader(udp, 1), l.udp(vm.IPv6, web.IPv6, 40000, 53, "another door")[40:]))},
		{"IPv6 fragment", l.ip(vm.IPv6, web.IPv6, fragmented, join(fragmentHeader(udp, 8, false), []byte("sixteen bytes ..")))},
		{"NAT64", l.udp(vm.IPv6, netip.MustParseAddr("64:ff9b::c000:201"), 40000, 53, "another door")},
	} {
		l.fromVM(kind.name+" to an internet address in a denied host's frame", weak, "next-hop", l.out(victim.MAC, kind.packet))
	}
	l.fromVM("TCP to an internet address in a stranger's frame", weak, "next-hop", l.out([]byte{2, 0, 0, 0, 2, 0x99}, l.tcp(vm.IPv4, web.IPv4, 40000, 22, false)))
}

// private are addresses of other networks of the same owner: a second VLAN, a VPN,
// another site behind the router.
func (l *list) private() {
	vm, gateway := l.VM, l.Gateway
	for _, to := range []struct{ address, source string }{
		{"10.0.0.0", "RFC 1918"}, {"10.1.1.1", "RFC 1918"}, {"10.255.255.255", "RFC 1918"}, {"172.16.0.0", "RFC 1918"}, {"172.31.255.255", "RFC 1918"}, {"100.64.0.0", "RFC 6598"}, {"100.127.255.255", "RFC 6598"},
	} {
		far := netip.MustParseAddr(to.address)
		l.fromVM("to "+to.address+" by the gateway", to.source, "denied-ipv4", l.out(gateway.MAC, l.udp(vm.IPv4, far, 40000, 53, to.address)),
			l.out(gateway.MAC, l.tcp(vm.IPv4, far, 40000, 22, false)), l.out(gateway.MAC, l.icmp(vm.IPv4, far, 8, make([]byte, 8))))
		l.toVM("from "+to.address+" by the gateway", to.source, "denied-ipv4", l.in(gateway.MAC, l.udp(far, vm.IPv4, 53, 40000, to.address)))
	}
	l.fromVM("to a unique local address by the gateway", "RFC 4193", "denied-ipv6", l.out(gateway.MAC, l.udp(vm.IPv6, netip.MustParseAddr("fd12:3456::1"), 40000, 53, "unique local")))
	for _, form := range []struct{ name, address string }{
		{"10.1.1.1 as NAT64", "64:ff9b::a01:101"}, {"172.16.1.1 as NAT64", "64:ff9b::ac10:101"}, {"100.64.1.1 as NAT64", "64:ff9b::6440:101"}, {"10.1.1.1 as 6to4", "2002:a01:101::1"}, {"100.64.1.1 as 6to4", "2002:6440:101::1"},
	} {
		l.fromVM("to "+form.name, "RFC 3964; RFC 6052, 3.1", "tunnel", l.out(gateway.MAC, l.udp(vm.IPv6, netip.MustParseAddr(form.address), 40000, 53, form.name)))
	}
}

// sideDoors are messages for a group of routers, servers or switches in a frame for one
// denied host, or for all.
func (l *list) sideDoors() {
	vm, victim, gateway := l.VM, l.Victim, l.Gateway
	own := macOption(sourceMAC, vm.MAC)
	agents := netip.MustParseAddr("ff02::1:2")
	ask := l.discovery(vm.Link, allRouters, routerSolicitation, make([]byte, 4), own)
	l.fromVM("router solicitation in a denied host's frame", "RFC 4861, 6.3.7", "nd", l.out(victim.MAC, ask))
	l.fromVM("router solicitation in a frame for all", "RFC 4861, 6.3.7", "nd", l.out(allHosts, ask), l.out(groupMAC(allNodes), ask))
	l.fromVM("router solicitation to an internet address in a denied host's frame", "RFC 4861, 6.1.1", "next-hop", l.out(victim.MAC, l.discovery(vm.Link, l.Web.IPv6, routerSolicitation, make([]byte, 4), own)))
	l.fromVM("DHCPv6 solicit in a denied host's frame", "RFC 8415, 18.2.1", "multicast", l.out(victim.MAC, l.udp(vm.Link, agents, 546, 547, solicit6)))
	l.fromVM("DHCPv6 solicit in a frame for all", "RFC 8415, 18.2.1", "multicast", l.out(allHosts, l.udp(vm.Link, agents, 546, 547, solicit6)), l.out(groupMAC(allNodes), l.udp(vm.Link, agents, 546, 547, solicit6)))
	l.fromVM("DHCP discover in a denied host's frame", "RFC 2131, 4.1", "spoofed-ip", l.out(victim.MAC, l.udp(none4, broadcast4, 68, 67, l.ask(layers.DHCPMsgTypeDiscover, none4))))
	group := solicited(gateway.Link)
	l.fromVM("solicitation for the gateway in a denied host's frame", "RFC 4861, 7.2.2", "nd", l.out(victim.MAC, l.solicitation(vm.Link, group, gateway.Link, own)))
	l.fromVM("solicitation for the gateway in a frame for all", "RFC 4861, 7.2.2", "nd", l.out(allHosts, l.solicitation(vm.Link, group, gateway.Link, own)), l.out(groupMAC(allNodes), l.solicitation(vm.Link, group, gateway.Link, own)))
	l.fromVM("probe for its own address in a denied host's frame", "RFC 4862, 5.4", "nd", l.out(victim.MAC, l.solicitation(none6, solicited(vm.Link), vm.Link)))
	l.fromVM("neighbour advertisement to the gateway in a frame for all", "RFC 4861, 7.2.4", "nd", l.out(allHosts, l.advertisement(vm.Link, gateway.Link, vm.Link, isSolicited, vm.MAC)),
		l.out(groupMAC(allNodes), l.advertisement(vm.Link, gateway.Link, vm.Link, isSolicited, vm.MAC)))
}
