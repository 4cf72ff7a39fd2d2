package attack

import "net/netip"

func (l *list) ipv6() {
	vm, victim, gateway := l.VM, l.Victim, l.Gateway
	plain := l.udp(vm.Link, victim.Link, 40000, 53, "sixteen bytes ..")
	send := func(packet []byte) []byte { return ether(victim.MAC, vm.MAC, typeIPv6, packet) }
	wrap := func(next byte, payload ...[]byte) []byte {
		return send(l.ip(vm.Link, victim.Link, next, join(payload...)))
	}
	l.fromVM("IPv6 header of another version", "RFC 8200, 3", "malformed", send(changed(plain, 0, 0x45)), send(changed(plain, 0, 0x00)))
	l.fromVM("IPv6 payload length too short", "RFC 8200, 3", "denied-ipv6", send(changed(plain, 4, 0, 0)), send(changed(plain, 4, 0, 1)))
	l.fromVM("IPv6 payload length too long", "RFC 8200, 3", "malformed", send(changed(plain, 4, 0xff, 0xff)))
	l.fromVM("hop-by-hop options to a denied host", "RFC 8200, 4.3", "source-route", wrap(hopByHop, optionsHeader(udp, 1), plain[40:]))
	l.fromVM("destination options to a denied host", "RFC 8200, 4.6", "denied-ipv6", wrap(dstOptions, optionsHeader(udp, 4), plain[40:]))
	l.unknownOptions()
	l.fromVM("options cut short", "RFC 8200, 4.2", "malformed", wrap(dstOptions, []byte{udp}))
	// Linux 6.1 goes to the options' end before it says what is there, 6.18 does not.
	l.fromVM("options longer than the packet", "RFC 8200, 4.2", "denied-ipv6", wrap(dstOptions, []byte{udp, 255, 1, 4, 0, 0, 0, 0}, plain[40:]))
	l.cases[len(l.cases)-1].Also = "malformed"
	l.fromVM("atomic, first and later fragments to a denied host", "RFC 8200, 4.5; RFC 6946", "denied-ipv6",
		wrap(fragmented, fragmentHeader(udp, 0, false), plain[40:]), wrap(fragmented, fragmentHeader(udp, 0, true), plain[40:]), wrap(fragmented, fragmentHeader(udp, 8, false), plain[48:]))
	l.fromVM("a fragment of no protocol, and no next header", "RFC 8200, 4.7", "denied-ipv6", wrap(fragmented, fragmentHeader(59, 0, false)), wrap(59, plain[40:]))

	for _, to := range []struct{ name, address, source, reason string }{
		{"the unspecified address", "::", "RFC 4291, 2.5.2", "next-hop"},
		{"loopback", "::1", "RFC 4291, 2.5.3", "next-hop"},
		{"a unique local address", "fd00::77", "RFC 4193", "next-hop"},
		{"the last link-local address", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "RFC 4291, 2.5.6", "denied-ipv6"},
		{"an interface-local group", "ff01::77", "RFC 4291, 2.7", "multicast"},
		{"a global group", "ff0e::77", "RFC 4291, 2.7", "multicast"},
	} {
		l.fromVM("to "+to.name+" in a denied host's frame", to.source, to.reason, l.out(victim.MAC, l.udp(vm.IPv6, netip.MustParseAddr(to.address), 40000, 53, to.name)))
	}

	// A host that obeys sends the packet on to the header's address.
	for _, via := range []struct {
		name     string
		src, dst netip.Addr
	}{{"the gateway", vm.Link, gateway.Link}, {"an internet host", vm.IPv6, l.Web.IPv6}} {
		inner := l.udp(via.src, via.dst, 40000, 53, "by way of "+via.name)[40:]
		by := func(next byte, payload ...[]byte) []byte {
			return l.out(gateway.MAC, l.ip(via.src, via.dst, next, join(payload...)))
		}
		l.fromVM("routing header type 0 to a denied host by "+via.name, "RFC 5095", "source-route", by(routing, routingHeader(udp, 0, victim.IPv6), inner))
		l.fromVM("routing header type 2 to a denied host by "+via.name, "RFC 6275, 6.4", "source-route", by(routing, routingHeader(udp, 2, victim.IPv6), inner))
		l.fromVM("segment routing to a denied host by "+via.name, "RFC 8754", "source-route", by(routing, routingHeader(udp, 4, victim.IPv6), inner))
		l.fromVM("routing header behind options, by "+via.name, "RFC 5095; RFC 8200, 4.1", "source-route",
			by(hopByHop, optionsHeader(routing, 1), routingHeader(udp, 0, victim.IPv6), inner), by(dstOptions, optionsHeader(routing, 1), routingHeader(udp, 0, victim.IPv6), inner))
		l.fromVM("routing header in a fragment, by "+via.name, "RFC 5095; RFC 8200, 4.1", "source-route",
			by(fragmented, fragmentHeader(routing, 0, false), routingHeader(udp, 0, victim.IPv6), inner),
			by(fragmented, fragmentHeader(routing, 0, true), routingHeader(udp, 0, victim.IPv6)),
			by(fragmented, fragmentHeader(dstOptions, 0, true), optionsHeader(routing, 1), routingHeader(udp, 0, victim.IPv6)))
		l.fromVM("routing header before ICMPv6, by "+via.name, "RFC 5095", "source-route", by(routing, routingHeader(icmp6, 0, victim.IPv6), l.message(via.src, via.dst, 128, make([]byte, 8))))
	}
}

// unknownOptions are frames that every host answers which gets them, wherever the packet
// is for: hop-by-hop options are looked at first, and of one that nobody knows the
// source is told (RFC 8200, 4.2, the types that begin with the bits 10).
func (l *list) unknownOptions() {
	const source = "RFC 8200, 4.2"
	vm := l.VM
	options := func(next byte) []byte { return []byte{next, 0, 0x80, 4, 0, 0, 0, 0} }
	groups := netip.MustParseAddr("ff02::16")
	for _, from := range []struct {
		name string
		netip.Addr
	}{{"its link-local address", vm.Link}, {"its global address", vm.IPv6}, {"no address", none6}, {"an internet host's address", l.Web.IPv6}} {
		report := l.message(from.Addr, allNodes, 131, join(make([]byte, 4), allNodes.AsSlice()))
		l.fromVM("option that all hosts answer, in an MLD report from "+from.name, source, "source-route",
			l.out(groupMAC(allNodes), l.hops(from.Addr, allNodes, hopByHop, 1, join(options(icmp6), report))))
	}
	report := l.message(vm.Link, groups, 143, join([]byte{0, 0, 0, 1, 4, 0, 0, 0}, solicited(vm.Link).AsSlice()))
	alert := []byte{icmp6, 0, 5, 2, 0, 0, 1, 0}
	l.fromVM("router alert in a denied host's frame", "RFC 3810, 5.2", "source-route", l.out(l.Victim.MAC, l.hops(vm.Link, groups, hopByHop, 1, join(alert, report))))
	l.fromVM("option that a denied host answers, to the internet", source, "next-hop",
		l.out(l.Victim.MAC, l.ip(vm.IPv6, l.Web.IPv6, hopByHop, join(options(udp), l.udp(vm.IPv6, l.Web.IPv6, 40000, 53, "any")[40:]))))
	l.fromVM("option that a denied host answers, in a ping of the internet", source, "next-hop",
		l.out(l.Victim.MAC, l.ip(vm.IPv6, l.Web.IPv6, hopByHop, join(options(icmp6), l.icmp(vm.IPv6, l.Web.IPv6, 128, make([]byte, 8))[40:]))))
}
