package kernel_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/lab"
)

// A hearing is a frame that the VM hears from a MAC address which is no router's yet, and
// whether it is one from then on.
type hearing struct {
	name   string
	frame  []byte
	router bool
}

var newcomer = net.HardwareAddr{0x02, 0, 0, 0, 0x02, 0x02}

func hearings(t *testing.T) []hearing {
	arp := func(op uint16, inside net.HardwareAddr, sender string) []byte {
		eth := &layers.Ethernet{SrcMAC: newcomer, DstMAC: vmMAC, EthernetType: layers.EthernetTypeARP}
		if op == layers.ARPRequest {
			eth.DstMAC = layers.EthernetBroadcast
		}
		return serialize(t, eth, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
			SourceHwAddress: inside, SourceProtAddress: netip.MustParseAddr(sender).AsSlice(), DstHwAddress: vmMAC, DstProtAddress: site().VM.IPv4.AsSlice(),
		})
	}
	discovery := func(from string, kind uint8, message gopacket.SerializableLayer) []byte {
		ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: netip.MustParseAddr(from).AsSlice(), DstIP: site().VM.Link.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return serialize(t, &layers.Ethernet{SrcMAC: newcomer, DstMAC: vmMAC, EthernetType: layers.EthernetTypeIPv6}, ip, icmp, message)
	}
	advertisement := func(from, target string) []byte {
		return discovery(from, layers.ICMPv6TypeNeighborAdvertisement, &layers.ICMPv6NeighborAdvertisement{
			Flags: 0xe0, TargetAddress: netip.MustParseAddr(target).AsSlice(), Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: newcomer}},
		})
	}
	router := &layers.ICMPv6RouterAdvertisement{HopLimit: 64, RouterLifetime: 1800}
	return []hearing{
		{"ARP reply of the gateway", arp(layers.ARPReply, newcomer, "192.168.2.1"), true},
		{"ARP request of the gateway", arp(layers.ARPRequest, newcomer, "192.168.2.1"), true},
		{"neighbour advertisement of the gateway", advertisement("fe80::1", "fe80::1"), true},
		{"router advertisement of the gateway", discovery("fe80::1", layers.ICMPv6TypeRouterAdvertisement, router), true},
		{"ARP reply of a denied host", arp(layers.ARPReply, newcomer, "192.168.2.77"), false},
		{"ARP request of a denied host", arp(layers.ARPRequest, newcomer, "192.168.2.77"), false},
		{"ARP reply of an internet host", arp(layers.ARPReply, newcomer, "192.0.2.1"), false},
		{"ARP probe of nobody", arp(layers.ARPRequest, newcomer, "0.0.0.0"), false},
		{"ARP reply of the gateway, of another MAC address inside", arp(layers.ARPReply, lanMAC, "192.168.2.1"), false},
		{"neighbour advertisement of a denied host", advertisement("fe80::77", "fe80::77"), false},
		{"neighbour advertisement of an internet host", advertisement("2001:db8:ffff::1", "2001:db8:ffff::1"), false},
		{"router advertisement of a denied host", discovery("fe80::77", layers.ICMPv6TypeRouterAdvertisement, router), false},
		{"datagram from the internet", func() []byte { f := in.udp(t, "192.0.2.1", 53); copy(f[6:], newcomer); return f }(), false},
	}
}

// TestRouterIsHeard sends datagrams to the internet in a newcomer's frames before and
// after the VM has heard from it: a router that changes its MAC address, or a second one
// of a pair, is followed, by each family of its own, and nobody else becomes one.
func TestRouterIsHeard(t *testing.T) {
	for _, h := range hearings(t) {
		t.Run(h.name, func(t *testing.T) {
			n, tap := network(t)
			create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
			byNewcomer(t, n, tap, "before", 0)
			if _, err := n.ToVM(tap, h.frame); err != nil {
				t.Fatal(err)
			}
			family := layers.EthernetType(0)
			if h.router {
				family = layers.EthernetTypeIPv6
				if h.frame[13] == 0x06 { // ARP
					family = layers.EthernetTypeIPv4
				}
			}
			byNewcomer(t, n, tap, "after", family)
		})
	}
}

// byNewcomer sends datagrams of both families, of which one passes, or none.
func byNewcomer(t *testing.T, n *lab.Network, tap *lab.Tap, when string, passes layers.EthernetType) {
	t.Helper()
	for peer, family := range map[string]layers.EthernetType{"192.0.2.1": layers.EthernetTypeIPv4, "2001:db8:ffff::1": layers.EthernetTypeIPv6} {
		crosses(t, n, tap, out, sample{"datagram to " + peer + " " + when, to(out.udp(t, peer, 53), newcomer), family == passes})
	}
}
