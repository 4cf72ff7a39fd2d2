package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/bench"
)

// A request is what the sender of a frame asks of the kernel: the virtio header
// before it (the virtio specification, 5.1.6, struct virtio_net_hdr).
type request [10]byte

// segment asks to cut TCP up, and to sum up each piece: what a guest asks of its host.
func segment(ipv6 bool) request {
	const (
		needsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
		segmentTCPv4  = 1 // VIRTIO_NET_HDR_GSO_TCPV4
		segmentTCPv6  = 4 // VIRTIO_NET_HDR_GSO_TCPV6
		payload       = 1448 - 20
	)
	kind, start := byte(segmentTCPv4), uint16(14+20)
	if ipv6 {
		kind, start = segmentTCPv6, 14+40
	}
	r := request{needsChecksum, kind}
	for i, n := range []uint16{start + 20, payload, start, 16} {
		binary.NativeEndian.PutUint16(r[2+2*i:], n)
	}
	return r
}

// The ports that frames go to, from 40000.
const (
	udpPort = 40001
	tcpPort = 443
)

// build builds a frame of a kind with its request before it; allowed is the LAN host
// that the ruleset allows.
func build(f bench.Frame, mac net.HardwareAddr, allowed netip.Addr) ([]byte, error) {
	near, far := vm4, internet4
	switch {
	case f.IPv6:
		near, far = vm6, internet6
	case f.Peer == bench.LANHost:
		far = allowed
	}
	from, to, source, destination := mac, lanMAC, near, far
	if f.Way == bench.ToVM {
		from, to, source, destination = lanMAC, mac, far, near
	}
	var ask request
	if f.Size == bench.Large {
		ask = segment(f.IPv6)
	}
	frame, err := packet(from, to, source, destination, f.Size)
	return append(ask[:], frame...), err
}

// checksum asks to sum up a segment: what a Linux guest asks of its host for all of its own.
func checksum(ipv6 bool) request {
	r := segment(ipv6)
	r[1] = 0 // nothing is to be cut up
	return r
}

// A transport is a header behind that of IP.
type transport interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

// packet builds a frame with a UDP datagram, or a TCP segment if it is to be cut up,
// filled up to size.
func packet(from, to net.HardwareAddr, source, destination netip.Addr, size int) ([]byte, error) {
	if size == bench.Large {
		return filled(from, to, source, destination, &layers.TCP{SrcPort: 40000, DstPort: tcpPort, Seq: 1000, Ack: 1, ACK: true, Window: 1000}, size)
	}
	return filled(from, to, source, destination, &layers.UDP{SrcPort: 40000, DstPort: udpPort}, size)
}

// filled builds a frame with a payload up to size.
func filled(from, to net.HardwareAddr, source, destination netip.Addr, behind transport, size int) ([]byte, error) {
	protocol, headers := layers.IPProtocolUDP, 14+20+8
	if behind.LayerType() == layers.LayerTypeTCP {
		protocol, headers = layers.IPProtocolTCP, 14+20+20
	}
	ethernet := &layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: layers.EthernetTypeIPv4}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	} = &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: protocol, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
	if destination.Is6() {
		ethernet.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
		headers += 20
	}
	if err := behind.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, fmt.Errorf("build a frame: %w", err)
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, options, ethernet, ip, behind, gopacket.Payload(make([]byte, max(size-headers, 0)))); err != nil {
		return nil, fmt.Errorf("build a frame: %w", err)
	}
	return buf.Bytes(), nil
}
