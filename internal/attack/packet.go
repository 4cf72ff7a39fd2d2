package attack

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// The EtherTypes of IP and ARP (IEEE 802 numbers).
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeRARP = 0x8035
	typeIPv6 = 0x86dd
)

// The protocols above IP (IANA's protocol numbers).
const (
	hopByHop   = 0
	icmp       = 1
	igmp       = 2
	ipip       = 4
	tcp        = 6
	udp        = 17
	ipv6       = 41
	routing    = 43
	fragmented = 44
	gre        = 47
	icmp6      = 58
	dstOptions = 60
	etherIP    = 97
	sctp       = 132
)

var (
	allHosts   = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	none4      = netip.IPv4Unspecified()
	none6      = netip.IPv6Unspecified()
	broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	allNodes   = netip.IPv6LinkLocalAllNodes()
	allRouters = netip.IPv6LinkLocalAllRouters()
)

// ether is a frame.
func ether(dst, src net.HardwareAddr, kind uint16, packet []byte) []byte {
	frame := append(append([]byte(nil), dst...), src...)
	return append(binary.BigEndian.AppendUint16(frame, kind), packet...)
}

// out is a frame from the VM's MAC address, of the kind that its packet is.
func (l *list) out(dst net.HardwareAddr, packet []byte) []byte {
	return ether(dst, l.VM.MAC, kindOf(packet), packet)
}

// in is a frame from another's MAC address to the VM.
func (l *list) in(src net.HardwareAddr, packet []byte) []byte {
	return ether(l.VM.MAC, src, kindOf(packet), packet)
}

func kindOf(packet []byte) uint16 {
	switch packet[0] >> 4 {
	case 4:
		return typeIPv4
	case 6:
		return typeIPv6
	}
	return typeARP
}

// groupMAC is the MAC address of an IP group (RFC 1112, 6.4; RFC 2464, 7).
func groupMAC(a netip.Addr) net.HardwareAddr {
	if a == broadcast4 {
		return allHosts
	}
	b := a.AsSlice()
	if a.Is4() {
		return net.HardwareAddr{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// solicited is the group in which the owner of an address hears who looks for it
// (RFC 4291, 2.7.1).
func solicited(a netip.Addr) netip.Addr {
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	b := a.As16()
	copy(group[13:], b[13:])
	return netip.AddrFrom16(group)
}

// bytes writes layers out, with lengths and checksums.
func (l *list) bytes(all ...gopacket.SerializableLayer) []byte {
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, options, all...); err != nil {
		l.err = errors.Join(l.err, err)
		return make([]byte, 40)
	}
	return append([]byte(nil), buffer.Bytes()...)
}

// ip is a packet of either family.
func (l *list) ip(src, dst netip.Addr, proto byte, payload []byte) []byte {
	return l.bytes(header(src, dst, proto, 64), gopacket.Payload(payload))
}

// hops is an IPv6 packet with another hop limit.
func (l *list) hops(src, dst netip.Addr, proto, limit byte, payload []byte) []byte {
	return l.bytes(header(src, dst, proto, limit), gopacket.Payload(payload))
}

type ipHeader interface {
	gopacket.SerializableLayer
	gopacket.NetworkLayer
}

func header(src, dst netip.Addr, proto, hops byte) ipHeader {
	if src.Is4() {
		return &layers.IPv4{Version: 4, Id: 1, TTL: hops, Protocol: layers.IPProtocol(proto), SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	return &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocol(proto), SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
}

// transport writes a header above IP, for addresses that its checksum covers.
func (l *list) transport(src, dst netip.Addr, h interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}, payload []byte) []byte {
	if err := h.SetNetworkLayerForChecksum(header(src, dst, 0, 0)); err != nil {
		l.err = errors.Join(l.err, err)
	}
	return l.bytes(h, gopacket.Payload(payload))
}

// udp is a whole datagram.
func (l *list) udp(src, dst netip.Addr, from, to uint16, payload string) []byte {
	h := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}
	return l.ip(src, dst, udp, l.transport(src, dst, h, []byte(payload)))
}

// tcp is a segment that opens a connection, or, with ack, answers one.
func (l *list) tcp(src, dst netip.Addr, from, to uint16, ack bool) []byte {
	h := &layers.TCP{SrcPort: layers.TCPPort(from), DstPort: layers.TCPPort(to), SYN: true, ACK: ack, Window: 1000}
	return l.ip(src, dst, tcp, l.transport(src, dst, h, nil))
}

// message is an ICMP message of either family; body begins behind the checksum.
func (l *list) message(src, dst netip.Addr, kind byte, body []byte) []byte {
	if src.Is4() {
		b := append([]byte{kind, 0, 0, 0}, body...)
		binary.BigEndian.PutUint16(b[2:], checksum(b))
		return b
	}
	return l.transport(src, dst, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}, body)
}

// icmp is a packet that holds one.
func (l *list) icmp(src, dst netip.Addr, kind byte, body []byte) []byte {
	proto := byte(icmp)
	if src.Is6() {
		proto = icmp6
	}
	return l.ip(src, dst, proto, l.message(src, dst, kind, body))
}

// quote is the body of an ICMP error of either family about a packet, that asks for
// smaller ones where it is one to ask that; the packet is cut where such messages
// cut it (RFC 1812, 4.3.2.3; RFC 4443, 2.4).
func quote(mtu uint16, packet []byte) []byte {
	const most = 1280 - 40 - 8
	return join([]byte{0, 0, byte(mtu >> 8), byte(mtu)}, packet[:min(len(packet), most)])
}

// checksum is the internet's (RFC 1071).
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// changed is a copy of a packet with some bytes written over, and the checksum of
// its IPv4 header made right again.
func changed(packet []byte, at int, to ...byte) []byte {
	p := append([]byte(nil), packet...)
	copy(p[at:], to)
	if size := int(p[0]&0x0f) * 4; p[0]>>4 == 4 && size >= 20 && size <= len(p) {
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], checksum(p[:size]))
	}
	return p
}

// fragment makes an IPv4 packet a fragment at an offset of so many bytes.
func fragment(packet []byte, offset uint16, more bool) []byte {
	word := offset / 8
	if more {
		word |= 0x2000
	}
	return changed(packet, 6, byte(word>>8), byte(word))
}

// fragmentHeader is IPv6's (RFC 8200, 4.5), for an offset of so many bytes.
func fragmentHeader(next byte, offset uint16, more bool) []byte {
	word := offset
	if more {
		word |= 1
	}
	return []byte{next, 0, byte(word >> 8), byte(word), 0, 0, 0, 7}
}

// optionsHeader is an IPv6 header of options, padding alone, in units of eight
// bytes (RFC 8200, 4.2).
func optionsHeader(next byte, units int) []byte {
	h := make([]byte, 8*units)
	h[0], h[1] = next, byte(units-1)
	for at := 2; at < len(h); {
		size := min(len(h)-at-2, 255)
		h[at], h[at+1] = 1, byte(size)
		at += 2 + size
	}
	return h
}

// routingHeader sends a packet on to another host (RFC 8200, 4.4): type 0 (RFC
// 5095), 2 or 4 (RFC 8754).
func routingHeader(next, kind byte, to netip.Addr) []byte {
	h := []byte{next, 2, kind, 1, 0, 0, 0, 0}
	b := to.As16()
	return append(h, b[:]...)
}

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
