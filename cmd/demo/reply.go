package main

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// reply gives the frame with which a guest answers one; nil is silence. A guest
// answers to who asks for its MAC, and to ping.
func (v *vm) reply(packet gopacket.Packet) ([]byte, error) {
	if arp, ok := packet.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		if arp.Operation != layers.ARPRequest || !bytes.Equal(arp.DstProtAddress, v.addr4.AsSlice()) {
			return nil, nil
		}
		return v.arp(layers.ARPReply, v.addr4, arp.SourceHwAddress, arp.SourceProtAddress)
	}
	ethernet, ok := packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !ok {
		return nil, nil
	}
	if ask, ok := packet.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation); ok {
		target := addrOf(ask.TargetAddress)
		if !slices.Contains(v.addresses(), target) {
			return nil, nil
		}
		return v.advertise(target, ethernet.SrcMAC, sourceOf(packet))
	}
	to := destinationOf(packet)
	isReply, id, seq, data, ok := echoOf(packet)
	if !ok || isReply || !slices.Contains(v.addresses(), to) {
		return nil, nil
	}
	return echo(v.mac, ethernet.SrcMAC, to, sourceOf(packet), true, id, seq, data)
}

// arp gives an ARP frame of the VM's from an IPv4 address; with no MAC to send it to,
// it goes to everyone.
func (v *vm) arp(operation uint16, from netip.Addr, mac, address []byte) ([]byte, error) {
	target := mac
	if mac == nil {
		mac, target = layers.EthernetBroadcast, make([]byte, 6)
	}
	return serialize(
		&layers.Ethernet{SrcMAC: v.mac, DstMAC: mac, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
			HwAddressSize: 6, ProtAddressSize: 4, Operation: operation,
			SourceHwAddress: v.mac, SourceProtAddress: from.AsSlice(),
			DstHwAddress: target, DstProtAddress: address,
		},
	)
}

// The flags of a neighbour advertisement (RFC 4861, 4.4): it was asked for, and
// it counts for more than what was known.
const solicitedOverride = 0x60

// advertise gives the answer to who asked for one of the VM's IPv6 addresses.
func (v *vm) advertise(target netip.Addr, mac []byte, to netip.Addr) ([]byte, error) {
	ethernet, ip := overIP(v.mac, mac, target, to, layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	return serialize(ethernet, ip, icmp, &layers.ICMPv6NeighborAdvertisement{
		Flags:         solicitedOverride,
		TargetAddress: target.AsSlice(),
		Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: v.mac}},
	})
}
