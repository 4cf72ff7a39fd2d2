package attack

import "net/netip"

func (l *list) ipv4() {
	vm, victim, gateway := l.VM, l.Victim, l.Gateway
	plain := l.udp(vm.IPv4, victim.IPv4, 40000, 53, "sixteen bytes ..")
	send := func(packet []byte) []byte { return ether(victim.MAC, vm.MAC, typeIPv4, packet) }
	l.fromVM("IPv4 header of another version", "RFC 791, 3.1", "malformed", send(changed(plain, 0, 0x65)), send(changed(plain, 0, 0x05)))
	l.fromVM("IPv4 header length too short", "RFC 791, 3.1", "malformed", send(changed(plain, 0, 0x40)), send(changed(plain, 0, 0x44)))
	l.fromVM("IPv4 header longer than the packet", "RFC 791, 3.1", "malformed", send(changed(plain, 0, 0x4f)))
	l.fromVM("IPv4 total length too short, and too long", "RFC 791, 3.1", "malformed", send(changed(plain, 2, 0, 0)), send(changed(plain, 2, 0, 19)), send(changed(plain, 2, 0xff, 0xff)))
	// Of what does not parse, no rule can tell what it carries, and some receivers
	// do not ask what its length should be.
	tunnel := l.ip(vm.IPv4, gateway.IPv4, ipip, plain)
	redirect := l.icmp(vm.IPv4, l.DNS.IPv4, 5, append(l.DNS.IPv4.AsSlice(), make([]byte, 28)...))
	for _, wrong := range []struct {
		name string
		at   int
		to   []byte
	}{{"too long a length", 2, []byte{0x0f, 0xff}}, {"too short a header", 0, []byte{0x44}}, {"no version", 0, []byte{0x05}}, {"IPv6's version", 0, []byte{0x65}}} {
		l.fromVM("packet with "+wrong.name+" that carries one to a denied host, by the gateway", "RFC 791, 3.1; RFC 2003", "malformed", ether(gateway.MAC, vm.MAC, typeIPv4, changed(tunnel, wrong.at, wrong.to...)))
		l.fromVM("packet with "+wrong.name+" that redirects an allowed host", "RFC 791, 3.1; RFC 792", "malformed", ether(l.DNS.MAC, vm.MAC, typeIPv4, changed(redirect, wrong.at, wrong.to...)))
	}
	l.fromVM("IPv4 options", "RFC 7126", "source-route", send(withOptions(plain, 1, 1, 1, 0)), send(withOptions(plain, 148, 4, 0, 0)))

	l.fromVM("first fragment to a denied host", "RFC 791, 3.2", "denied-ipv4", send(fragment(plain, 0, true)))
	l.fromVM("later fragments to a denied host", "RFC 1858", "denied-ipv4", send(fragment(plain, 8, true)), send(fragment(plain, 24, false)))
	l.fromVM("tiny and overlapping fragments to a denied host", "RFC 1858; RFC 3128", "denied-ipv4",
		send(fragment(changed(plain, 2, 0, 28), 0, true)[:28]), send(fragment(plain, 8, false)), send(fragment(plain, 0, true)))

	// A router that obeys puts the next address of the list in the destination's place.
	for _, via := range []struct {
		name string
		Host
	}{{"the gateway", gateway}, {"an internet host", l.Web}} {
		packet := l.udp(vm.IPv4, via.IPv4, 40000, 53, "by way of "+via.name)
		l.fromVM("loose source route to a denied host by "+via.name, "RFC 791, 3.1; RFC 6274, 3.13.2.3", "source-route", l.out(via.MAC, withOptions(packet, route(131, victim.IPv4)...)))
		l.fromVM("strict source route to a denied host by "+via.name, "RFC 791, 3.1; RFC 6274, 3.13.2.4", "source-route", l.out(via.MAC, withOptions(packet, route(137, victim.IPv4)...)))
	}

	l.fromVM("to 0.0.0.0 from 0.0.0.0: the broadcast of old", "RFC 1122, 3.2.1.3", "spoofed-ip", l.out(victim.MAC, l.udp(none4, none4, 40000, 53, "old broadcast")))
	for _, to := range []struct{ name, address, source, reason string }{
		{"this network", "0.1.2.3", "RFC 1122, 3.2.1.3", "next-hop"},
		{"loopback", "127.0.0.1", "CVE-2020-8558", "next-hop"},
		{"link-local", "169.254.7.7", "RFC 3927", "next-hop"},
		{"class E", "240.0.0.1", "RFC 1112, 4", "denied-ipv4"},
		{"the first address of the denied prefix", "192.168.0.0", "RFC 1918", "next-hop"},
		{"the last address of the denied prefix", "192.168.255.255", "RFC 1918", "next-hop"},
	} {
		l.fromVM("to "+to.name+" in a denied host's frame", to.source, to.reason, l.out(victim.MAC, l.udp(vm.IPv4, netip.MustParseAddr(to.address), 40000, 53, to.name)))
	}
	l.fromVM("ICMP redirect to an allowed host", "RFC 792; RFC 1812, 5.2.7.2", "redirect", l.out(l.DNS.MAC, l.icmp(vm.IPv4, l.DNS.IPv4, 5, join(vm.IPv4.AsSlice(), plain[:28]))))
	l.fromVM("ICMP router advertisement", "RFC 1256", "router-advertisement", l.out(groupMAC(netip.MustParseAddr("224.0.0.1")), l.icmp(vm.IPv4, netip.MustParseAddr("224.0.0.1"), 9, join([]byte{1, 2, 0, 60}, vm.IPv4.AsSlice(), make([]byte, 4)))))
}

// withOptions puts options, four bytes or a multiple, into an IPv4 packet.
func withOptions(packet []byte, options ...byte) []byte {
	p := join(packet[:20], options, packet[20:])
	p[0] += byte(len(options) / 4)
	return changed(p, 2, byte(len(p)>>8), byte(len(p)))
}

// route is a source route of one address, padded (RFC 791, 3.1).
func route(kind byte, to netip.Addr) []byte {
	return join([]byte{kind, 7, 4}, to.AsSlice(), []byte{0})
}

// groups are multicasts and broadcasts, and what hides in their frames.
func (l *list) groups() {
	vm, victim := l.VM, l.Victim
	for _, g := range []struct {
		name, group, source, reason string
		port                        uint16
	}{
		{"mDNS", "224.0.0.251", "RFC 6762", "multicast", 5353},
		{"mDNS over IPv6", "ff02::fb", "RFC 6762", "multicast", 5353},
		{"LLMNR", "224.0.0.252", "RFC 4795", "multicast", 5355},
		{"LLMNR over IPv6", "ff02::1:3", "RFC 4795", "multicast", 5355},
		{"SSDP", "239.255.255.250", "UPnP 1.1", "multicast", 1900},
		{"SSDP over IPv6", "ff02::c", "UPnP 1.1", "multicast", 1900},
		{"WS-Discovery", "239.255.255.250", "WS-Discovery 1.1", "multicast", 3702},
		{"all hosts", "224.0.0.1", "RFC 1112", "multicast", 9},
		{"all nodes", "ff02::1", "RFC 4291, 2.7.1", "multicast", 9},
		{"all nodes, interface-local scope", "ff01::1", "RFC 4291, 2.7.1", "multicast", 9},
		{"limited broadcast, no DHCP", "255.255.255.255", "RFC 919", "broadcast", 9},
		{"DHCP's group at another port", "ff02::1:2", "RFC 8415, 7.1", "multicast", 9},
	} {
		to := netip.MustParseAddr(g.group)
		from := vm.IPv4
		if to.Is6() {
			from = vm.Link
		}
		l.fromVM(g.name, g.source, g.reason, l.out(groupMAC(to), l.udp(from, to, 40000, g.port, g.name)))
		l.fromVM(g.name+" in a denied host's frame", "RFC 1122, 3.3.6", g.reason, l.out(victim.MAC, l.udp(from, to, 40000, g.port, g.name)))
	}
	l.fromVM("directed broadcast", "RFC 919; RFC 2644", "broadcast", l.out(allHosts, l.udp(vm.IPv4, last(l.LAN), 40000, 9, "directed")))
	l.fromVM("directed broadcast in a denied host's frame", "RFC 2644", "denied-ipv4", l.out(victim.MAC, l.udp(vm.IPv4, last(l.LAN), 40000, 9, "directed")))
	l.fromVM("NetBIOS name query", "RFC 1002", "broadcast", l.out(allHosts, l.udp(vm.IPv4, last(l.LAN), 137, 137, "netbios")))
	l.fromVM("ping of all hosts", "RFC 1122, 3.2.2.6", "multicast", l.out(groupMAC(netip.MustParseAddr("224.0.0.1")), l.icmp(vm.IPv4, netip.MustParseAddr("224.0.0.1"), 8, make([]byte, 8))))
	l.fromVM("ping of all nodes", "RFC 4443", "multicast", l.out(groupMAC(allNodes), l.icmp(vm.Link, allNodes, 128, make([]byte, 8))))
	l.fromVM("ping of all nodes in a denied host's frame", "RFC 4443", "multicast", l.out(victim.MAC, l.icmp(vm.Link, allNodes, 128, make([]byte, 8))))
	l.fromVM("IGMP report", "RFC 3376", "multicast", l.out(groupMAC(netip.MustParseAddr("224.0.0.22")), l.ip(vm.IPv4, netip.MustParseAddr("224.0.0.22"), igmp, make([]byte, 16))))
	l.fromVM("IGMP query: the VM as querier", "RFC 3376; RFC 4541", "multicast", l.out(groupMAC(netip.MustParseAddr("224.0.0.1")), l.ip(vm.IPv4, netip.MustParseAddr("224.0.0.1"), igmp, []byte{0x11, 1, 0xee, 0xfe, 0, 0, 0, 0})))
	l.fromVM("MLD query: the VM as querier", "RFC 3810; RFC 4541", "multicast", l.out(groupMAC(allNodes), l.hops(vm.Link, allNodes, icmp6, 1, l.message(vm.Link, allNodes, 130, make([]byte, 20)))))

	for _, to := range []struct {
		name string
		Host
	}{{"an internet host", l.Web}, {"the gateway", l.Gateway}} {
		l.fromVM("datagram for "+to.name+" in a broadcast frame", "RFC 1122, 3.3.6", "broadcast", l.out(allHosts, l.udp(vm.IPv4, to.IPv4, 40000, 53, to.name)))
		l.fromVM("datagram for "+to.name+" in a multicast frame", "RFC 1122, 3.3.6", "broadcast", l.out(groupMAC(netip.MustParseAddr("224.0.0.1")), l.udp(vm.IPv4, to.IPv4, 40000, 53, to.name)))
		l.fromVM("IPv6 datagram for "+to.name+" in a frame for all nodes", "RFC 2464, 7", "broadcast", l.out(groupMAC(allNodes), l.udp(vm.IPv6, to.IPv6, 40000, 53, to.name)))
	}
	l.fromVM("datagram for a denied host in a broadcast frame", "RFC 1122, 3.3.6", "broadcast", l.out(allHosts, l.udp(vm.IPv4, victim.IPv4, 40000, 53, "for all")))
	l.fromVM("ping of an internet host in a frame for all nodes", "RFC 2464, 7", "broadcast", l.out(groupMAC(allNodes), l.icmp(vm.IPv6, l.Web.IPv6, 128, make([]byte, 8))))
}

// last is a prefix's broadcast address.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
