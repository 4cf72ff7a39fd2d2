package attack

import (
	"net"
	"net/netip"
)

// InAnothersName lists what a VM sends as if it were a denied host of its LAN: with its own MAC
// address, as no switch would see anything wrong with, and that host's IP address. Rules that do
// not know the VM's own addresses let it pass; those that learn them do not.
func InAnothersName(s Site) ([]Case, error) {
	l := &list{Site: s}
	l.anothersARP()
	l.anothersNeighbours()
	l.anothersSource()
	return l.cases, l.err
}

// anothersARP has the gateway, an allowed host or all take the VM for a denied host: who hears
// of an address keeps its MAC address (RFC 826).
func (l *list) anothersARP() {
	vm, victim, gateway, dns := l.VM, l.Victim, l.Gateway, l.DNS
	const source = "RFC 826; RFC 6620, 1"
	for _, to := range []struct {
		name string
		Host
	}{{"the gateway", gateway}, {"the name server", dns}} {
		l.fromVM("ARP reply for a denied host, to "+to.name, source, "arp-claim", l.out(to.MAC, l.reply(vm, victim.IPv4, to.Host)))
		l.fromVM("ARP request for "+to.name+" in a denied host's name, unicast", source, "arp-claim", l.out(to.MAC, l.request(vm, victim.IPv4, to.IPv4)))
		l.fromVM("ARP request for "+to.name+" in a denied host's name, broadcast", source, "arp-claim", l.out(allHosts, l.request(vm, victim.IPv4, to.IPv4)))
		l.fromVM("ARP reply for a denied host, to "+to.name+" and broadcast", source, "arp-claim", l.out(allHosts, l.reply(vm, victim.IPv4, to.Host)))
	}
}

// anothersNeighbours does so by neighbour discovery.
func (l *list) anothersNeighbours() {
	vm, victim, gateway := l.VM, l.Victim, l.Gateway
	const source = "RFC 4861, 7.2; RFC 3756, 4.1.1"
	own := macOption(sourceMAC, vm.MAC)
	ask := solicited(gateway.Link)
	for _, as := range []struct {
		name string
		ip   netip.Addr
	}{{"link-local", victim.Link}, {"global", victim.IPv6}} {
		l.fromVM("neighbour advertisement of a denied host to the gateway, "+as.name, source, "nd-claim",
			l.out(gateway.MAC, l.advertisement(vm.Link, gateway.Link, as.ip, isSolicited|overrides, vm.MAC)),
			l.out(gateway.MAC, l.advertisement(vm.Link, gateway.Link, as.ip, overrides, vm.MAC)))
		l.fromVM("neighbour advertisement in a denied host's name to the gateway, "+as.name, source, "spoofed-ip",
			l.out(gateway.MAC, l.advertisement(as.ip, gateway.Link, as.ip, isSolicited|overrides, vm.MAC)))
		l.fromVM("neighbour advertisement in a denied host's name to all nodes, "+as.name, "RFC 4861, 7.2.6; RFC 9131", "spoofed-ip",
			l.out(groupMAC(allNodes), l.advertisement(as.ip, allNodes, as.ip, overrides, vm.MAC)))
		l.fromVM("neighbour advertisement in a denied host's name to all routers, "+as.name, "RFC 9131", "spoofed-ip",
			l.out(groupMAC(allRouters), l.advertisement(as.ip, allRouters, as.ip, 0, vm.MAC)))
		l.fromVM("neighbour solicitation for the gateway in a denied host's name, "+as.name, "RFC 4861, 7.2.3", "spoofed-ip",
			l.out(groupMAC(ask), l.solicitation(as.ip, ask, gateway.Link, own)), l.out(gateway.MAC, l.solicitation(as.ip, gateway.Link, gateway.Link, own)))
	}
	l.fromVM("router solicitation in a denied host's name", "RFC 4861, 6.2.6", "spoofed-ip",
		l.out(groupMAC(allRouters), l.discovery(victim.Link, allRouters, routerSolicitation, make([]byte, 4), own)))
	agents := netip.MustParseAddr("ff02::1:2")
	l.fromVM("DHCPv6 solicit in a denied host's name", "RFC 8415, 18.2", "spoofed-ip", l.out(groupMAC(agents), l.udp(victim.Link, agents, 546, 547, solicit6)))
}

// anothersSource has the internet and allowed hosts take datagrams for a denied host's: one opens
// a port of a router that translates addresses, for that host.
func (l *list) anothersSource() {
	victim, gateway, web, dns := l.Victim, l.Gateway, l.Web, l.DNS
	for _, to := range []struct {
		name     string
		mac      net.HardwareAddr
		from, ip netip.Addr
	}{
		{"the internet", web.MAC, victim.IPv4, web.IPv4}, {"the gateway", gateway.MAC, victim.IPv4, gateway.IPv4}, {"the name server", dns.MAC, victim.IPv4, dns.IPv4},
		{"the internet, IPv6", web.MAC, victim.IPv6, web.IPv6}, {"the gateway, link-local", gateway.MAC, victim.Link, gateway.Link},
	} {
		l.fromVM("UDP in a denied host's name, to "+to.name, "RFC 2827; RFC 4787, 4", "spoofed-ip", l.out(to.mac, l.udp(to.from, to.ip, 40000, 443, "a port of his")))
		l.fromVM("TCP in a denied host's name, to "+to.name, "RFC 2827; RFC 5382, 4", "spoofed-ip", l.out(to.mac, l.tcp(to.from, to.ip, 40000, 443, false)), l.out(to.mac, l.tcp(to.from, to.ip, 443, 40000, true)))
		echo := byte(8)
		if to.from.Is6() {
			echo = 128
		}
		l.fromVM("ping in a denied host's name, to "+to.name, "RFC 2827", "spoofed-ip", l.out(to.mac, l.icmp(to.from, to.ip, echo, make([]byte, 8))))
	}
	l.fromVM("a large datagram in a denied host's name, in fragments", "RFC 2827; RFC 791, 3.2", "spoofed-ip",
		l.large(victim.IPv4, web.IPv4, 40000, 443, func(p []byte) []byte { return l.out(web.MAC, p) })...)
	l.fromVM("a large datagram in a denied host's name, in fragments, IPv6", "RFC 2827; RFC 8200, 4.5", "spoofed-ip",
		l.large(victim.IPv6, web.IPv6, 40000, 443, func(p []byte) []byte { return l.out(web.MAC, p) })...)
}
