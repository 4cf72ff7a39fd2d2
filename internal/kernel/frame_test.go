package kernel_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var lanMAC = net.HardwareAddr{0x02, 0, 0, 0, 0x02, 0x4d}

// serialize builds a frame of layers, with lengths and checksums.
func serialize(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, options, all...); err != nil {
		t.Fatal(err)
	}
	frame := append([]byte(nil), buffer.Bytes()...)
	for len(frame) < 60 {
		frame = append(frame, 0)
	}
	return frame
}

// A way is a direction of traffic with the MAC addresses of its frames.
type way struct {
	name     string
	src, dst net.HardwareAddr
}

var (
	out = way{"from the VM", vmMAC, net.HardwareAddr(lan.GatewayMACs[0])}
	in  = way{"to the VM", lanMAC, vmMAC}
)

func (w way) ethernet(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: w.src, DstMAC: w.dst, EthernetType: kind}
}

// addresses puts the peer at the far end of a frame.
func (w way) addresses(peer string) (src, dst net.IP) {
	far := netip.MustParseAddr(peer)
	near := netip.MustParseAddr("203.0.113.7")
	if far.Is6() {
		near = netip.MustParseAddr("2001:db8:5::7")
	}
	if w.name == out.name {
		return near.AsSlice(), far.AsSlice()
	}
	return far.AsSlice(), near.AsSlice()
}

// ports gives the ports of a segment to or from a service of the peer.
func (w way) ports(service uint16) (src, dst uint16) {
	if w.name == out.name {
		return 40000, service
	}
	return service, 40000
}

func (w way) ip(peer string, proto layers.IPProtocol) (*layers.Ethernet, gopacket.NetworkLayer) {
	src, dst := w.addresses(peer)
	if netip.MustParseAddr(peer).Is4() {
		return w.ethernet(layers.EthernetTypeIPv4), &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: src, DstIP: dst}
	}
	return w.ethernet(layers.EthernetTypeIPv6), &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: src, DstIP: dst}
}

// udp is a datagram to or from a port of the peer.
func (w way) udp(t testing.TB, peer string, port uint16) []byte {
	t.Helper()
	eth, ip := w.ip(peer, layers.IPProtocolUDP)
	src, dst := w.ports(port)
	udp := &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, eth, ip.(gopacket.SerializableLayer), udp, gopacket.Payload("datagram"))
}

// tcp is a SYN to, or a SYN/ACK from, a port of the peer.
func (w way) tcp(t testing.TB, peer string, port uint16) []byte {
	t.Helper()
	eth, ip := w.ip(peer, layers.IPProtocolTCP)
	src, dst := w.ports(port)
	tcp := &layers.TCP{SrcPort: layers.TCPPort(src), DstPort: layers.TCPPort(dst), SYN: true, ACK: w.name == in.name, Window: 1000}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, eth, ip.(gopacket.SerializableLayer), tcp)
}

// tagged puts VLAN tags of the given TPIDs, all with VLAN identifier vid,
// between a frame's addresses and its EtherType.
func tagged(frame []byte, vid uint16, tpids ...uint16) []byte {
	var tags []byte
	for _, tpid := range tpids {
		tags = binary.BigEndian.AppendUint16(tags, tpid)
		tags = binary.BigEndian.AppendUint16(tags, vid)
	}
	return append(append(append([]byte(nil), frame[:12]...), tags...), frame[12:]...)
}

// snap wraps a frame's packet in IEEE 802.2 LLC and SNAP headers (RFC 1042).
func snap(frame []byte) []byte {
	body := append([]byte{0xaa, 0xaa, 0x03, 0, 0, 0}, frame[12:]...)
	length := binary.BigEndian.AppendUint16(nil, uint16(len(body)))
	return append(append(append([]byte(nil), frame[:12]...), length...), body...)
}

// typed gives a frame another EtherType.
func typed(frame []byte, kind uint16) []byte {
	out := append([]byte(nil), frame...)
	binary.BigEndian.PutUint16(out[12:], kind)
	return out
}

// fragment turns an IPv4 frame into a fragment at an offset, in units of eight
// bytes, with more to follow or not.
func fragment(frame []byte, offset uint16, more bool) []byte {
	out := append([]byte(nil), frame...)
	if more {
		offset |= 0x2000
	}
	binary.BigEndian.PutUint16(out[20:], offset)
	binary.BigEndian.PutUint16(out[24:], 0)
	sum := uint32(0)
	for i := 14; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(out[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(out[24:], ^uint16(sum))
	return out
}

// options puts IPv4 options, no-operations, before a datagram's payload.
func options(t testing.TB, w way, peer string) []byte {
	t.Helper()
	eth, ip := w.ip(peer, layers.IPProtocolUDP)
	ip4 := ip.(*layers.IPv4)
	ip4.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	udp := &layers.UDP{SrcPort: 1, DstPort: 2}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, eth, ip4, udp)
}
