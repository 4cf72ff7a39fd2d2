package attack

import (
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// leases is how the VM gets its addresses.
func (l *list) leases() {
	vm, gateway := l.VM, l.Gateway
	const source = "RFC 2131, 4.4"
	l.fromVM("DHCP discover", source, "", l.out(allHosts, l.udp(none4, broadcast4, 68, 67, l.ask(layers.DHCPMsgTypeDiscover, none4))))
	l.fromVM("DHCP request, broadcast", source, "", l.out(allHosts, l.udp(none4, broadcast4, 68, 67, l.ask(layers.DHCPMsgTypeRequest, none4))))
	l.fromVM("DHCP renewal, unicast", source, "", l.out(gateway.MAC, l.udp(vm.IPv4, gateway.IPv4, 68, 67, l.ask(layers.DHCPMsgTypeRequest, vm.IPv4))))
	l.fromVM("DHCP rebinding, broadcast", source, "", l.out(allHosts, l.udp(vm.IPv4, broadcast4, 68, 67, l.ask(layers.DHCPMsgTypeRequest, vm.IPv4))))
	l.toVM("DHCP offer, unicast and broadcast", source, "", l.in(gateway.MAC, l.udp(gateway.IPv4, vm.IPv4, 67, 68, l.answer(layers.DHCPMsgTypeOffer, gateway, vm, vm.IPv4))),
		ether(allHosts, gateway.MAC, typeIPv4, l.udp(gateway.IPv4, broadcast4, 67, 68, l.answer(layers.DHCPMsgTypeOffer, gateway, vm, vm.IPv4))))
	l.toVM("DHCP acknowledgement, unicast and broadcast", source, "", l.in(gateway.MAC, l.udp(gateway.IPv4, vm.IPv4, 67, 68, l.answer(layers.DHCPMsgTypeAck, gateway, vm, vm.IPv4))),
		ether(allHosts, gateway.MAC, typeIPv4, l.udp(gateway.IPv4, broadcast4, 67, 68, l.answer(layers.DHCPMsgTypeAck, gateway, vm, vm.IPv4))))
	agents := netip.MustParseAddr("ff02::1:2")
	l.fromVM("DHCPv6 solicit", "RFC 8415, 18.2.1", "", l.out(groupMAC(agents), l.udp(vm.Link, agents, 546, 547, solicit6)))
	for _, m := range []struct {
		name string
		kind byte
	}{{"request", 3}, {"confirm", 4}, {"renew", 5}, {"rebind", 6}, {"release", 8}, {"decline", 9}, {"information-request", 11}} {
		l.fromVM("DHCPv6 "+m.name, "RFC 8415, 18.2", "", l.out(groupMAC(agents), l.udp(vm.Link, agents, 546, 547, string(ofType([]byte(solicit6), m.kind)))))
	}
	l.toVM("DHCPv6 advertise", "RFC 8415, 18.3.9", "", l.in(gateway.MAC, l.udp(gateway.Link, vm.Link, 547, 546, advertise6)))
	l.toVM("DHCPv6 reply", "RFC 8415, 18.3.10", "", l.in(gateway.MAC, l.udp(gateway.Link, vm.Link, 547, 546, reply6)))
	for _, a := range []struct {
		name string
		ip   netip.Addr
	}{{"link-local", vm.Link}, {"global", vm.IPv6}} {
		group := solicited(a.ip)
		l.fromVM("probe for its own address, "+a.name, "RFC 4862, 5.4", "", l.out(groupMAC(group), l.solicitation(none6, group, a.ip)))
		l.fromVM("probe for its own address with a nonce, "+a.name, "RFC 7527", "", l.out(groupMAC(group), l.solicitation(none6, group, a.ip, []byte{14, 1, 1, 2, 3, 4, 5, 6})))
	}
}

// resolution is how it finds its router, and its router it.
func (l *list) resolution() {
	vm, gateway := l.VM, l.Gateway
	own, theirs := macOption(sourceMAC, vm.MAC), macOption(sourceMAC, gateway.MAC)
	for _, to := range []struct {
		name string
		Host
	}{{"the gateway", gateway}, {"the name server", l.DNS}} {
		l.fromVM("ARP request for "+to.name, "RFC 826", "", l.out(allHosts, l.request(vm, vm.IPv4, to.IPv4)), l.out(to.MAC, l.request(vm, vm.IPv4, to.IPv4)))
		l.fromVM("ARP reply to "+to.name, "RFC 826", "", l.out(to.MAC, l.reply(vm, vm.IPv4, to.Host)))
		l.toVM("ARP request of "+to.name, "RFC 826", "", ether(allHosts, to.MAC, typeARP, l.request(to.Host, to.IPv4, vm.IPv4)), l.in(to.MAC, l.request(to.Host, to.IPv4, vm.IPv4)))
		l.toVM("ARP reply of "+to.name, "RFC 826", "", l.in(to.MAC, l.reply(to.Host, to.IPv4, vm)))
	}
	l.fromVM("router solicitation", "RFC 4861, 6.3.7", "", l.out(groupMAC(allRouters), l.discovery(vm.Link, allRouters, routerSolicitation, make([]byte, 4), own)),
		l.out(groupMAC(allRouters), l.discovery(none6, allRouters, routerSolicitation, make([]byte, 4))))
	l.toVM("router advertisement of the gateway", "RFC 4861, 6.2", "", ether(groupMAC(allNodes), gateway.MAC, typeIPv6, l.advert(gateway.Link, allNodes)), l.in(gateway.MAC, l.advert(gateway.Link, vm.Link)))
	group := solicited(gateway.Link)
	l.fromVM("neighbour solicitation for the gateway", "RFC 4861, 7.2.2", "", l.out(groupMAC(group), l.solicitation(vm.Link, group, gateway.Link, own)),
		l.out(gateway.MAC, l.solicitation(vm.Link, gateway.Link, gateway.Link, own)), l.out(gateway.MAC, l.solicitation(vm.IPv6, gateway.Link, gateway.Link)))
	l.toVM("neighbour advertisement of the gateway", "RFC 4861, 7.2.4", "", l.in(gateway.MAC, l.advertisement(gateway.Link, vm.Link, gateway.Link, 0xe0, gateway.MAC)))
	for _, own := range []netip.Addr{vm.Link, vm.IPv6} {
		group := solicited(own)
		l.toVM("neighbour solicitation of the gateway for "+own.String(), "RFC 4861, 7.2.2", "", ether(groupMAC(group), gateway.MAC, typeIPv6, l.solicitation(gateway.Link, group, own, theirs)),
			l.in(gateway.MAC, l.solicitation(gateway.Link, own, own, theirs)))
		l.fromVM("neighbour advertisement to the gateway of "+own.String(), "RFC 4861, 7.2.4", "", l.out(gateway.MAC, l.advertisement(own, gateway.Link, own, isSolicited|overrides, vm.MAC)))
	}
	report := l.message(vm.Link, netip.MustParseAddr("ff02::16"), 143, join([]byte{0, 0, 0, 1, 4, 0, 0, 0}, solicited(vm.Link).AsSlice()))
	alert := []byte{icmp6, 0, 5, 2, 0, 0, 1, 0}
	for _, from := range []netip.Addr{vm.Link, none6} {
		to := netip.MustParseAddr("ff02::16")
		l.fromVM("MLDv2 report with router alert, from "+from.String(), "RFC 3810, 5.2", "", l.out(groupMAC(to), l.hops(from, to, hopByHop, 1, join(alert, report))))
	}
}

// internet is what it is all for.
func (l *list) internet() {
	vm, web, dns := l.VM, l.Web, l.DNS
	l.fromVM("DNS query", "RFC 1035", "", l.out(dns.MAC, l.udp(vm.IPv4, dns.IPv4, 40000, 53, "query")), l.out(dns.MAC, l.tcp(vm.IPv4, dns.IPv4, 40000, 53, false)))
	l.toVM("DNS answer", "RFC 1035", "", l.in(dns.MAC, l.udp(dns.IPv4, vm.IPv4, 53, 40000, "answer")), l.in(dns.MAC, l.tcp(dns.IPv4, vm.IPv4, 53, 40000, true)))
	full := string(make([]byte, 1400))
	for _, f := range []struct {
		name      string
		near, far netip.Addr
		ask, tell byte // echo request and reply
		tooBig    byte
	}{{"IPv4", vm.IPv4, web.IPv4, 8, 0, 3}, {"IPv6", vm.IPv6, web.IPv6, 128, 129, 2}} {
		l.fromVM("TCP to the internet, "+f.name, "RFC 9293", "", l.out(web.MAC, l.tcp(f.near, f.far, 40000, 443, false)))
		l.toVM("TCP from the internet, "+f.name, "RFC 9293", "", l.in(web.MAC, l.tcp(f.far, f.near, 443, 40000, true)))
		l.fromVM("UDP to the internet, "+f.name, "RFC 768", "", l.out(web.MAC, l.udp(f.near, f.far, 40000, 443, full)))
		l.toVM("UDP from the internet, "+f.name, "RFC 768", "", l.in(web.MAC, l.udp(f.far, f.near, 443, 40000, full)))
		l.fromVM("ping of the internet, "+f.name, "RFC 792; RFC 4443", "", l.out(web.MAC, l.icmp(f.near, f.far, f.ask, make([]byte, 8))))
		l.toVM("answer to a ping, "+f.name, "RFC 792; RFC 4443", "", l.in(web.MAC, l.icmp(f.far, f.near, f.tell, make([]byte, 8))))
		l.fromVM("IPsec, "+f.name, "RFC 4303", "", l.out(web.MAC, l.ip(f.near, f.far, 50, make([]byte, 64))))
		l.toVM("packet too big, from the internet, "+f.name, "RFC 1191; RFC 8201", "", l.in(web.MAC, l.icmp(f.far, f.near, f.tooBig, make([]byte, 40))))
		l.fromVM("large fragments to the internet, "+f.name, "RFC 791; RFC 8200, 4.5", "", l.large(f.near, f.far, 40000, 443, func(p []byte) []byte { return l.out(web.MAC, p) })...)
		l.toVM("large fragments from the internet, "+f.name, "RFC 791; RFC 8200, 4.5", "", l.large(f.far, f.near, 443, 40000, func(p []byte) []byte { return l.in(web.MAC, p) })...)
	}
	l.toVM("packet too big, from the gateway", "RFC 1191", "", l.in(l.Gateway.MAC, l.icmp(l.Gateway.IPv4, vm.IPv4, 3, make([]byte, 32))))
	l.toVM("packet too big, from the gateway, IPv6", "RFC 8201", "", l.in(l.Gateway.MAC, l.icmp(l.Gateway.Link, vm.IPv6, 2, make([]byte, 40))))
	l.quotes()
	l.fromVM("NAT64 of an internet host", "RFC 6052", "", l.out(web.MAC, l.udp(vm.IPv6, netip.MustParseAddr("64:ff9b::c000:201"), 40000, 443, "nat64")), l.out(web.MAC, l.icmp(vm.IPv6, netip.MustParseAddr("64:ff9b::c000:201"), 128, make([]byte, 8))))
	l.toVM("NAT64 from an internet host", "RFC 6052", "", l.in(web.MAC, l.udp(netip.MustParseAddr("64:ff9b::c000:201"), vm.IPv6, 443, 40000, "nat64")))
	l.fromVM("UDP to the gateway, link-local", "RFC 4291", "", l.out(l.Gateway.MAC, l.udp(vm.Link, l.Gateway.Link, 40000, 53, "query")))
	l.fromVM("ping of the gateway", "RFC 792; RFC 4443", "", l.out(l.Gateway.MAC, l.icmp(vm.IPv4, l.Gateway.IPv4, 8, make([]byte, 8))), l.out(l.Gateway.MAC, l.icmp(vm.Link, l.Gateway.Link, 128, make([]byte, 8))))
	l.toVM("ping from the gateway", "RFC 792; RFC 4443", "", l.in(l.Gateway.MAC, l.icmp(l.Gateway.IPv4, vm.IPv4, 8, make([]byte, 8))), l.in(l.Gateway.MAC, l.icmp(l.Gateway.Link, vm.Link, 128, make([]byte, 8))))
}

// quotes are errors about the VM's traffic with the internet, from routers by their
// own addresses, which are the LAN's, or a provider's that are denied.
func (l *list) quotes() {
	vm, web := l.VM, l.Web
	behind := netip.MustParseAddr("192.168.1.1") // a second router that translates addresses
	sent4, sent6 := l.tcp(vm.IPv4, web.IPv4, 40000, 443, false), l.udp(vm.IPv6, web.IPv6, 40000, 443, string(make([]byte, 1100)))
	tell := func(from netip.Addr, kind byte, about []byte) []byte {
		to := vm.IPv4
		if from.Is6() {
			to = vm.IPv6
		}
		return l.in(l.Gateway.MAC, l.icmp(from, to, kind, quote(1400, about)))
	}
	l.toVM("packet too big, from the gateway's global IPv6 address", "RFC 8201; RFC 4890, 4.3.1", "", tell(l.Gateway.IPv6, 2, sent6))
	l.toVM("unreachable, time exceeded, parameter problem, from the gateway's global IPv6 address", "RFC 4890, 4.3.1", "",
		tell(l.Gateway.IPv6, 1, sent6), tell(l.Gateway.IPv6, 3, sent6), tell(l.Gateway.IPv6, 4, sent6))
	l.toVM("packet too big, from the router behind the gateway", "RFC 1191", "", tell(behind, 3, sent4))
	l.toVM("time exceeded, parameter problem, from the router behind the gateway", "RFC 792", "", tell(behind, 11, sent4), tell(behind, 12, sent4))
}

// firstFragment is how much of an IP packet a first fragment carries, in bytes.
const firstFragment = 1400

// large is a datagram in two fragments, and one of ICMP.
func (l *list) large(src, dst netip.Addr, from, to uint16, send func([]byte) []byte) [][]byte {
	const first = firstFragment
	var out [][]byte
	for _, whole := range [][]byte{l.udp(src, dst, from, to, string(make([]byte, 2000))), l.icmp(src, dst, 129, make([]byte, 2000))} {
		if src.Is4() {
			head, tail := whole[:20+first], join(whole[:20], whole[20+first:])
			out = append(out, send(fragment(changed(head, 2, byte(len(head)>>8), byte(len(head)&0xff)), 0, true)), send(fragment(changed(tail, 2, byte(len(tail)>>8), byte(len(tail)&0xff)), first, false)))
			continue
		}
		out = append(out, send(l.ip(src, dst, fragmented, join(fragmentHeader(whole[6], 0, true), whole[40:40+first]))), send(l.ip(src, dst, fragmented, join(fragmentHeader(whole[6], first, false), whole[40+first:]))))
	}
	return out
}

// hearsay is what the VM must hear from denied hosts so that what it may do keeps
// working.
func (l *list) hearsay() {
	vm, victim := l.VM, l.Victim
	query := func(packet []byte, to netip.Addr) []byte {
		return ether(groupMAC(to), victim.MAC, kindOf(packet), packet)
	}
	alert6 := []byte{icmp6, 0, 5, 2, 0, 0, 1, 0}
	// Without its answer a snooping switch delivers no neighbour discovery any more.
	mld := func(to netip.Addr, body ...[]byte) []byte {
		return query(l.hops(victim.Link, to, hopByHop, 1, join(alert6, l.message(victim.Link, to, 130, join(body...)))), to)
	}
	own := solicited(vm.Link)
	l.toVM("MLD queries of a switch, MLDv2 and MLDv1, general and of a group", "RFC 3810, 5.1; RFC 4541", "",
		mld(allNodes, []byte{0x27, 0x10, 0, 0}, make([]byte, 16), []byte{2, 125, 0, 0}), mld(allNodes, []byte{0x27, 0x10, 0, 0}, make([]byte, 16)),
		mld(own, []byte{3, 0xe8, 0, 0}, own.AsSlice(), []byte{2, 125, 0, 0}), mld(own, []byte{3, 0xe8, 0, 0}, own.AsSlice()))
	all := netip.MustParseAddr("224.0.0.1")
	igmpQuery := func(from netip.Addr, options []byte, body ...byte) []byte {
		p := append([]byte{0x11, 100, 0, 0, 0, 0, 0, 0}, body...)
		p[2], p[3] = byte(checksum(p)>>8), byte(checksum(p))
		return query(withOptions(changed(l.ip(from, all, igmp, p), 8, 1), options...), all)
	}
	alert4 := []byte{148, 4, 0, 0}
	l.toVM("IGMP queries of a switch", "RFC 3376, 4.1; RFC 4541, 2.1.1", "", igmpQuery(victim.IPv4, alert4), igmpQuery(victim.IPv4, alert4, 2, 125, 0, 0), igmpQuery(none4, alert4), igmpQuery(none4, alert4, 2, 125, 0, 0), igmpQuery(victim.IPv4, nil))
	// Who has an address of the VM's, or wants it, says so.
	l.toVM("probe for the VM's own link-local address", "RFC 4862, 5.4", "", query(l.solicitation(none6, own, vm.Link), own))
	l.toVM("advertisement of the VM's own link-local address: it is in use", "RFC 4862, 5.4.4", "", query(l.advertisement(vm.Link, allNodes, vm.Link, overrides, victim.MAC), allNodes), query(l.advertisement(victim.Link, allNodes, vm.Link, overrides, victim.MAC), allNodes))
	// The gateway may ask by its global address, which is denied.
	gateway := l.Gateway
	theirs := macOption(sourceMAC, gateway.MAC)
	l.toVM("neighbour solicitation of the gateway's global address", "RFC 4861, 7.2.2", "", l.in(gateway.MAC, l.solicitation(gateway.IPv6, vm.IPv6, vm.IPv6, theirs)), ether(groupMAC(solicited(vm.IPv6)), gateway.MAC, typeIPv6, l.solicitation(gateway.IPv6, solicited(vm.IPv6), vm.IPv6, theirs)))
	l.fromVM("neighbour advertisement to the gateway's global address", "RFC 4861, 7.2.4", "", l.out(gateway.MAC, l.advertisement(vm.IPv6, gateway.IPv6, vm.IPv6, isSolicited|overrides, vm.MAC)))
	for _, about := range []struct{ name, address string }{{"NAT64", "64:ff9b::c000:201"}, {"6to4", "2002:c000:201::1"}} {
		sent := quote(1280, l.udp(vm.IPv6, netip.MustParseAddr(about.address), 40000, 443, string(make([]byte, 1100))))
		l.toVM("packet too big, unreachable, time exceeded about "+about.name, "RFC 8201; RFC 4890, 4.3.1", "", l.in(gateway.MAC, l.icmp(gateway.IPv6, vm.IPv6, 2, sent)), l.in(gateway.MAC, l.icmp(gateway.IPv6, vm.IPv6, 1, sent)),
			l.in(gateway.MAC, l.icmp(gateway.IPv6, vm.IPv6, 3, sent)))
	}
}

// announcements tell switches where the VM is now: QEMU's after a migration or restore,
// and a guest's own, of the address that it makes of its MAC address.
func (l *list) announcements() {
	vm := l.VM
	l.fromVM("QEMU's announcement after migration", "QEMU, net/announce.c; RFC 903", "", ether(allHosts, vm.MAC, typeRARP, l.arpPacket(3, vm.MAC, none4, vm.MAC, none4)))
	l.fromVM("neighbour advertisement of its own address to all nodes", "RFC 4861, 7.2.6", "", l.out(groupMAC(allNodes), l.advertisement(vm.Link, allNodes, vm.Link, overrides, vm.MAC)))
	l.fromVM("DHCP release, decline and inform of its own", "RFC 2131, 4.4", "", l.out(l.Gateway.MAC, l.udp(vm.IPv4, l.Gateway.IPv4, 68, 67, l.ask(layers.DHCPMsgTypeRelease, vm.IPv4))),
		l.out(allHosts, l.udp(none4, broadcast4, 68, 67, l.ask(layers.DHCPMsgTypeDecline, none4))), l.out(l.Gateway.MAC, l.udp(vm.IPv4, l.Gateway.IPv4, 68, 67, l.ask(layers.DHCPMsgTypeInform, vm.IPv4))))
}
