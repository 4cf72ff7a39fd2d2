package attack

import (
	"net"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// arpPacket is ARP's for IPv4 on Ethernet (RFC 826).
func (l *list) arpPacket(op uint16, sender net.HardwareAddr, senderIP netip.Addr, target net.HardwareAddr, targetIP netip.Addr) []byte {
	return l.bytes(&layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: sender, SourceProtAddress: senderIP.AsSlice(), DstHwAddress: target, DstProtAddress: targetIP.AsSlice(),
	})
}

var nobody = make(net.HardwareAddr, 6)

// request asks who has an address.
func (l *list) request(from Host, sender, target netip.Addr) []byte {
	return l.arpPacket(layers.ARPRequest, from.MAC, sender, nobody, target)
}

// reply says that the sender's address is at a host's MAC address.
func (l *list) reply(from Host, sender netip.Addr, to Host) []byte {
	return l.arpPacket(layers.ARPReply, from.MAC, sender, to.MAC, to.IPv4)
}

func (l *list) arp() {
	vm, victim := l.VM, l.Victim
	ask := l.request(vm, vm.IPv4, victim.IPv4)
	l.fromVM("ARP scan", "RFC 826", "arp-target", l.out(allHosts, ask))
	l.fromVM("ARP scan, each host by itself", "RFC 826", "arp-target", l.out(victim.MAC, ask))
	l.fromVM("ARP scan as a probe, from no address", "RFC 5227", "arp-target", l.out(allHosts, l.request(vm, none4, victim.IPv4)))
	l.fromVM("ARP for a denied host at the gateway's MAC address", "RFC 1027", "arp-target", l.out(l.Gateway.MAC, ask))
	l.fromVM("ARP announcement of a denied host's address", "RFC 5227, 3", "arp-target", l.out(allHosts, l.request(vm, victim.IPv4, victim.IPv4)))
	l.fromVM("ARP reply to a denied host", "RFC 826", "arp-target", l.out(victim.MAC, l.reply(vm, vm.IPv4, victim)))

	for _, taken := range []struct {
		name string
		Host
	}{{"the gateway", l.Gateway}, {"the name server", l.DNS}} {
		ip := taken.IPv4
		other := l.DNS
		if ip == other.IPv4 {
			other = l.Gateway
		}
		l.fromVM("ARP reply for "+taken.name+", unicast to a denied host", "RFC 826", "arp-claim", l.out(victim.MAC, l.reply(vm, ip, victim)))
		l.fromVM("ARP reply for "+taken.name+", unicast to an allowed host", "RFC 826", "arp-claim", l.out(other.MAC, l.reply(vm, ip, other)))
		l.fromVM("ARP reply for "+taken.name+", broadcast", "RFC 826", "arp-claim", l.out(allHosts, l.reply(vm, ip, other)))
		l.fromVM("ARP reply for "+taken.name+", gratuitous", "RFC 5944, 4.6", "arp-claim", l.out(allHosts, l.arpPacket(layers.ARPReply, vm.MAC, ip, vm.MAC, ip)))
		l.fromVM("ARP announcement of "+taken.name, "RFC 5227, 3", "arp-claim", l.out(allHosts, l.request(vm, ip, ip)))
		l.fromVM("ARP request from "+taken.name+" for an allowed host", "RFC 826", "arp-claim", l.out(allHosts, l.request(vm, ip, other.IPv4)))
		l.fromVM("ARP request from "+taken.name+" for an internet host", "RFC 826", "arp-claim", l.out(allHosts, l.request(vm, ip, l.Web.IPv4)))
		l.fromVM("ARP request from "+taken.name+" with its own MAC address inside", "RFC 826", "arp-claim", l.out(allHosts, l.request(taken.Host, ip, other.IPv4)))
	}
	l.fromVM("ARP with another sender's MAC address inside", "RFC 826", "arp-claim", l.out(allHosts, l.request(victim, vm.IPv4, l.Gateway.IPv4)))
	l.fromVM("ARP from another's MAC address outside", "RFC 826", "spoofed-mac", ether(allHosts, victim.MAC, typeARP, l.request(vm, vm.IPv4, l.Gateway.IPv4)))

	good := l.request(vm, vm.IPv4, l.Gateway.IPv4)
	for _, odd := range []struct {
		name string
		at   int
		to   []byte
	}{
		{"hardware type of IEEE 802", 0, []byte{0, 6}}, {"hardware type 0", 0, []byte{0, 0}},
		{"protocol type IPv6", 2, []byte{0x86, 0xdd}},
		{"hardware address length 8", 4, []byte{8}}, {"protocol address length 16", 5, []byte{16}}, {"protocol address length 0", 5, []byte{0}},
		{"operation 0", 6, []byte{0, 0}}, {"operation 3, reverse", 6, []byte{0, 3}}, {"operation 8, inverse", 6, []byte{0, 8}}, {"operation 25", 6, []byte{0, 25}},
	} {
		l.fromVM("ARP with "+odd.name, "RFC 826; RFC 5494", "arp-target", ether(allHosts, vm.MAC, typeARP, changed(good, odd.at, odd.to...)))
	}
	l.toVM("ARP reply of a denied host", "RFC 826", "arp-sender", l.in(victim.MAC, l.reply(victim, victim.IPv4, vm)))
	l.toVM("ARP request of a denied host", "RFC 826", "arp-sender", l.in(victim.MAC, l.request(victim, victim.IPv4, vm.IPv4)),
		ether(allHosts, victim.MAC, typeARP, l.request(victim, victim.IPv4, vm.IPv4)))
	l.toVM("ARP probe of a denied host", "RFC 5227", "arp-sender", ether(allHosts, victim.MAC, typeARP, l.request(victim, none4, vm.IPv4)))
}

// spoofed are frames from addresses that are another's.
func (l *list) spoofed() {
	vm, web := l.VM, l.Web
	l.fromVM("another's MAC address, to the internet", "IEEE 802.1D, 7.8", "spoofed-mac",
		ether(web.MAC, l.Victim.MAC, typeIPv4, l.udp(vm.IPv4, web.IPv4, 40000, 53, "spoofed")),
		ether(web.MAC, l.Victim.MAC, typeIPv6, l.udp(vm.IPv6, web.IPv6, 40000, 53, "spoofed")))
	l.fromVM("the gateway's MAC address: switches would learn it", "IEEE 802.1D, 7.8", "spoofed-mac", ether(web.MAC, l.Gateway.MAC, typeIPv4, l.udp(vm.IPv4, web.IPv4, 40000, 53, "spoofed")))
	l.fromVM("a multicast MAC address as source", "IEEE 802.3, 3.2.3", "spoofed-mac", ether(web.MAC, allHosts, typeIPv4, l.udp(vm.IPv4, web.IPv4, 40000, 53, "spoofed")))
	l.fromVM("another's MAC address and kind", "IEEE 802.1D, 7.8", "spoofed-mac", ether(l.Victim.MAC, l.Gateway.MAC, 0x88b5, make([]byte, 46)))
	l.fromVM("the gateway's address, to the name server", "RFC 2827", "spoofed-ip", l.out(l.DNS.MAC, l.udp(l.Gateway.IPv4, l.DNS.IPv4, 53, 53, "spoofed")))
	l.fromVM("the name server's address, to the gateway", "RFC 2827", "spoofed-ip", l.out(l.Gateway.MAC, l.udp(l.DNS.IPv4, l.Gateway.IPv4, 53, 53, "spoofed")))
	l.fromVM("the gateway's IPv6 address, to itself", "RFC 2827", "spoofed-ip", l.out(l.Gateway.MAC, l.udp(l.Gateway.Link, l.Gateway.Link, 53, 53, "spoofed")),
		l.out(l.Gateway.MAC, l.icmp(l.Gateway.Link, l.Gateway.Link, 128, make([]byte, 8))))
}
