package main

import (
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// serialize puts layers together, with lengths and checksums.
func serialize(list ...gopacket.SerializableLayer) ([]byte, error) {
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, options, list...); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// overIP gives the Ethernet and IP layers of a packet; the IP layer is also
// what a checksum above it is made from.
func overIP(from, to net.HardwareAddr, source, destination netip.Addr, protocol layers.IPProtocol) (*layers.Ethernet, ipLayer) {
	ethernet := &layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: layers.EthernetTypeIPv4}
	if destination.Is4() {
		return ethernet, &layers.IPv4{
			Version: 4, IHL: 5, TTL: 64, Protocol: protocol,
			SrcIP: source.AsSlice(), DstIP: destination.AsSlice(),
		}
	}
	ethernet.EthernetType = layers.EthernetTypeIPv6
	return ethernet, &layers.IPv6{
		Version: 6, HopLimit: 255, NextHeader: protocol, // neighbour discovery insists on 255
		SrcIP: source.AsSlice(), DstIP: destination.AsSlice(),
	}
}

// An ipLayer is an IPv4 or IPv6 header.
type ipLayer interface {
	gopacket.SerializableLayer
	gopacket.NetworkLayer
}

// echo gives an echo request or reply of either family.
func echo(from, to net.HardwareAddr, source, destination netip.Addr, reply bool, id, seq uint16, data []byte) ([]byte, error) {
	if destination.Is4() {
		ethernet, ip := overIP(from, to, source, destination, layers.IPProtocolICMPv4)
		kind := uint8(layers.ICMPv4TypeEchoRequest)
		if reply {
			kind = layers.ICMPv4TypeEchoReply
		}
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: id, Seq: seq}
		return serialize(ethernet, ip, icmp, gopacket.Payload(data))
	}
	ethernet, ip := overIP(from, to, source, destination, layers.IPProtocolICMPv6)
	kind := uint8(layers.ICMPv6TypeEchoRequest)
	if reply {
		kind = layers.ICMPv6TypeEchoReply
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	return serialize(ethernet, ip, icmp, &layers.ICMPv6Echo{Identifier: id, SeqNumber: seq}, gopacket.Payload(data))
}

// sourceOf gives the address that a packet says it comes from.
func sourceOf(packet gopacket.Packet) netip.Addr {
	if ip, ok := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		return addrOf(ip.SrcIP)
	}
	if ip, ok := packet.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ok {
		return addrOf(ip.SrcIP)
	}
	return netip.Addr{}
}

// destinationOf gives the address that a packet is meant for.
func destinationOf(packet gopacket.Packet) netip.Addr {
	if ip, ok := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		return addrOf(ip.DstIP)
	}
	if ip, ok := packet.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ok {
		return addrOf(ip.DstIP)
	}
	return netip.Addr{}
}

// echoOf takes an echo request or reply out of a packet.
func echoOf(packet gopacket.Packet) (reply bool, id, seq uint16, data []byte, ok bool) {
	if icmp, is := packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); is {
		kind := icmp.TypeCode.Type()
		ok = kind == layers.ICMPv4TypeEchoRequest || kind == layers.ICMPv4TypeEchoReply
		return kind == layers.ICMPv4TypeEchoReply, icmp.Id, icmp.Seq, icmp.Payload, ok
	}
	icmp, is := packet.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if !is {
		return false, 0, 0, nil, false
	}
	body, is := packet.Layer(layers.LayerTypeICMPv6Echo).(*layers.ICMPv6Echo)
	if !is {
		return false, 0, 0, nil, false
	}
	return icmp.TypeCode.Type() == layers.ICMPv6TypeEchoReply, body.Identifier, body.SeqNumber, body.Payload, true
}

func addrOf(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}
