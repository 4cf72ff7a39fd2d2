package attack

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// A request is a virtio header (the virtio specification, 5.1.6, struct
// virtio_net_hdr): what the host is to do to the frame behind it. The numbers are
// in the order of the machine's bytes, as taps and packet sockets have them.
type request struct {
	flags, gso byte
	headers    uint16 // bytes of headers
	size       uint16 // of a segment's payload
	start      uint16 // of what the checksum is of
	offset     uint16 // where it belongs, from there
}

const (
	needsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

	segmentTCPv4  = 1 // VIRTIO_NET_HDR_GSO_TCPV4
	fragmentUDPv4 = 3 // VIRTIO_NET_HDR_GSO_UDP
	segmentTCPv6  = 4 // VIRTIO_NET_HDR_GSO_TCPV6
)

func (r request) before(frame []byte) []byte {
	out := []byte{r.flags, r.gso}
	for _, n := range []uint16{r.headers, r.size, r.start, r.offset} {
		out = binary.NativeEndian.AppendUint16(out, n)
	}
	return append(out, frame...)
}

// balance sets two bytes, at an even distance from start, so that the checksum of
// all from start on is sum.
func balance(frame []byte, start, at int, sum uint16) {
	copy(frame[at:], []byte{0, 0})
	both := uint32(^sum) + uint32(checksum(frame[start:]))
	binary.BigEndian.PutUint16(frame[at:], uint16(both+both>>16))
}

// stored gives a frame of which the host makes the attack by storing a checksum over
// the two bytes at a place, where first stands what is shown. The attack is the
// frame with a few more bytes behind its packet, which give the sum.
func stored(frame []byte, at int, shown ...byte) (attack, asked []byte) {
	const start = 20 // lower ones newer kernels refuse
	attack = append(frame[:len(frame):len(frame)], make([]byte, 2+len(frame)%2)...)
	behind := len(attack) - 2
	asked = append([]byte(nil), attack...)
	copy(asked[at:], shown)
	balance(asked, start, behind, binary.BigEndian.Uint16(attack[at:]))
	copy(attack[behind:], asked[behind:])
	return attack, request{flags: needsChecksum, start: start, offset: uint16(at - start)}.before(asked)
}

// offload is what a VM can have its host do to a frame that the rules have judged.
func (l *list) offload() {
	vm, victim, gateway, dns := l.VM, l.Victim, l.Gateway, l.DNS
	over := func(name string, frame []byte, at int, shown ...byte) {
		attack, asked := stored(frame, at, shown...)
		l.cases = append(l.cases, Case{
			Name: "checksum stored over " + name, Way: FromVM, Source: virtioSum, Reason: "offload",
			Frames: [][]byte{attack}, Requests: [][]byte{asked},
		})
	}
	own4, gateway4 := vm.IPv4.As4(), gateway.IPv4.As4()
	plain := l.toVictim("the checksum makes it so")
	byGateway := func(frame []byte) []byte { return append(append([]byte(nil), gateway.MAC...), frame[6:]...) }
	over("the IPv4 destination", byGateway(plain), 30, 192, 0)
	over("the end of the IPv4 destination", plain, 32, gateway4[2:]...)
	over("the middle of the IPv4 destination", byGateway(plain), 31, 0, 2)
	over("the IPv4 source", l.out(dns.MAC, l.udp(gateway.IPv4, dns.IPv4, 40000, 53, "in another's name")), 28, own4[2:]...)
	over("the IPv4 protocol", l.out(gateway.MAC, l.ip(vm.IPv4, gateway.IPv4, ipip, l.udp(vm.IPv4, victim.IPv4, 40000, 53, "inside"))), 22, 64, udp)
	redirect := changed(l.icmp(vm.IPv4, gateway.IPv4, 5, make([]byte, 32)), 6, 0x40, 0) // do not fragment
	over("the IPv4 fragment's offset", l.out(gateway.MAC, redirect), 20, 0, 1)
	over("the IPv6 destination", l.out(gateway.MAC, l.udp(vm.IPv6, victim.IPv6, 40000, 53, "the checksum makes it so")), 42, 0, 3)
	over("the end of the IPv6 destination", l.toVictim6("the checksum makes it so"), 52, 0, 1)
	advert := l.out(gateway.MAC, l.advert(vm.Link, gateway.Link))
	over("the IPv6 next header", advert, 20, udp, 255)
	over("the type of ICMPv6", advert, 54, 128, 0)
	group := solicited(victim.Link)
	over("the target of neighbour discovery", l.out(groupMAC(group), l.solicitation(vm.Link, group, victim.Link, macOption(sourceMAC, vm.MAC))), 76, 0, 1)
	over("the target of ARP", l.out(allHosts, l.request(vm, vm.IPv4, victim.IPv4)), 40, gateway4[2:]...)
	over("the sender's IP address in ARP", l.out(dns.MAC, l.reply(vm, gateway.IPv4, dns)), 30, own4[2:]...)
	other := vm
	other.MAC = append(append(net.HardwareAddr(nil), vm.MAC[:4]...), 0xde, 0xad)
	over("the sender's MAC address in ARP", l.out(allHosts, l.request(other, vm.IPv4, gateway.IPv4)), 26, vm.MAC[4:]...)
	over("the port of a DHCP server", l.out(gateway.MAC, l.udp(vm.IPv4, gateway.IPv4, 67, 4011, l.answer(layers.DHCPMsgTypeOffer, vm, victim, victim.IPv4))), 34, 0x9c, 0x40)

	// Of a frame of EtherType 0 that is to be cut up the kernel takes the other's
	// word for what it is: meta protocol says IPv4 of it.
	f := l.fragments(vm.IPv4, l.Web.IPv4)
	f.request.flags, f.request.start, f.request.offset = 0, 0, 0
	unknown := func(frame []byte) []byte { return append(append(frame[:12:12], 0, 0), frame[14:]...) }
	c := Case{Name: "EtherType 0, cut up as IPv4", Way: FromVM, Source: virtioSegments, Reason: "llc"}
	c.Requests = [][]byte{f.request.before(unknown(f.whole))}
	for _, frame := range f.pieces {
		c.Frames = append(c.Frames, unknown(frame))
	}
	l.cases = append(l.cases, c)
	l.disguised()
	l.tiny()
	l.cutLease()
}

// tiny is a datagram that the host cuts into fragments shorter than the eight bytes by
// which offsets count: the second is at the offset 0, too, and its ports are what the
// rules took for UDP's length and checksum (net/ipv4/af_inet.c, inet_gso_segment).
func (l *list) tiny() {
	const size = 4
	vm, gateway := l.VM, l.Gateway
	pseudo := join(vm.IPv4.AsSlice(), gateway.IPv4.AsSlice(), []byte{0, udp, 0, 8})
	whole := join(pseudo, []byte{0, 0, 0, 53, 0, 67, 0, 0})
	balance(whole, 0, len(pseudo), 68) // by the source port
	header := whole[len(pseudo):]
	header[7] = 68
	packet := l.ip(vm.IPv4, gateway.IPv4, udp, header)
	l.cases = append(l.cases, Case{
		Name: "UDP cut into fragments of four bytes, the second a DHCP server's", Way: FromVM, Source: virtioSegments, Reason: "offload",
		Frames:   [][]byte{l.out(gateway.MAC, l.ip(vm.IPv4, gateway.IPv4, udp, header[size:]))},
		Requests: [][]byte{request{gso: fragmentUDPv4, headers: 14 + 20 + 8, size: size}.before(l.out(gateway.MAC, packet))},
	})
}

// cutLease is a DHCP message that the host cuts up: whose it is, the server learns from
// another fragment, of which the VM may have sent it one before.
func (l *list) cutLease() {
	const size = 24
	packet := l.udp(l.VM.IPv4, l.Gateway.IPv4, 68, 67, l.ask(layers.DHCPMsgTypeRelease, l.VM.IPv4))
	first := changed(packet[:20+size], 2, 0, 20+size)
	l.cases = append(l.cases, Case{
		Name: "DHCP release cut into fragments", Way: FromVM, Source: virtioSegments, Reason: "offload",
		Frames:   [][]byte{l.out(l.Gateway.MAC, fragment(first, 0, true))},
		Requests: [][]byte{request{gso: fragmentUDPv4, headers: 14 + 20 + 8, size: size}.before(l.out(l.Gateway.MAC, packet))},
	})
	// The client's hardware address is not yet the one that the server reads.
	other := l.udp(l.VM.IPv4, l.Gateway.IPv4, 68, 67, l.dhcpMessage(layers.DHCPOpRequest, layers.DHCPMsgTypeRelease, append(append(net.HardwareAddr(nil), l.VM.MAC[:4]...), 0xde, 0xad), l.VM.IPv4, none4, none4))
	attack, asked := stored(l.out(l.Gateway.MAC, other), 14+20+8+28+4, l.VM.MAC[4:]...)
	l.cases = append(l.cases, Case{
		Name: "checksum stored over the client's address in DHCP", Way: FromVM, Source: virtioSum, Reason: "offload",
		Frames: [][]byte{attack}, Requests: [][]byte{asked},
	})
}

// disguised is a datagram that the rules take for a later fragment, whose ports nobody
// can know, and that the host cuts into fragments whose first one shows them.
func (l *list) disguised() {
	vm := l.VM
	const size = 400
	text := l.answer(layers.DHCPMsgTypeAck, vm, l.Victim, l.Web.IPv4) + string(make([]byte, 2*size))
	for _, to := range []struct {
		name   string
		mac    net.HardwareAddr
		ip     netip.Addr
		reason string
	}{{"in a denied host's frame", l.Victim.MAC, l.Web.IPv4, "next-hop"}, {"to the gateway", l.Gateway.MAC, l.Gateway.IPv4, "offload"}} {
		whole := l.udp(vm.IPv4, to.ip, 67, 68, text)
		c := Case{Name: "DHCP cut into fragments out of a later fragment, " + to.name, Way: FromVM, Source: virtioSegments, Reason: to.reason}
		asked := request{gso: fragmentUDPv4, headers: 14 + 20 + 8, size: size}
		c.Requests = [][]byte{asked.before(l.out(to.mac, changed(whole, 6, 0, 1)))}
		// The first of them; the others are later ones, as they were.
		first := changed(whole[:20+size], 2, byte((20+size)>>8), byte((20+size)&0xff))
		c.Frames = [][]byte{l.out(to.mac, fragment(first, 0, true))}
		l.cases = append(l.cases, c)
	}
}

const (
	virtioSum      = "virtio 1.2, 5.1.6.2"
	virtioSegments = "virtio 1.2, 5.1.6.2; linux/virtio_net.h"
)

// An offloaded is a frame of which the host makes others.
type offloaded struct {
	request request
	whole   []byte
	pieces  [][]byte
}

// unsummed is a frame of a protocol above IP with its checksum still to be stored,
// in the place where it belongs, and the request for that.
func unsummed(frame []byte, header, offset int) ([]byte, request) {
	out := append([]byte(nil), frame...)
	at := header + offset
	balance(out, header, at, binary.BigEndian.Uint16(frame[at:]))
	return out, request{flags: needsChecksum, start: uint16(header), offset: uint16(offset)}
}

const segmentSize = 1000

// segments is TCP to be cut up, and into what.
func (l *list) segments(src, dst netip.Addr) offloaded {
	payload := make([]byte, 2*segmentSize+500)
	for i := range payload {
		payload[i] = byte(i)
	}
	segment := func(n int, part []byte, last bool) []byte {
		h := &layers.TCP{SrcPort: 40000, DstPort: 443, Seq: uint32(1000 + n*segmentSize), Ack: 1, ACK: true, PSH: last, Window: 1000}
		packet := l.ip(src, dst, tcp, l.transport(src, dst, h, part))
		if src.Is4() {
			packet = changed(packet, 4, 0, byte(1+n)) // each has an identification of its own
		}
		return l.out(l.Web.MAC, packet)
	}
	var f offloaded
	headers, kind := 14+20, byte(segmentTCPv4)
	if src.Is6() {
		headers, kind = 14+40, segmentTCPv6
	}
	f.whole, f.request = unsummed(segment(0, payload, true), headers, 16)
	f.request.gso, f.request.size, f.request.headers = kind, segmentSize, uint16(headers+20)
	for n := 0; n*segmentSize < len(payload); n++ {
		end := min((n+1)*segmentSize, len(payload))
		f.pieces = append(f.pieces, segment(n, payload[n*segmentSize:end], end == len(payload)))
	}
	return f
}

// fragments is a datagram to be cut up, and into what.
func (l *list) fragments(src, dst netip.Addr) offloaded {
	send := func(packet []byte) []byte { return l.out(l.Web.MAC, packet) }
	packet := l.udp(src, dst, 40000, 443, string(make([]byte, 2000)))
	f := offloaded{pieces: l.large(src, dst, 40000, 443, send)[:2]}
	f.whole, f.request = unsummed(send(packet), 14+20, 6)
	f.request.gso, f.request.size, f.request.headers = fragmentUDPv4, firstFragment, 14+20+8
	return f
}

// offloads are the checksums and segments that an ordinary VM leaves to its host.
func (l *list) offloads() {
	vm, web := l.VM, l.Web
	sum := func(name, source string, packet []byte, header, offset int) {
		frame := l.out(web.MAC, packet)
		asked, r := unsummed(frame, 14+header, offset)
		l.cases = append(l.cases, Case{Name: name, Way: FromVM, Source: source, Frames: [][]byte{frame}, Requests: [][]byte{r.before(asked)}})
	}
	for _, f := range []struct {
		name      string
		near, far netip.Addr
		header    int
	}{{"IPv4", vm.IPv4, web.IPv4, 20}, {"IPv6", vm.IPv6, web.IPv6, 40}} {
		sum("TCP with a checksum to be stored, "+f.name, virtioSum, l.tcp(f.near, f.far, 40000, 443, false), f.header, 16)
		sum("UDP with a checksum to be stored, "+f.name, virtioSum, l.udp(f.near, f.far, 40000, 443, "datagram"), f.header, 6)
		// A VXLAN tunnel of the VM's own: the outer checksum is done, the inner one
		// is not.
		frame := ether(vm.MAC, web.MAC, typeIPv4, l.tcp(vm.IPv4, web.IPv4, 40000, 80, false))
		inner := append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, frame...)
		sum("VXLAN with a checksum to be stored inside, "+f.name, "RFC 7348", l.udp(f.near, f.far, 40000, 4789, string(inner)), f.header+8+8+14+20, 16)
		s := l.segments(f.near, f.far)
		l.cases = append(l.cases, Case{Name: "TCP to be cut up, " + f.name, Way: FromVM, Source: virtioSegments, Frames: s.pieces, Requests: [][]byte{s.request.before(s.whole)}})
	}
	options := l.ip(vm.IPv6, web.IPv6, dstOptions, join(optionsHeader(tcp, 2), l.tcp(vm.IPv6, web.IPv6, 40000, 443, false)[40:]))
	sum("TCP over IPv6 with a checksum to be stored, behind options", virtioSum, options, 40+16, 16)
	f := l.fragments(vm.IPv4, web.IPv4)
	l.cases = append(l.cases, Case{Name: "UDP to be cut into fragments", Way: FromVM, Source: virtioSegments, Frames: f.pieces, Requests: [][]byte{f.request.before(f.whole)}})
	discover := ether(allHosts, vm.MAC, typeIPv4, l.udp(none4, broadcast4, 68, 67, l.ask(layers.DHCPMsgTypeDiscover, none4)))
	asked, r := unsummed(discover, 14+20, 6)
	l.cases = append(l.cases, Case{Name: "DHCP discover with a checksum to be stored", Way: FromVM, Source: virtioSum, Frames: [][]byte{discover}, Requests: [][]byte{r.before(asked)}})
}
