package main

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A direction is a way through the macvtap device.
type direction string

const (
	fromVM direction = "from the VM"
	toVM   direction = "to the VM"
)

// A kind is a kind of frame: which way it goes, who is at its far end, and how
// long it is, Ethernet header included and checksum not.
type kind struct {
	way  direction
	peer string
	ipv6 bool
	size int
}

// The peers of kinds of frames.
const (
	internet = "internet"
	lanHost  = "allowed LAN host"
)

// kinds are what is sent. Nothing tells a shorter frame to a LAN host from a
// longer one but what an internet host's show already.
var kinds = []kind{
	{fromVM, internet, false, 64},
	{fromVM, internet, false, 1500},
	{fromVM, internet, true, 64},
	{fromVM, internet, true, 1500},
	{fromVM, lanHost, false, 64},
	{toVM, internet, false, 64},
	{toVM, internet, false, 1500},
	{toVM, internet, true, 64},
	{toVM, internet, true, 1500},
	{toVM, lanHost, false, 64},
}

func (k kind) family() string {
	if k.ipv6 {
		return "IPv6"
	}
	return "IPv4"
}

// frame builds a frame of the kind; allowed is the LAN host that the ruleset
// allows.
func (k kind) frame(allowed netip.Addr) ([]byte, error) {
	near, far := vm4, internet4
	switch {
	case k.ipv6:
		near, far = vm6, internet6
	case k.peer == lanHost:
		far = allowed
	}
	if k.way == toVM {
		return datagram(lanMAC, vmMAC, far, near, k.size)
	}
	return datagram(vmMAC, lanMAC, near, far, k.size)
}

// datagram builds a frame with a UDP datagram, filled up to size.
func datagram(from, to net.HardwareAddr, source, destination netip.Addr, size int) ([]byte, error) {
	ethernet := &layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: layers.EthernetTypeIPv4}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	} = &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
	headers := 14 + 20 + 8
	if destination.Is6() {
		ethernet.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
		headers = 14 + 40 + 8
	}
	udp := &layers.UDP{SrcPort: 40000, DstPort: 40001}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, fmt.Errorf("build a frame: %w", err)
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, options, ethernet, ip, udp, gopacket.Payload(make([]byte, size-headers))); err != nil {
		return nil, fmt.Errorf("build a frame: %w", err)
	}
	return buf.Bytes(), nil
}
