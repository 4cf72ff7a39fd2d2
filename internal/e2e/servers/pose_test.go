//go:build e2e

package servers

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/e2e/frames"
)

// token is text that no other frame carries.
func token() string { return fmt.Sprintf("token-%016x", rand.Uint64()) }

var everybody = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// frame serializes layers, with the payload behind them.
func frame(t *testing.T, payload string, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(all, gopacket.Payload(payload))...)
	if err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// datagram is one of the guest's, by UDP.
func datagram(t *testing.T, to net.HardwareAddr, src, dst netip.Addr, from, port uint16, payload string) []byte {
	t.Helper()
	udp := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(port)}
	if src.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		_ = udp.SetNetworkLayerForChecksum(ip) // fails for no IP layer alone
		return frame(t, payload, &layers.Ethernet{SrcMAC: guestMAC, DstMAC: to, EthernetType: layers.EthernetTypeIPv4}, ip, udp)
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return frame(t, payload, &layers.Ethernet{SrcMAC: guestMAC, DstMAC: to, EthernetType: layers.EthernetTypeIPv6}, ip, udp)
}

// poses are what a VM sends in the hidden host's name, each with the text: a datagram to the internet of either family,
// an ARP request of it for the gateway and an announcement.
func poses(t *testing.T, text string) map[string][]byte {
	t.Helper()
	arp := func(target netip.Addr) []byte {
		return frame(t, text, &layers.Ethernet{SrcMAC: guestMAC, DstMAC: everybody, EthernetType: layers.EthernetTypeARP}, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
			SourceHwAddress: guestMAC, SourceProtAddress: hidden4.Addr().AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: target.AsSlice(),
		})
	}
	return map[string][]byte{
		"IPv4 datagram":    datagram(t, gatewayMAC, hidden4.Addr(), internet4, 4000, echoPort, text),
		"IPv6 datagram":    datagram(t, gatewayMAC, hidden6.Addr(), internet6, 4000, echoPort, text),
		"ARP request":      arp(gateway4.Addr()),
		"ARP announcement": arp(hidden4.Addr()),
	}
}

// expectPoses fails unless all that the guest sends in the hidden host's name arrives on the LAN, or nothing of it.
func (g *guest) expectPoses(t *testing.T, about string, arrive bool) {
	t.Helper()
	texts := map[string]string{}
	for name := range poses(t, "") {
		texts[name] = token()
		if err := g.tap.Send(poses(t, texts[name])[name]); err != nil {
			t.Fatal(err)
		}
	}
	g.fence(t)
	for name, text := range texts {
		if got := g.site.wire.Count(func(f frames.Frame) bool { return f.Contains(text) }); (got > 0) != arrive {
			t.Errorf("%s: %s in another host's name: %d frames arrived, want any: %t", about, name, got, arrive)
		}
	}
}

// fence waits until what the guest sent before has arrived, if it ever does: what a client without an address may
// always send, a DHCP request that says nothing, has.
func (g *guest) fence(t *testing.T) {
	t.Helper()
	text := token()
	body := make([]byte, 236)
	body[0], body[1], body[2] = 1, 1, 6
	copy(body[28:], guestMAC)
	sent := datagram(t, everybody, netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255"), 68, 67, string(body)+text)
	await(t, "the last frame of several on the wire", func() bool {
		if err := g.tap.Send(sent); err != nil {
			t.Fatal(err)
		}
		return g.site.wire.Count(func(f frames.Frame) bool { return f.Contains(text) }) > 0
	})
}
