package main

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// hop gives the address on the LAN that a packet to another goes to first.
func hop(to netip.Addr) netip.Addr {
	switch {
	case to.Is6() && to.IsLinkLocalUnicast(),
		hypervisor4.Masked().Contains(to), hypervisor6.Masked().Contains(to):
		return to
	case to.Is4():
		return gateway4
	default:
		return gateway6
	}
}

// resolve asks the LAN for an address's MAC. Where nobody answers and the asker
// is not patient, it gives the MAC all the same: who attacks may know it from
// elsewhere, and the rules must hold then too.
func (v *vm) resolve(ctx context.Context, to netip.Addr, patient bool) (net.HardwareAddr, error) {
	var found net.HardwareAddr
	came, done := v.expect(func(packet gopacket.Packet) bool {
		mac := answeredMAC(packet, to)
		if mac != nil {
			found = bytes.Clone(mac)
		}
		return mac != nil
	})
	defer done()
	frame, err := v.whoHas(to)
	if err != nil {
		return nil, err
	}
	patience := shortPatience / 2
	if patient {
		patience = longPatience
	}
	answered, err := attempt(ctx, patience, came, func() error { return v.tap.Send(frame) })
	switch {
	case err != nil:
		return nil, err
	case answered:
		return found, nil
	case patient:
		return nil, nil
	default:
		return v.scene.macs[to], nil
	}
}

// whoHas gives the frame that asks for an address's MAC.
func (v *vm) whoHas(address netip.Addr) ([]byte, error) {
	return v.whoHasFor(v.source(address), address)
}

// whoHasFor gives the same frame from an address; the unspecified one asks whether the
// other is free (RFC 5227, 2.1.1; RFC 4862, 5.4.2).
func (v *vm) whoHasFor(source, address netip.Addr) ([]byte, error) {
	if address.Is4() {
		return v.arp(layers.ARPRequest, source, nil, address.AsSlice())
	}
	group, mac := solicitedNode(address)
	ethernet, ip := overIP(v.mac, mac, source, group, layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	ask := &layers.ICMPv6NeighborSolicitation{TargetAddress: address.AsSlice()}
	if !source.IsUnspecified() {
		ask.Options = layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: v.mac}}
	}
	return serialize(ethernet, ip, icmp, ask)
}

// solicitedNode gives the group that an address's owner listens to, and the
// group's MAC (RFC 4291, 2.7.1; RFC 2464, 7).
func solicitedNode(address netip.Addr) (netip.Addr, net.HardwareAddr) {
	a := address.As16()
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], a[13:])
	return netip.AddrFrom16(group), net.HardwareAddr{0x33, 0x33, 0xff, a[13], a[14], a[15]}
}

// answeredMAC gives the MAC that a packet says an address has, or nil.
func answeredMAC(packet gopacket.Packet, address netip.Addr) net.HardwareAddr {
	if arp, ok := packet.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		if arp.Operation == layers.ARPReply && bytes.Equal(arp.SourceProtAddress, address.AsSlice()) {
			return arp.SourceHwAddress
		}
		return nil
	}
	advert, ok := packet.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if !ok || addrOf(advert.TargetAddress) != address {
		return nil
	}
	for _, option := range advert.Options {
		if option.Type == layers.ICMPv6OptTargetAddress {
			return option.Data
		}
	}
	return nil
}

// How long an answer is waited for: long where one should come and the machine
// may be busy, short where none should. Every question is asked again and again
// meanwhile.
const (
	longPatience = time.Minute
	askAgain     = 200 * time.Millisecond
)

var shortPatience = time.Second

// attempt asks until the answer came or patience ends.
func attempt(ctx context.Context, patience time.Duration, came <-chan struct{}, ask func() error) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		if err := ask(); err != nil {
			return false, err
		}
		select {
		case <-came:
			return true, nil
		case <-ctx.Done():
			return false, nil
		case <-again.C:
		}
	}
}
