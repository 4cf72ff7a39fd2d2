package frame

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Words says in a line what a frame is, as far as it can be read: its MAC addresses from
// source to destination, VLAN tags, EtherType, addresses, protocol, ports and flags.
func Words(f []byte) string {
	if len(f) < 14 {
		return fmt.Sprintf("%d bytes, too few for a frame", len(f))
	}
	out := []string{fmt.Sprintf("%v > %v", net.HardwareAddr(f[6:12]), net.HardwareAddr(f[:6]))}
	kind, rest := binary.BigEndian.Uint16(f[12:]), f[14:]
	for (kind == 0x8100 || kind == 0x88a8) && len(rest) >= 4 {
		tag := "VLAN"
		if kind == 0x88a8 {
			tag = "802.1ad VLAN"
		}
		out = append(out, fmt.Sprintf("%s %d", tag, binary.BigEndian.Uint16(rest)&0x0fff))
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	switch {
	case kind == 0x0800:
		out = append(out, ipv4Words(rest)...)
	case kind == 0x86dd:
		out = append(out, ipv6Words(rest)...)
	case kind == 0x0806:
		out = append(out, arpWords(rest)...)
	case kind < 0x0600: // a length (IEEE 802.3, 3.2.6)
		out = append(out, "IEEE 802.2 LLC")
	default:
		out = append(out, fmt.Sprintf("EtherType 0x%04x", kind))
	}
	return strings.Join(out, ", ")
}

// Addresses gives the addresses that a frame is from and to, of ARP the sender's and the
// target's; of one that is neither ARP nor IP, or has a VLAN tag, none.
func Addresses(f []byte) (from, to netip.Addr) {
	at, size := 0, 4
	switch kind := typeOf(f); {
	case kind == 0x0800 && len(f) >= 14+20:
		at = 14 + 12
	case kind == 0x86dd && len(f) >= 14+40:
		at, size = 14+8, 16
	case kind == 0x0806 && len(f) >= 14+28: // behind the sender's address there is the target's MAC address
		from, _ = netip.AddrFromSlice(f[14+14 : 14+18])
		to, _ = netip.AddrFromSlice(f[14+24 : 14+28])
		return from, to
	default:
		return from, to
	}
	from, _ = netip.AddrFromSlice(f[at : at+size])
	to, _ = netip.AddrFromSlice(f[at+size : at+2*size])
	return from, to
}

func typeOf(f []byte) uint16 {
	if len(f) < 14 {
		return 0
	}
	return binary.BigEndian.Uint16(f[12:])
}

func between(from, to []byte) string {
	a, _ := netip.AddrFromSlice(from)
	b, _ := netip.AddrFromSlice(to)
	return fmt.Sprintf("%v > %v", a, b)
}

func arpWords(b []byte) []string {
	if len(b) < 28 || b[4] != 6 || b[5] != 4 {
		return []string{"ARP", "cut short or not of IPv4"}
	}
	what := "operation " + fmt.Sprint(binary.BigEndian.Uint16(b[6:]))
	switch binary.BigEndian.Uint16(b[6:]) {
	case 1:
		what = "request"
	case 2:
		what = "reply"
	}
	return []string{"ARP", what, between(b[14:18], b[24:28]), fmt.Sprintf("sender %v", net.HardwareAddr(b[8:14]))}
}

func ipv4Words(b []byte) []string {
	if len(b) < 20 || b[0]>>4 != 4 || b[0]&0x0f < 5 || len(b) < int(b[0]&0x0f)*4 {
		return []string{"IPv4", "header not right"}
	}
	out := []string{"IPv4", between(b[12:16], b[16:20])}
	if b[0]&0x0f > 5 {
		out = append(out, "with options")
	}
	where := binary.BigEndian.Uint16(b[6:])
	if offset := 8 * int(where&0x1fff); offset > 0 {
		return append(out, fmt.Sprintf("%s, fragment at %d", protocol(b[9]), offset))
	}
	if where&0x2000 != 0 {
		out = append(out, "first fragment")
	}
	return append(out, transport(b[9], b[int(b[0]&0x0f)*4:])...)
}

func ipv6Words(b []byte) []string {
	if len(b) < 40 || b[0]>>4 != 6 {
		return []string{"IPv6", "header not right"}
	}
	out := []string{"IPv6", between(b[8:24], b[24:40])}
	next, rest := b[6], b[40:]
	// Those that have a length of their own in their second byte (RFC 8200, 4).
	extensions := map[byte]string{0: "hop-by-hop options", 43: "routing header", 60: "destination options"}
	for len(rest) >= 8 {
		name, extension := extensions[next]
		switch {
		case extension:
			out = append(out, name)
			size := 8 * (int(rest[1]) + 1)
			next, rest = rest[0], rest[min(size, len(rest)):]
			continue
		case next == 44: // a fragment's header (RFC 8200, 4.5)
			offset := int(binary.BigEndian.Uint16(rest[2:]) &^ 7)
			if next = rest[0]; offset > 0 {
				return append(out, fmt.Sprintf("%s, fragment at %d", protocol(next), offset))
			}
			out, rest = append(out, "first fragment"), rest[8:]
			continue
		}
		break
	}
	return append(out, transport(next, rest)...)
}

func protocol(n byte) string {
	names := map[byte]string{
		icmp: "ICMP", 2: "IGMP", 4: "IPv4 in IP", tcp: "TCP", udp: "UDP", 41: "IPv6 in IP", 47: "GRE", 50: "ESP", 51: "AH", icmpv6: "ICMPv6", 132: "SCTP",
	}
	if name, known := names[n]; known {
		return name
	}
	return fmt.Sprintf("protocol %d", n)
}

func transport(proto byte, b []byte) []string {
	name := protocol(proto)
	switch {
	case (proto == icmp || proto == icmpv6) && len(b) >= 2:
		return []string{name + " " + icmpWords(proto, b)}
	case (proto == tcp || proto == udp || proto == 132) && len(b) >= 4:
		name += fmt.Sprintf(" %d > %d", binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]))
		if proto == tcp && len(b) >= 14 {
			name += " [" + flags(b[13]) + "]"
		}
	}
	return []string{name}
}

// flags gives TCP's (RFC 9293, 3.1).
func flags(b byte) string {
	var out []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if b&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, " ")
}

func icmpWords(proto byte, b []byte) string {
	names := map[byte]string{0: "echo reply", 3: "destination unreachable", 5: "redirect", 8: "echo request", 9: "router advertisement", 11: "time exceeded"}
	if proto == icmpv6 {
		names = map[byte]string{
			1: "destination unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem", 128: "echo request", 129: "echo reply",
			133: "router solicitation", 134: "router advertisement", 135: "neighbour solicitation", 136: "neighbour advertisement", 137: "redirect",
		}
	}
	text := fmt.Sprintf("type %d", b[0])
	if name, known := names[b[0]]; known {
		text = name
	}
	if target := (b[0] == 135 || b[0] == 136) && proto == icmpv6 && len(b) >= 24; target {
		a, _ := netip.AddrFromSlice(b[8:24])
		text += fmt.Sprintf(" for %v", a)
	}
	return text
}

// Kind says in a word or two what a frame is, as frames alike share it: without addresses and ports.
func Kind(f []byte) string {
	icmpOf := func(proto byte, at int) string {
		if len(f) < at+2 {
			return protocol(proto)
		}
		return protocol(proto) + " " + icmpWords(proto, f[at:at+2])
	}
	kind := typeOf(f)
	switch {
	case kind == 0x0800 && len(f) >= 14+20 && f[14+9] == icmp && binary.BigEndian.Uint16(f[14+6:])&0x1fff == 0:
		return icmpOf(icmp, 14+4*int(f[14]&0x0f))
	case kind == 0x0800 && len(f) >= 14+20:
		return protocol(f[14+9])
	case kind == 0x86dd && len(f) >= 14+40 && f[14+6] == icmpv6:
		return icmpOf(icmpv6, 14+40)
	case kind == 0x86dd && len(f) >= 14+40:
		return protocol(f[14+6])
	case kind == 0x0806:
		return "ARP"
	case kind == 0x8100 || kind == 0x88a8:
		return "VLAN"
	case kind < 0x0600:
		return "IEEE 802.2 LLC"
	}
	return fmt.Sprintf("EtherType 0x%04x", kind)
}

// Ports gives the protocol and ports of a datagram that has them, without extension headers and
// no later fragment.
func Ports(f []byte) (proto byte, from, to uint16, ok bool) {
	at := 14 + 40
	switch kind := typeOf(f); {
	case kind == 0x0800 && len(f) >= 14+20 && binary.BigEndian.Uint16(f[14+6:])&0x1fff == 0:
		proto, at = f[14+9], 14+4*int(f[14]&0x0f)
	case kind == 0x86dd && len(f) >= at:
		proto = f[14+6]
	}
	if proto != tcp && proto != udp && proto != 132 || len(f) < at+4 {
		return proto, 0, 0, false
	}
	return proto, binary.BigEndian.Uint16(f[at:]), binary.BigEndian.Uint16(f[at+2:]), true
}

// Target gives the address that a neighbour solicitation or advertisement is about (RFC 4861,
// 4.3, 4.4).
func Target(f []byte) netip.Addr {
	const at = 14 + 40
	if typeOf(f) != 0x86dd || len(f) < at+24 || f[14+6] != icmpv6 || f[at] != 135 && f[at] != 136 {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(f[at+8 : at+24])
	return a
}
