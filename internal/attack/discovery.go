package attack

import (
	"net"
	"net/netip"
)

// The types of neighbour discovery (RFC 4861, 4).
const (
	routerSolicitation    = 133
	routerAdvertisement   = 134
	neighbourSolicitation = 135
	neighbourAdvert       = 136
	redirect6             = 137
)

// The options with a MAC address (RFC 4861, 4.6.1).
const (
	sourceMAC = 1
	targetMAC = 2
)

// discovery is a message of neighbour discovery, from no farther than this link.
func (l *list) discovery(src, dst netip.Addr, kind byte, body ...[]byte) []byte {
	return l.hops(src, dst, icmp6, 255, l.message(src, dst, kind, join(body...)))
}

// macOption holds a MAC address.
func macOption(kind byte, mac net.HardwareAddr) []byte { return append([]byte{kind, 1}, mac...) }

// advertBody is a router advertisement of a router for half an hour, with a prefix.
func (l *list) advertBody() []byte {
	prefix := netip.MustParseAddr("2001:db8:bad::").As16()
	return join([]byte{64, 0, 0x07, 0x08}, make([]byte, 8), macOption(sourceMAC, l.VM.MAC),
		[]byte{3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0}, prefix[:])
}

// advert is the packet of one.
func (l *list) advert(src, dst netip.Addr) []byte {
	return l.discovery(src, dst, routerAdvertisement, l.advertBody())
}

func (l *list) routers() {
	const source = "RFC 4861, 6.2; RFC 6104"
	vm := l.VM
	for _, to := range []struct {
		name, reason string // of what the rules cannot recognise
		mac          net.HardwareAddr
		ip           netip.Addr
	}{
		{"to all nodes", "multicast", groupMAC(allNodes), allNodes},
		{"to a denied host", "denied-ipv6", l.Victim.MAC, l.Victim.Link},
		{"to an allowed host", "denied-ipv6", l.Gateway.MAC, l.Gateway.Link},
	} {
		send := func(next byte, payload ...[]byte) []byte {
			return l.out(to.mac, l.hops(vm.Link, to.ip, next, 255, join(payload...)))
		}
		bare := l.message(vm.Link, to.ip, routerAdvertisement, l.advertBody())
		add := func(name, source, reason string, frames ...[]byte) {
			l.fromVM("router advertisement "+to.name+name, source, reason, frames...)
		}
		add("", source, "router-advertisement", send(icmp6, bare))
		add(", the router's end", source, "router-advertisement", l.out(to.mac, l.discovery(vm.Link, to.ip, routerAdvertisement, []byte{64, 0, 0, 0}, make([]byte, 8))))
		add(", from a global address", source, "router-advertisement", l.out(to.mac, l.advert(vm.IPv6, to.ip)))
		add(", in the gateway's name", source, "router-advertisement", l.out(to.mac, l.advert(l.Gateway.Link, to.ip)))
		add(", from afar", "RFC 4861, 6.1.2", "router-advertisement", l.out(to.mac, l.icmp(vm.Link, to.ip, routerAdvertisement, l.advertBody())))
		add(" behind hop-by-hop options", "RFC 7113", "router-advertisement", send(hopByHop, optionsHeader(icmp6, 1), bare))
		add(" behind destination options", "RFC 7113", "router-advertisement", send(dstOptions, optionsHeader(icmp6, 1), bare))
		add(" behind many destination options", "RFC 7113", "router-advertisement", send(dstOptions, optionsHeader(dstOptions, 32), optionsHeader(dstOptions, 32), optionsHeader(icmp6, 32), bare))
		add(" behind a routing header", "RFC 7113", "router-advertisement", send(routing, changed(routingHeader(icmp6, 0, to.ip), 3, 0), bare))
		add(" in an atomic fragment", "RFC 6946; RFC 6980", "router-advertisement", send(fragmented, fragmentHeader(icmp6, 0, false), bare))
		add(" in a first fragment", "RFC 6980", "router-advertisement", send(fragmented, fragmentHeader(icmp6, 0, true), bare))
		add(" behind options in a first fragment", "RFC 6980; RFC 7113", "router-advertisement", send(fragmented, fragmentHeader(dstOptions, 0, true), optionsHeader(icmp6, 1), bare))
		add(", a first fragment without it", "RFC 7112; RFC 7113, 3", "source-route", send(fragmented, fragmentHeader(dstOptions, 0, true), optionsHeader(icmp6, 1)))
		add(", a first fragment whose headers go on", "RFC 7112; RFC 7113, 3", "malformed", send(fragmented, fragmentHeader(dstOptions, 0, true), optionsHeader(dstOptions, 1)))
		add(", its second fragment behind options", "RFC 7112", "malformed", send(fragmented, fragmentHeader(dstOptions, 8, false), bare))
		if to.ip != l.Gateway.Link { // to an allowed host a later fragment passes, and no host takes it for one (RFC 6980)
			add(", its second fragment", "RFC 6980", to.reason, send(fragmented, fragmentHeader(icmp6, 8, false), bare[8:]))
		}
	}
	body := join(make([]byte, 4), vm.Link.AsSlice(), l.Web.IPv6.AsSlice(), macOption(targetMAC, vm.MAC))
	for _, to := range []struct {
		name string
		mac  net.HardwareAddr
		ip   netip.Addr
	}{{"a denied host", l.Victim.MAC, l.Victim.Link}, {"an allowed host", l.Gateway.MAC, l.Gateway.Link}, {"all nodes", groupMAC(allNodes), allNodes}} {
		l.fromVM("ICMPv6 redirect to "+to.name, "RFC 4861, 8", "redirect", l.out(to.mac, l.discovery(vm.Link, to.ip, redirect6, body)))
		l.fromVM("ICMPv6 redirect to "+to.name+", in the gateway's name", "RFC 4861, 8", "redirect", l.out(to.mac, l.discovery(l.Gateway.Link, to.ip, redirect6, body)))
	}
}

// solicitation asks for a target's MAC address.
func (l *list) solicitation(src, dst, target netip.Addr, options ...[]byte) []byte {
	return l.discovery(src, dst, neighbourSolicitation, make([]byte, 4), target.AsSlice(), join(options...))
}

// The flags of a neighbour advertisement (RFC 4861, 4.4).
const (
	isSolicited = 0x40
	overrides   = 0x20
)

// advertisement says that a target is at a MAC address.
func (l *list) advertisement(src, dst, target netip.Addr, flags byte, mac net.HardwareAddr) []byte {
	return l.discovery(src, dst, neighbourAdvert, []byte{flags, 0, 0, 0}, target.AsSlice(), macOption(targetMAC, mac))
}

func (l *list) neighbours() {
	vm, victim, gateway := l.VM, l.Victim, l.Gateway
	own := macOption(sourceMAC, vm.MAC)
	const scan = "RFC 4861, 7.2; RFC 7707"
	for _, target := range []struct {
		name string
		ip   netip.Addr
	}{{"link-local", victim.Link}, {"global", victim.IPv6}} {
		group := solicited(target.ip)
		l.fromVM("neighbour scan, multicast, "+target.name, scan, "nd", l.out(groupMAC(group), l.solicitation(vm.Link, group, target.ip, own)), l.out(groupMAC(group), l.solicitation(vm.Link, group, target.ip)))
		l.fromVM("neighbour scan, unicast, "+target.name, scan, "nd", l.out(victim.MAC, l.solicitation(vm.Link, target.ip, target.ip, own)))
		l.fromVM("neighbour scan as a probe from no address, "+target.name, "RFC 4862, 5.4", "nd", l.out(groupMAC(group), l.solicitation(none6, group, target.ip)))
		l.fromVM("neighbour scan, the group in a denied host's frame, "+target.name, scan, "nd", l.out(victim.MAC, l.solicitation(vm.Link, group, target.ip, own)))
	}
	l.fromVM("neighbour scan of all nodes", scan, "nd", l.out(groupMAC(allNodes), l.solicitation(vm.Link, allNodes, victim.Link, own)))
	l.fromVM("solicitation for the gateway, sent to a denied host", scan, "nd", l.out(victim.MAC, l.solicitation(vm.Link, victim.Link, gateway.Link, own)))
	l.fromVM("solicitation for the gateway, sent to all nodes", scan, "nd", l.out(groupMAC(allNodes), l.solicitation(vm.Link, allNodes, gateway.Link, own)))
	l.fromVM("probe that takes the gateway's address", "RFC 4862, 5.4", "nd", l.out(groupMAC(solicited(gateway.Link)), l.solicitation(none6, solicited(gateway.Link), gateway.Link)))

	ask := solicited(gateway.Link)
	good := l.solicitation(vm.Link, ask, gateway.Link, own)
	forged := macOption(sourceMAC, victim.MAC)
	l.fromVM("solicitation with another's MAC address inside", "RFC 4861, 7.2.3", "nd", l.out(groupMAC(ask), l.solicitation(vm.Link, ask, gateway.Link, forged)))
	l.fromVM("solicitation with a second MAC address inside", "RFC 4861, 4.6.1", "nd", l.out(groupMAC(ask), l.solicitation(vm.Link, ask, gateway.Link, own, forged)))
	l.fromVM("solicitation in the gateway's name", "RFC 4861, 7.2.3", "spoofed-ip", l.out(groupMAC(ask), l.solicitation(gateway.Link, ask, gateway.Link, own)))
	l.fromVM("solicitation from afar", "RFC 4861, 7.1.1", "nd", l.out(groupMAC(ask), changed(good, 7, 64)), l.out(groupMAC(ask), changed(good, 7, 254)))
	l.fromVM("solicitation behind hop-by-hop options", "RFC 7113", "nd", l.out(groupMAC(ask), l.hops(vm.Link, ask, hopByHop, 255, join(optionsHeader(icmp6, 1), good[40:]))))
	l.fromVM("solicitation behind destination options", "RFC 7113", "nd", l.out(groupMAC(ask), l.hops(vm.Link, ask, dstOptions, 255, join(optionsHeader(icmp6, 1), good[40:]))))
	l.fromVM("solicitation in an atomic fragment", "RFC 6980", "nd", l.out(groupMAC(ask), l.hops(vm.Link, ask, fragmented, 255, join(fragmentHeader(icmp6, 0, false), good[40:]))))

	const claim = "RFC 4861, 7.2.5; RFC 9131"
	for _, to := range []struct {
		name string
		mac  net.HardwareAddr
		ip   netip.Addr
	}{{"a denied host", victim.MAC, victim.Link}, {"an allowed host", gateway.MAC, gateway.Link}, {"all nodes", groupMAC(allNodes), allNodes}} {
		l.fromVM("neighbour advertisement of the gateway to "+to.name, claim, "nd-claim",
			l.out(to.mac, l.advertisement(vm.Link, to.ip, gateway.Link, isSolicited|overrides, vm.MAC)),
			l.out(to.mac, l.advertisement(vm.Link, to.ip, gateway.Link, overrides, vm.MAC)),
			l.out(to.mac, l.discovery(vm.Link, to.ip, neighbourAdvert, []byte{overrides, 0, 0, 0}, gateway.Link.AsSlice())))
		l.fromVM("neighbour advertisement in the gateway's name to "+to.name, claim, "spoofed-ip", l.out(to.mac, l.advertisement(gateway.Link, to.ip, gateway.Link, overrides, vm.MAC)))
		l.fromVM("neighbour advertisement of another's MAC address to "+to.name, claim, "nd-claim", l.out(to.mac, l.advertisement(vm.Link, to.ip, vm.Link, overrides, victim.MAC)))
	}
	l.fromVM("neighbour advertisement of its own address to a denied host", claim, "nd", l.out(victim.MAC, l.advertisement(vm.Link, victim.Link, vm.Link, isSolicited, vm.MAC)))
	l.fromVM("neighbour advertisement of the gateway in a fragment", "RFC 6980", "nd-claim", l.out(gateway.MAC, l.hops(vm.Link, gateway.Link, fragmented, 255, join(fragmentHeader(icmp6, 0, false), l.advertisement(vm.Link, gateway.Link, gateway.Link, overrides, vm.MAC)[40:]))))

	l.fromVM("router solicitation with another's MAC address inside", "RFC 4861, 6.2.6", "nd", l.out(groupMAC(allRouters), l.discovery(vm.Link, allRouters, routerSolicitation, make([]byte, 4), forged)))
	l.fromVM("router solicitation to all nodes", "RFC 4861, 6.3.7", "nd", l.out(groupMAC(allNodes), l.discovery(vm.Link, allNodes, routerSolicitation, make([]byte, 4), own)))
	l.fromVM("router solicitation to a denied host", "RFC 4861, 6.3.7", "nd", l.out(victim.MAC, l.discovery(vm.Link, victim.Link, routerSolicitation, make([]byte, 4), own)))
	l.fromVM("node information query to all nodes", "RFC 4620", "multicast", l.out(groupMAC(allNodes), l.icmp(vm.Link, allNodes, 139, make([]byte, 28))))

	l.toVM("router advertisement of a denied host", "RFC 6104", "router-advertisement", ether(groupMAC(allNodes), victim.MAC, typeIPv6, l.advert(victim.Link, allNodes)), l.in(victim.MAC, l.advert(victim.Link, vm.Link)))
	l.toVM("ICMPv6 redirect of a denied host", "RFC 4861, 8", "redirect", l.in(victim.MAC, l.discovery(victim.Link, vm.Link, redirect6, make([]byte, 4), victim.Link.AsSlice(), l.Web.IPv6.AsSlice())))
	l.toVM("neighbour solicitation of a denied host", scan, "nd", l.in(victim.MAC, l.solicitation(victim.Link, vm.Link, vm.Link, macOption(sourceMAC, victim.MAC))),
		ether(groupMAC(solicited(vm.Link)), victim.MAC, typeIPv6, l.solicitation(victim.IPv6, solicited(vm.Link), vm.Link, macOption(sourceMAC, victim.MAC))))
	l.toVM("neighbour advertisement of a denied host", claim, "nd", l.in(victim.MAC, l.advertisement(victim.Link, vm.Link, gateway.Link, overrides, victim.MAC)),
		ether(groupMAC(allNodes), victim.MAC, typeIPv6, l.advertisement(victim.Link, allNodes, gateway.Link, overrides, victim.MAC)))
	hidden := l.message(victim.Link, allNodes, routerAdvertisement, l.advertBody())
	toAll := func(next byte, payload ...[]byte) []byte {
		return ether(groupMAC(allNodes), victim.MAC, typeIPv6, l.hops(victim.Link, allNodes, next, 255, join(payload...)))
	}
	l.toVM("router advertisement of a denied host behind options", "RFC 7113", "router-advertisement", toAll(hopByHop, optionsHeader(icmp6, 1), hidden), toAll(fragmented, fragmentHeader(icmp6, 0, false), hidden))
	l.toVM("router advertisement of a denied host, hidden by fragments", "RFC 7113; RFC 6980", "denied-ipv6", toAll(fragmented, fragmentHeader(dstOptions, 0, true), optionsHeader(icmp6, 1)), toAll(fragmented, fragmentHeader(icmp6, 8, false), hidden))
}
