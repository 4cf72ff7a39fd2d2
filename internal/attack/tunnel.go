package attack

import (
	"net/netip"
)

// tunnels are the forms in which a denied address hides from a filter that looks
// at the outermost header alone.
func (l *list) tunnels() {
	vm, victim, gateway, web := l.VM, l.Victim, l.Gateway, l.Web
	inner4 := l.udp(vm.IPv4, victim.IPv4, 40000, 53, "inside")
	inner6 := l.udp(vm.IPv6, victim.IPv6, 40000, 53, "inside")
	frame := l.out(victim.MAC, inner4)
	for _, to := range []struct {
		name string
		Host
	}{{"the gateway", gateway}, {"an internet host", web}} {
		dst6, src6 := to.Link, vm.Link
		if !dst6.IsValid() {
			dst6, src6 = to.IPv6, vm.IPv6
		}
		for _, t := range []struct {
			name, source string
			proto        byte
			payload      []byte
		}{
			{"IPv4 in IP", "RFC 2003", ipip, inner4},
			{"IPv6 in IP", "RFC 4213", ipv6, inner6},
			{"GRE", "RFC 2784; CVE-2024-7595", gre, join([]byte{0, 0, 0x08, 0}, inner4)},
			{"minimal encapsulation", "RFC 2004", 55, join([]byte{udp, 0, 0, 0}, victim.IPv4.AsSlice(), inner4[20:])},
			{"EtherIP", "RFC 3378", etherIP, join([]byte{0x30, 0}, frame)},
			{"L2TPv3", "RFC 3931", 115, join([]byte{0, 0, 0, 1}, frame)},
			{"MPLS in IP", "RFC 4023", 137, join([]byte{0, 0, 0x11, 64}, inner4)},
			{"Ethernet in IP", "RFC 8986, 10.1", 143, frame},
		} {
			l.fromVM(t.name+" to a denied host by "+to.name, t.source, "tunnel",
				l.out(to.MAC, l.ip(vm.IPv4, to.IPv4, t.proto, t.payload)), l.out(to.MAC, l.ip(src6, dst6, t.proto, t.payload)))
		}
		l.fromVM("IPv4 in IP in fragments, by "+to.name, "RFC 2003; RFC 791, 3.2", "tunnel",
			l.out(to.MAC, fragment(l.ip(vm.IPv4, to.IPv4, ipip, inner4[:32]), 0, true)), l.out(to.MAC, fragment(l.ip(vm.IPv4, to.IPv4, ipip, inner4[32:]), 32, false)))
		l.fromVM("IPv6 in IPv6 behind destination options, by "+to.name, "RFC 2473", "tunnel", l.out(to.MAC, l.ip(src6, dst6, dstOptions, join(optionsHeader(ipv6, 1), inner6))))
		l.fromVM("IPv6 in IPv6 in a fragment, by "+to.name, "RFC 2473", "tunnel", l.out(to.MAC, l.ip(src6, dst6, fragmented, join(fragmentHeader(ipv6, 0, true), inner6))))
	}
	// The first fragment ends before the header that would tell.
	l.fromVM("IPv6 in IPv6, a first fragment whose headers go on", "RFC 7112", "malformed",
		l.out(gateway.MAC, l.ip(vm.Link, gateway.Link, fragmented, join(fragmentHeader(dstOptions, 0, true), optionsHeader(dstOptions, 1)))))
	l.fromVM("IPv6 in IPv6, its later fragments", "RFC 7112", "malformed",
		l.out(gateway.MAC, l.ip(vm.Link, gateway.Link, fragmented, join(fragmentHeader(dstOptions, 8, false), optionsHeader(ipv6, 1), inner6))))

	v4 := victim.IPv4.As4()
	for _, form := range []struct{ name, prefix, source, reason string }{
		{"6to4", "2002::", "RFC 3056; RFC 3964", "tunnel"},
		{"NAT64", "64:ff9b::", "RFC 6052, 3.1", "tunnel"},
		{"NAT64, local-use prefix", "64:ff9b:1::", "RFC 8215", "tunnel"},
		{"IPv4-mapped", "::ffff:0:0", "RFC 4291, 2.5.5.2", "denied-ipv6"},
		{"IPv4-compatible", "::", "RFC 4291, 2.5.5.1", "denied-ipv6"},
		{"IPv4-translated", "::ffff:0:0:0", "RFC 2765", "denied-ipv6"},
		{"Teredo", "2001:0:c000:201::", "RFC 4380; RFC 6169", "tunnel"},
	} {
		a := netip.MustParseAddr(form.prefix).As16()
		switch form.name {
		case "6to4":
			copy(a[2:], v4[:])
		case "Teredo":
			copy(a[12:], []byte{^v4[0], ^v4[1], ^v4[2], ^v4[3]})
		default:
			copy(a[12:], v4[:])
		}
		to := netip.AddrFrom16(a)
		l.fromVM("a denied host's address as "+form.name, form.source, form.reason,
			l.out(gateway.MAC, l.udp(vm.IPv6, to, 40000, 53, form.name)), l.out(gateway.MAC, l.icmp(vm.IPv6, to, 128, make([]byte, 8))))
		l.toVM("from a denied host's address as "+form.name, form.source, form.reason, l.in(gateway.MAC, l.udp(to, vm.IPv6, 53, 40000, form.name)))
	}
	for _, form := range []struct{ name, address string }{
		{"loopback", "64:ff9b::7f00:1"}, {"link-local", "64:ff9b::a9fe:707"}, {"this network", "64:ff9b::1"}, {"multicast", "64:ff9b::e000:fb"}, {"broadcast", "64:ff9b::ffff:ffff"},
		{"loopback", "2002:7f00:1::1"}, {"link-local", "2002:a9fe:707::1"}, {"multicast", "2002:e000:fb::1"},
	} {
		kind := "NAT64"
		if form.address[0] == '2' {
			kind = "6to4"
		}
		l.fromVM(form.name+" as "+kind, "RFC 3056, 2; RFC 6052, 3.1", "tunnel", l.out(gateway.MAC, l.udp(vm.IPv6, netip.MustParseAddr(form.address), 40000, 53, form.name)))
	}
}
