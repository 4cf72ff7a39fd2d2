package attack

import "encoding/binary"

// The CVEs about filters of a LAN that look no deeper than the first EtherType,
// and hosts that look deeper.
const (
	cveVLAN0  = "CVE-2021-27853"
	cveSNAP   = "CVE-2021-27854, CVE-2021-27862"
	cveLength = "CVE-2021-27861"
)

// plain are the frames that any filter stops.
func (l *list) plain() {
	vm, to := l.VM, l.Victim
	l.fromVM("TCP to a denied host", "RFC 9293", "denied-ipv4", l.out(to.MAC, l.tcp(vm.IPv4, to.IPv4, 40000, 22, false)))
	l.fromVM("UDP to a denied host", "RFC 768", "denied-ipv4", l.toVictim("plain"))
	l.fromVM("ping of a denied host", "RFC 792", "denied-ipv4", l.out(to.MAC, l.icmp(vm.IPv4, to.IPv4, 8, make([]byte, 12))))
	l.fromVM("a denied host behind the gateway's MAC address", "RFC 1812, 5.2.7.2", "denied-ipv4",
		l.out(l.Gateway.MAC, l.udp(vm.IPv4, to.IPv4, 40000, 53, "by the gateway")))
	l.fromVM("TCP over IPv6 to a denied host, link-local", "RFC 4291", "denied-ipv6", l.out(to.MAC, l.tcp(vm.Link, to.Link, 40000, 22, false)))
	l.fromVM("TCP over IPv6 to a denied host, global", "RFC 4291", "denied-ipv6", l.out(to.MAC, l.tcp(vm.IPv6, to.IPv6, 40000, 22, false)))
	l.fromVM("ping of a denied host over IPv6", "RFC 4443", "denied-ipv6", l.out(to.MAC, l.icmp(vm.IPv6, to.IPv6, 128, make([]byte, 12))))
}

// toVictim is a plain datagram to the denied host.
func (l *list) toVictim(text string) []byte {
	return l.out(l.Victim.MAC, l.udp(l.VM.IPv4, l.Victim.IPv4, 40000, 53, text))
}

func (l *list) toVictim6(text string) []byte {
	return l.out(l.Victim.MAC, l.udp(l.VM.Link, l.Victim.Link, 40000, 53, text))
}

// tagged puts VLAN tags between a frame's addresses and its EtherType.
func tagged(frame []byte, tags ...uint16) []byte {
	out := append([]byte(nil), frame[:12]...)
	for _, word := range tags {
		out = binary.BigEndian.AppendUint16(out, word)
	}
	return append(out, frame[12:]...)
}

func (l *list) tags() {
	for _, f := range []struct {
		name, reason string
		tags         []uint16
	}{
		{"VLAN 0 tag", "vlan", []uint16{0x8100, 0}},
		{"VLAN 0 tag with priority", "vlan", []uint16{0x8100, 0xe000}},
		{"VLAN 5 tag", "vlan", []uint16{0x8100, 5}},
		{"VLAN 4095 tag", "vlan", []uint16{0x8100, 4095}},
		{"802.1ad tag", "vlan", []uint16{0x88a8, 0}},
		{"two VLAN 0 tags", "vlan", []uint16{0x8100, 0, 0x8100, 0}},
		{"802.1ad tag, then VLAN 0", "vlan", []uint16{0x88a8, 0, 0x8100, 0}},
		{"three tags", "vlan", []uint16{0x88a8, 7, 0x8100, 0, 0x8100, 0}},
		{"old QinQ tag 0x9100", "ethertype", []uint16{0x9100, 0}},
	} {
		l.fromVM(f.name+", IPv4 to a denied host inside", cveVLAN0, f.reason, tagged(l.toVictim(f.name), f.tags...))
		l.fromVM(f.name+", IPv6 to a denied host inside", cveVLAN0, f.reason, tagged(l.toVictim6(f.name), f.tags...))
		l.fromVM(f.name+", ARP for a denied host inside", cveVLAN0, f.reason,
			tagged(ether(allHosts, l.VM.MAC, typeARP, l.request(l.VM, l.VM.IPv4, l.Victim.IPv4)), f.tags...))
		l.toVM(f.name+", IPv4 of a denied host inside", cveVLAN0, f.reason,
			tagged(l.in(l.Victim.MAC, l.udp(l.Victim.IPv4, l.VM.IPv4, 53, 40000, f.name)), f.tags...))
	}
	l.fromVM("VLAN 0 tag, rogue router advertisement inside", cveVLAN0, "vlan", tagged(l.out(groupMAC(allNodes), l.advert(l.VM.Link, allNodes)), 0x8100, 0))
}

// snap wraps a frame's packet in IEEE 802.2 LLC and SNAP headers (RFC 1042); its
// length may lie.
func snap(frame []byte, length int) []byte {
	body := append([]byte{0xaa, 0xaa, 0x03, 0, 0, 0}, frame[12:]...)
	if length == 0 {
		length = len(body)
	}
	return append(binary.BigEndian.AppendUint16(append([]byte(nil), frame[:12]...), uint16(length)), body...)
}

func (l *list) kinds() {
	request := ether(allHosts, l.VM.MAC, typeARP, l.request(l.VM, l.VM.IPv4, l.Victim.IPv4))
	advert := l.out(groupMAC(allNodes), l.advert(l.VM.Link, allNodes))
	l.fromVM("LLC/SNAP, IPv4 inside", cveSNAP, "llc", snap(l.toVictim("snap"), 0))
	l.fromVM("LLC/SNAP, IPv6 inside", cveSNAP, "llc", snap(l.toVictim6("snap"), 0))
	l.fromVM("LLC/SNAP, ARP inside", cveSNAP, "llc", snap(request, 0))
	l.fromVM("LLC/SNAP, rogue router advertisement inside", cveSNAP, "llc", snap(advert, 0))
	l.fromVM("LLC/SNAP with a length that lies", cveLength, "llc", snap(l.toVictim("liar"), 1), snap(advert, 1500))
	l.fromVM("VLAN 0 tag, then LLC/SNAP", "CVE-2021-27854", "vlan", tagged(snap(l.toVictim("both"), 0), 0x8100, 0))
	l.fromVM("LLC/SNAP, then a VLAN 0 tag", "CVE-2021-27862", "llc", snap(tagged(l.toVictim("both"), 0x8100, 0), 0))
	l.toVM("LLC/SNAP, IPv4 of a denied host inside", cveSNAP, "llc", snap(l.in(l.Victim.MAC, l.udp(l.Victim.IPv4, l.VM.IPv4, 53, 40000, "snap")), 0))

	stp := append([]byte{0x42, 0x42, 0x03}, make([]byte, 35)...)
	l.fromVM("STP: the VM as root bridge", "IEEE 802.1D, 9.3", "llc", ether([]byte{0x01, 0x80, 0xc2, 0, 0, 0}, l.VM.MAC, uint16(len(stp)), stp))
	for _, k := range []struct {
		name, source string
		dst          []byte
		kind         uint16
	}{
		{"LLDP", "IEEE 802.1AB", []byte{0x01, 0x80, 0xc2, 0, 0, 0x0e}, 0x88cc},
		{"EAPOL", "IEEE 802.1X", []byte{0x01, 0x80, 0xc2, 0, 0, 0x03}, 0x888e},
		{"pause frame", "IEEE 802.3, 31B", []byte{0x01, 0x80, 0xc2, 0, 0, 0x01}, 0x8808},
		{"MPLS", "RFC 3032", l.Victim.MAC, 0x8847},
		{"PPPoE discovery", "RFC 2516", allHosts, 0x8863},
		{"PPPoE session", "RFC 2516", l.Victim.MAC, 0x8864},
		{"reverse ARP", "RFC 903", allHosts, 0x8035},
		{"Wake-on-LAN", "AMD 20213", allHosts, 0x0842},
		{"MACsec", "IEEE 802.1AE", l.Victim.MAC, 0x88e5},
		{"TRILL", "RFC 6325", l.Victim.MAC, 0x22f3},
		{"PTP", "IEEE 1588", []byte{0x01, 0x1b, 0x19, 0, 0, 0}, 0x88f7},
		{"EtherType 0", "IEEE 802.3, 3.2.6", l.Victim.MAC, 0},
		{"EtherType 0xffff", "RFC 1701", l.Victim.MAC, 0xffff},
	} {
		reason := "ethertype"
		if k.kind < 0x600 {
			reason = "llc"
		}
		l.fromVM(k.name, k.source, reason, ether(k.dst, l.VM.MAC, k.kind, l.udp(l.VM.IPv4, l.Victim.IPv4, 40000, 53, k.name)))
	}
}

// short are frames that end too early, at every length, and the longest.
func (l *list) short() {
	cut := func(frame []byte) [][]byte {
		var all [][]byte
		for n := 14; n < len(frame); n++ {
			all = append(all, frame[:n:n])
		}
		return all
	}
	l.fromVM("IPv4 cut short, at every length", "RFC 791, 3.1", "malformed", cut(l.toVictim("to be cut"))...)
	l.fromVM("ARP cut short, at every length", "RFC 826", "arp-target", cut(l.out(l.Victim.MAC, l.request(l.VM, l.VM.IPv4, l.Victim.IPv4)))...)
	l.fromVM("ARP reply to the gateway cut short, at every length", "RFC 826", "arp-target", cut(l.out(l.Gateway.MAC, l.reply(l.VM, l.VM.IPv4, l.Gateway)))...)
	l.fromVM("IPv6 cut short, at every length", "RFC 8200, 3", "malformed", cut(l.toVictim6("to be cut"))...)
	l.fromVM("ICMPv6 cut short, at every length", "RFC 4443, 2.1", "malformed",
		cut(l.out(l.Victim.MAC, l.icmp(l.VM.Link, l.Victim.Link, 128, make([]byte, 20))))...)
	l.toVM("IPv4 of a denied host cut short, at every length", "RFC 791, 3.1", "denied-ipv4", cut(l.in(l.Victim.MAC, l.udp(l.Victim.IPv4, l.VM.IPv4, 1, 2, "to be cut")))...)
	l.toVM("IPv6 of a denied host cut short, at every length", "RFC 8200, 3", "denied-ipv6", cut(l.in(l.Victim.MAC, l.udp(l.Victim.Link, l.VM.Link, 1, 2, "to be cut")))...)
	l.fromVM("the longest frame", "IEEE 802.3, 3.2.7", "denied-ipv4", l.toVictim(string(make([]byte, 1472))))
}
