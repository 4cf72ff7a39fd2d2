package kernel_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// A step of a story: a frame goes one way, and passes or does not.
type step struct {
	way way
	sample
	becomes []byte // what arrives instead
}

func sends(name string, frame []byte) step   { return step{way: out, sample: sample{name, frame, true}} }
func mayNotSend(name string, f []byte) step  { return step{way: out, sample: sample{name, f, false}} }
func hears(name string, frame []byte) step   { return step{way: in, sample: sample{name, frame, true}} }
func doesNotHear(name string, f []byte) step { return step{way: in, sample: sample{name, f, false}} }

// asks is the VM's first ARP request from an address, which becomes a probe for it.
func asks(t *testing.T, sender, target string) step {
	return step{way: out, sample: sample{"ARP, the first", arpOf(t, out, layers.ARPRequest, sender, target), true}, becomes: arpOf(t, out, layers.ARPRequest, "0.0.0.0", sender)}
}

// becomesOwn is how the VM takes an address that it asked for: it asks again after the detection time.
func becomesOwn(t *testing.T, sender, target string) []step {
	return []step{asks(t, sender, target), waits(600 * time.Millisecond), sends("ARP again", arpOf(t, out, layers.ARPRequest, sender, target))}
}

func waits(d time.Duration) step { return step{sample: sample{name: d.String()}} }
func arpOf(t *testing.T, w way, op uint16, sender, target string) []byte {
	dst := w.dst
	if op == layers.ARPRequest || sender == target {
		dst = layers.EthernetBroadcast
	}
	return serialize(t, way{w.name, w.src, dst}.ethernet(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: w.src, SourceProtAddress: netip.MustParseAddr(sender).AsSlice(),
		DstHwAddress: make([]byte, 6), DstProtAddress: netip.MustParseAddr(target).AsSlice(),
	})
}

// datagramFrom is a datagram of the VM's to the internet, from an address.
func datagramFrom(t *testing.T, address string) []byte {
	source := netip.MustParseAddr(address)
	udp := &layers.UDP{SrcPort: 40000, DstPort: 443}
	var ip gopacket.NetworkLayer = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: source.AsSlice(), DstIP: net.ParseIP("192.0.2.1")}
	kind := layers.EthernetTypeIPv4
	if source.Is6() {
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: source.AsSlice(), DstIP: net.ParseIP("2001:db8:ffff::1")}
		kind = layers.EthernetTypeIPv6
	}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, out.ethernet(kind), ip.(gopacket.SerializableLayer), udp, gopacket.Payload("datagram"))
}

// leases is what a DHCP server sends to the VM.
func leases(t *testing.T, kind layers.DHCPMsgType, server, client string, hardware net.HardwareAddr) []byte {
	return dhcp(t, in, server, client, &layers.DHCPv4{
		Operation: layers.DHCPOpReply, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, YourClientIP: net.ParseIP(client), ClientHWAddr: hardware,
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(kind)}), layers.NewDHCPOption(layers.DHCPOptServerID, netip.MustParseAddr(server).AsSlice()), layers.NewDHCPOption(layers.DHCPOptEnd, nil)},
	})
}

// renews is what the VM asks its server for an address that it has.
func renews(t *testing.T, address string) []byte {
	return dhcp(t, out, address, "192.168.2.1", &layers.DHCPv4{
		Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, ClientIP: net.ParseIP(address), ClientHWAddr: vmMAC,
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(layers.DHCPMsgTypeRequest)}), layers.NewDHCPOption(layers.DHCPOptEnd, nil)},
	})
}

// releases is what the VM tells the server.
func releases(t *testing.T, address string) []byte {
	return dhcp(t, out, address, "192.168.2.1", &layers.DHCPv4{
		Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, ClientIP: net.ParseIP(address), ClientHWAddr: vmMAC,
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(layers.DHCPMsgTypeRelease)}), layers.NewDHCPOption(layers.DHCPOptEnd, nil)},
	})
}

func dhcp(t *testing.T, w way, source, destination string, message *layers.DHCPv4) []byte {
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(source), DstIP: net.ParseIP(destination)}
	udp := &layers.UDP{SrcPort: 67, DstPort: 68}
	if w.name == out.name {
		udp = &layers.UDP{SrcPort: 68, DstPort: 67}
	}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, w.ethernet(layers.EthernetTypeIPv4), ip, udp, message)
}

// fromServer is what the VM sends to the internet from a DHCP server's port: a router may send
// it back.
func fromServer(t *testing.T, address string) []byte {
	frame := datagramFrom(t, address)
	binary.BigEndian.PutUint16(frame[14+20:], 67)
	return frame
}

// probes is duplicate address detection of an address, by whoever sends it, to the group
// of another address where that is not the same.
func probes(t *testing.T, w way, target, group string, options ...layers.ICMPv6Option) []byte {
	a, g := netip.MustParseAddr(target), netip.MustParseAddr(group).As16()
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.IPv6unspecified, DstIP: net.ParseIP(fmt.Sprintf("ff02::1:ff%02x:%02x%02x", g[13], g[14], g[15]))}
	return discovery(t, &layers.Ethernet{SrcMAC: w.src, DstMAC: net.HardwareAddr{0x33, 0x33, 0xff, g[13], g[14], g[15]}, EthernetType: layers.EthernetTypeIPv6}, ip,
		layers.ICMPv6TypeNeighborSolicitation, &layers.ICMPv6NeighborSolicitation{TargetAddress: a.AsSlice(), Options: options})
}

// coded gives a message of ICMPv6 another code, and the checksum that goes with it.
func coded(frame []byte) []byte {
	frame = bytes.Clone(frame)
	frame[14+40+1] = 1
	binary.BigEndian.PutUint16(frame[14+40+2:], binary.BigEndian.Uint16(frame[14+40+2:])-1)
	return frame
}

// advertises is an answer to such a probe.
func advertises(t *testing.T, w way, target string) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP(target), DstIP: net.ParseIP("ff02::1")}
	return discovery(t, &layers.Ethernet{SrcMAC: w.src, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6}, ip,
		layers.ICMPv6TypeNeighborAdvertisement, &layers.ICMPv6NeighborAdvertisement{
			Flags: 0x20, TargetAddress: net.ParseIP(target), Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: w.src}},
		})
}

func discovery(t *testing.T, eth *layers.Ethernet, ip *layers.IPv6, kind uint8, message gopacket.SerializableLayer) []byte {
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, eth, ip, icmp, message)
}

// TestBinding has a VM take addresses, in stories of frames each of which meets what the
// frames before have taught the rules.
func TestBinding(t *testing.T) {
	host := func(n int) string { return fmt.Sprintf("192.168.2.%d", n) }
	host6 := func(n int) string { return fmt.Sprintf("2001:db8:2::%x", n) }
	request, reply := uint16(layers.ARPRequest), uint16(layers.ARPReply)
	ack := layers.DHCPMsgTypeAck
	var many []step
	for i := range 8 {
		many = append(many, hears("a lease", leases(t, ack, host(1), host(200+i), vmMAC)))
	}
	many = append(many, sends("from the first", datagramFrom(t, host(200))), sends("from the eighth", datagramFrom(t, host(207))),
		hears("a ninth lease", leases(t, ack, host(1), host(208), vmMAC)), mayNotSend("from the ninth", datagramFrom(t, host(208))),
		hears("the first lease again", leases(t, ack, host(1), host(200), vmMAC)), sends("from the first", datagramFrom(t, host(200))))
	var claims []step
	for i := range 16 {
		claims = append(claims, sends("a probe", probes(t, out, host6(0x200+i), host6(0x200+i))))
	}
	claims = append(claims, sends("from the sixteenth", datagramFrom(t, host6(0x20f))), mayNotSend("a further probe", probes(t, out, host6(0x210), host6(0x210))),
		mayNotSend("from the seventeenth", datagramFrom(t, host6(0x210))), sends("the first probe again", probes(t, out, host6(0x200), host6(0x200))))
	heard := []step{doesNotHear("another host", advertises(t, in, host6(0x77)))}
	for range 16 {
		heard = append(heard, sends("a probe for its address", probes(t, out, host6(0x77), host6(0x77))))
	}
	heard = append(heard, mayNotSend("a seventeenth", probes(t, out, host6(0x77), host6(0x77))), mayNotSend("from its address", datagramFrom(t, host6(0x77))),
		mayNotSend("a probe for one that is free", probes(t, out, host6(0x200), host6(0x200))))
	var answers []step
	for range 4 {
		answers = append(answers, waits(200*time.Millisecond), mayNotSend("an answer", to(arpOf(t, out, reply, host(100), host(1)), net.HardwareAddr(lan.GatewayMACs[0]))))
	}
	nonce := layers.ICMPv6Option{Type: 14, Data: []byte{1, 2, 3, 4, 5, 6}}
	for _, story := range []struct {
		name, learn string
		steps       []step
		quick       time.Duration // it has to be over within the time that another host has to object
	}{
		{"the first address is the VM's own", "first", slices.Concat([]step{
			mayNotSend("a datagram, that nobody else hears", datagramFrom(t, host(100))),
			mayNotSend("ARP of a kind of its own", arpOf(t, out, 9, host(100), host(1))), mayNotSend("an answer", to(arpOf(t, out, reply, host(100), host(1)), net.HardwareAddr(lan.GatewayMACs[0]))),
			mayNotSend("ARP to one", to(arpOf(t, out, request, host(100), host(1)), net.HardwareAddr(lan.GatewayMACs[0]))),
		}, becomesOwn(t, host(100), host(1)), []step{
			mayNotSend("ARP from another address", arpOf(t, out, request, host(101), host(1))),
			mayNotSend("from another address", datagramFrom(t, host(101))),
			sends("from the first address", datagramFrom(t, host(100))),
		}), 0},
		{"the LAN has time to answer", "first", []step{
			asks(t, host(100), host(1)), mayNotSend("ARP again at once", arpOf(t, out, request, host(100), host(1))), mayNotSend("from it", datagramFrom(t, host(100))),
			waits(600 * time.Millisecond), mayNotSend("ARP for a denied host", arpOf(t, out, request, host(100), host(66))), sends("from it", datagramFrom(t, host(100))),
		}, 0},
		{"a VM that answers meanwhile", "first", slices.Concat([]step{asks(t, host(100), host(1))}, answers, []step{
			sends("ARP again", arpOf(t, out, request, host(100), host(1))), sends("from it", datagramFrom(t, host(100))),
		}), 0},
		{"the first address in an announcement", "first", slices.Concat(becomesOwn(t, host(100), host(100)), []step{
			sends("from it", datagramFrom(t, host(100))), mayNotSend("from another address", datagramFrom(t, host(101))),
			mayNotSend("an announcement of another", arpOf(t, out, request, host(101), host(101))),
		}), 0},
		{"another host answers the probe", "first", slices.Concat([]step{
			asks(t, host(77), host(1)), hears("an answer", arpOf(t, in, reply, host(77), "0.0.0.0")), waits(600 * time.Millisecond),
			mayNotSend("ARP again", arpOf(t, out, request, host(77), host(1))), mayNotSend("from the address", datagramFrom(t, host(77))),
		}, becomesOwn(t, host(100), host(1)), []step{sends("from its own", datagramFrom(t, host(100)))}), 0},
		{"another host answers, and a lease came meanwhile", "first", []step{
			asks(t, host(77), host(1)), hears("a lease", leases(t, ack, host(1), host(100), vmMAC)), hears("an answer", arpOf(t, in, reply, host(77), "0.0.0.0")),
			sends("from the lease", datagramFrom(t, host(100))), mayNotSend("ARP from a third", arpOf(t, out, request, host(101), host(1))),
		}, 0},
		{"what is never the VM's", "first", slices.Concat([]step{
			mayNotSend("from the gateway's", datagramFrom(t, host(1))), mayNotSend("from the name server's", datagramFrom(t, host(53))), mayNotSend("from the broadcast address", datagramFrom(t, host(255))),
			mayNotSend("from the host's", datagramFrom(t, host(10))), mayNotSend("from a link-local address", datagramFrom(t, "169.254.3.4")), mayNotSend("from a group's", datagramFrom(t, "224.0.0.5")),
			mayNotSend("ARP from the host's", arpOf(t, out, request, host(10), host(1))), mayNotSend("announcing the gateway's", arpOf(t, out, request, host(1), host(1))),
			mayNotSend("ARP from a container's", arpOf(t, out, request, "172.17.0.1", host(1))),
			mayNotSend("ARP from the network's", arpOf(t, out, request, host(0), host(1))),
		}, becomesOwn(t, host(100), host(1)), []step{sends("from its own", datagramFrom(t, host(100)))}), 0},
		{"what another host was heard to use", "first", slices.Concat([]step{
			doesNotHear("a host asks for the gateway", arpOf(t, in, request, host(77), host(1))), mayNotSend("in that host's name", datagramFrom(t, host(77))),
			mayNotSend("ARP in that host's name", arpOf(t, out, request, host(77), host(1))),
		}, becomesOwn(t, host(100), host(1)), []step{sends("from its own", datagramFrom(t, host(100)))}), 0},
		{"a probe, and its answer", "first", []step{
			sends("a probe", arpOf(t, out, request, "0.0.0.0", host(77))), hears("an answer", arpOf(t, in, reply, host(77), "0.0.0.0")), mayNotSend("from the address all the same", datagramFrom(t, host(77))),
			sends("another probe", arpOf(t, out, request, "0.0.0.0", host(100))), sends("the same again", arpOf(t, out, request, "0.0.0.0", host(100))),
			mayNotSend("an announcement at once", arpOf(t, out, request, host(100), host(100))), waits(600 * time.Millisecond), sends("an announcement", arpOf(t, out, request, host(100), host(100))), sends("from it", datagramFrom(t, host(100))),
			mayNotSend("a probe for another", arpOf(t, out, request, "0.0.0.0", host(78))), doesNotHear("an answer", arpOf(t, in, reply, host(78), "0.0.0.0")),
		}, 0},
		{"a probe does not count for the next one's group", "first", []step{
			sends("a probe", probes(t, out, host6(0x300), host6(0x300))), mayNotSend("another target's, to another group", probes(t, out, "2001:db8:2:0:1::300", host6(0x301))),
			mayNotSend("from it", datagramFrom(t, "2001:db8:2:0:1::300")),
		}, 0},
		{"another host objects at once", "first", slices.Concat(becomesOwn(t, host(100), host(1)), []step{
			hears("the other host", arpOf(t, in, request, host(100), host(100))),
			mayNotSend("from the address", datagramFrom(t, host(100))), asks(t, host(102), host(1)), mayNotSend("from a third", datagramFrom(t, host(103))),
		}), 1500 * time.Millisecond},
		{"another host objects later", "first", slices.Concat(becomesOwn(t, host(100), host(1)), []step{
			waits(1500 * time.Millisecond), hears("the other host", arpOf(t, in, request, host(100), host(100))),
			sends("from the address", datagramFrom(t, host(100))),
		}), 0},
		{"a lease", "dhcp", []step{
			mayNotSend("before it", datagramFrom(t, host(100))), hears("an offer", leases(t, layers.DHCPMsgTypeOffer, host(1), host(100), vmMAC)), mayNotSend("after the offer", datagramFrom(t, host(100))),
			hears("another client's", leases(t, ack, host(1), host(100), lanMAC)), mayNotSend("after another's", datagramFrom(t, host(100))),
			doesNotHear("a denied server's", leases(t, ack, host(66), host(100), vmMAC)), mayNotSend("after a denied server's", datagramFrom(t, host(100))),
			hears("an internet host's", leases(t, ack, "192.0.2.1", host(100), vmMAC)), mayNotSend("after an internet host's", datagramFrom(t, host(100))),
			hears("the gateway's address", leases(t, ack, host(1), host(1), vmMAC)), mayNotSend("in the gateway's name", datagramFrom(t, host(1))),
			hears("the lease", leases(t, ack, host(1), host(100), vmMAC)), sends("after it", datagramFrom(t, host(100))), mayNotSend("from another", datagramFrom(t, host(101))),
			sends("ARP", arpOf(t, out, request, host(100), host(1))), sends("a renewal", renews(t, host(100))), sends("a release", releases(t, host(100))), sends("soon after", datagramFrom(t, host(100))),
			mayNotSend("from another", datagramFrom(t, host(101))), mayNotSend("from a server's port to the internet", fromServer(t, host(100))),
		}, 0},
		{"a lease, where the first address would do", "first", []step{
			hears("the lease", leases(t, ack, host(1), host(100), vmMAC)), sends("after it", datagramFrom(t, host(100))), mayNotSend("from another", datagramFrom(t, host(101))),
			hears("a host that has the address", arpOf(t, in, reply, host(100), "0.0.0.0")), mayNotSend("after that", datagramFrom(t, host(100))),
			mayNotSend("ARP from another", arpOf(t, out, request, host(101), host(1))), hears("the next lease", leases(t, ack, host(1), host(101), vmMAC)), sends("from it", datagramFrom(t, host(101))),
		}, 8 * time.Second},
		{"a lease that another host has is no way to a second first address", "first", slices.Concat(becomesOwn(t, host(110), host(1)), []step{
			hears("a lease", leases(t, ack, host(1), host(100), vmMAC)), hears("who has it", arpOf(t, in, request, host(100), host(100))), mayNotSend("from it", datagramFrom(t, host(100))),
			mayNotSend("ARP from a third", arpOf(t, out, request, host(111), host(1))), sends("from the first", datagramFrom(t, host(110))),
		}), 8 * time.Second},
		{"a lease of an address that was heard of", "first", []step{
			doesNotHear("who had it", arpOf(t, in, request, host(100), host(1))), hears("the lease", leases(t, ack, host(1), host(100), vmMAC)), sends("from it", datagramFrom(t, host(100))),
		}, 0},
		{"a lease that was released, and is another's now", "first", []step{
			hears("the lease", leases(t, ack, host(1), host(100), vmMAC)), sends("a release", releases(t, host(100))), sends("ARP", arpOf(t, out, request, host(100), host(1))),
			hears("whose it is now", arpOf(t, in, request, host(100), host(100))), mayNotSend("from it", datagramFrom(t, host(100))),
		}, 0},
		{"a probe that not all hear", "first", []step{
			mayNotSend("a probe to one", to(arpOf(t, out, request, "0.0.0.0", host(77)), net.HardwareAddr(lan.GatewayMACs[0]))), asks(t, host(77), host(1)),
		}, 0},
		{"an address of another network", "first", slices.Concat(becomesOwn(t, "198.51.100.7", host(1)), []step{
			sends("from it", datagramFrom(t, "198.51.100.7")), mayNotSend("from another", datagramFrom(t, "198.51.100.8")),
		}), 0},
		{"many leases", "dhcp", many, 0},
		{"a lease that rules know nothing of", "dhcp", []step{
			sends("a renewal", renews(t, host(100))), mayNotSend("one in a frame for all", to(renews(t, host(100)), layers.EthernetBroadcast)),
			mayNotSend("a datagram", datagramFrom(t, host(100))), hears("the lease", leases(t, ack, host(1), host(100), vmMAC)), sends("a datagram", datagramFrom(t, host(100))),
		}, 0},
		{"a release is no way to the next address", "first", slices.Concat(becomesOwn(t, host(100), host(1)), []step{
			sends("a release", releases(t, host(100))), mayNotSend("ARP from another", arpOf(t, out, request, host(101), host(1))), sends("from the first", datagramFrom(t, host(100))),
		}), 0},
		{"a lease after the first address, and who has it", "first", slices.Concat(becomesOwn(t, host(101), host(1)), []step{
			hears("a lease", leases(t, ack, host(1), host(100), vmMAC)), sends("from it", datagramFrom(t, host(100))),
			hears("a host that has it", arpOf(t, in, reply, host(100), "0.0.0.0")), mayNotSend("from it then", datagramFrom(t, host(100))),
		}), 8 * time.Second},
		{"an address that was probed for", "first", []step{
			mayNotSend("before the probe", datagramFrom(t, host6(0x100))), sends("the probe", probes(t, out, host6(0x100), host6(0x100))), sends("after it", datagramFrom(t, host6(0x100))),
			mayNotSend("from another", datagramFrom(t, host6(0x101))), sends("a probe with a nonce", probes(t, out, host6(0x102), host6(0x102), nonce)), sends("from it", datagramFrom(t, host6(0x102))),
			mayNotSend("the gateway's", probes(t, out, "fe80::1", "fe80::1")), sends("of another network", probes(t, out, "2001:db8:9::1", "2001:db8:9::1")), mayNotSend("from it", datagramFrom(t, "2001:db8:9::1")),
			sends("announced", advertises(t, out, host6(0x100))), mayNotSend("announced, another's", advertises(t, out, host6(0x101))),
		}, 0},
		{"a probe that nobody hears", "first", []step{
			mayNotSend("to another group", probes(t, out, host6(0x100), host6(0x101))), mayNotSend("from it", datagramFrom(t, host6(0x100))),
			mayNotSend("of another code", coded(probes(t, out, host6(0x100), host6(0x100)))), mayNotSend("from it", datagramFrom(t, host6(0x100))),
			mayNotSend("with the option of an address", probes(t, out, host6(0x100), host6(0x100), layers.ICMPv6Option{Type: layers.ICMPv6OptSourceAddress, Data: vmMAC})),
			mayNotSend("from it", datagramFrom(t, host6(0x100))),
		}, 0},
		{"another host has the IPv6 address", "first", []step{
			sends("the probe", probes(t, out, host6(0x100), host6(0x100))), hears("the answer", advertises(t, in, host6(0x100))), mayNotSend("from it", datagramFrom(t, host6(0x100))),
			sends("a probe again, to be told again", probes(t, out, host6(0x100), host6(0x100))), mayNotSend("from it", datagramFrom(t, host6(0x100))),
		}, 800 * time.Millisecond},
		{"another host takes the IPv6 address, too", "first", []step{
			sends("the probe", probes(t, out, host6(0x100), host6(0x100))), hears("the other's probe", probes(t, in, host6(0x100), host6(0x100))), mayNotSend("from it", datagramFrom(t, host6(0x100))),
		}, 800 * time.Millisecond},
		{"another host wants the IPv6 address later", "first", []step{
			sends("the probe", probes(t, out, host6(0x100), host6(0x100))), waits(1500 * time.Millisecond),
			hears("the other's probe", probes(t, in, host6(0x100), host6(0x100))), sends("from it", datagramFrom(t, host6(0x100))), sends("the answer", advertises(t, out, host6(0x100))),
		}, 0},
		{"many IPv6 addresses", "first", claims, 0},
		{"many probes for a host's IPv6 address", "first", heard, 0},
	} {
		t.Run(story.name, func(t *testing.T) {
			for {
				n, tap := network(t)
				known := lan
				known.Host = []netip.Addr{netip.MustParseAddr(host(10))}
				create(t, n.Hypervisor, tablesBy(t, vm(vmUUID, tap.Name), fmt.Sprintf("[policy.default]\nlearn = %q", story.learn), known))
				began := time.Now()
				wrong := play(t, n, tap, story.steps)
				if story.quick > 0 && time.Since(began) > story.quick {
					continue // too busy a machine for the time that another host has to object
				}
				for _, w := range wrong {
					t.Error(w)
				}
				return
			}
		})
	}
}

// TestOwnerAnswers has the VM take the address of a host that is silent but for what its Linux
// answers: a request by ARP in its name tells it nothing that it would object to, a probe does.
func TestOwnerAnswers(t *testing.T) {
	n, tap := network(t)
	if _, err := n.AddHost("silent", otherMAC, netip.MustParsePrefix("192.168.2.77/24")); err != nil {
		t.Fatal(err)
	}
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), ""))
	plays(t, n, tap, slices.Concat([]step{
		asks(t, "192.168.2.77", "192.168.2.1"), waits(600 * time.Millisecond), mayNotSend("ARP again", arpOf(t, out, layers.ARPRequest, "192.168.2.77", "192.168.2.1")),
		mayNotSend("in the host's name", datagramFrom(t, "192.168.2.77")),
	}, becomesOwn(t, "192.168.2.78", "192.168.2.1"), []step{sends("from an address that nobody has", datagramFrom(t, "192.168.2.78"))}))
}

// TestIsolatedOwnerObjects has the owner of an address answer a VM to which only the gateway's MAC
// address may send.
func TestIsolatedOwnerObjects(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), "[policy.default]\nisolate = true"))
	plays(t, n, tap, []step{
		asks(t, "192.168.2.77", "192.168.2.1"), hears("the owner", arpOf(t, in, layers.ARPReply, "192.168.2.77", "0.0.0.0")), waits(600 * time.Millisecond),
		mayNotSend("ARP again", arpOf(t, out, layers.ARPRequest, "192.168.2.77", "192.168.2.1")), mayNotSend("in its name", datagramFrom(t, "192.168.2.77")),
	})
}

// TestBindingOutlivesRules changes the rules of a VM whose address was learned: it stays bound.
// What the configuration names takes its place, and what it names no more is not the VM's.
func TestBindingOutlivesRules(t *testing.T) {
	n, tap := network(t)
	of := func(policy string) []ruleset.Table {
		return boundIn(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), policy))
	}
	reconciles := func(policy string) {
		t.Helper()
		made := of(policy)
		if err := within(t, n.Hypervisor, func(ctx context.Context) error { return kernel.Reconcile(ctx, made, owned(vmUUID)) }); err != nil {
			t.Fatal(err)
		}
		if diff := ruleset.Diff("should", made[0], "stands", read(t, n.Hypervisor)[0].Table); diff != "" {
			t.Errorf("after %q:\n%s", policy, diff)
		}
	}
	from := func(host int) []byte { return datagramFrom(t, fmt.Sprintf("192.168.2.%d", host)) }
	create(t, n.Hypervisor, of(""))
	plays(t, n, tap, append(becomesOwn(t, "192.168.2.100", "192.168.2.1"), sends("from it", from(100)), mayNotSend("from another", from(101))))
	reconciles("[policy.default]\nserve = [\"tcp/443\"]")
	plays(t, n, tap, []step{mayNotSend("from another", from(101)), sends("from the first", from(100))})
	reconciles("[[vm]]\nname = \"*\"\naddresses = [\"192.168.2.7\", \"192.168.2.8\"]")
	plays(t, n, tap, []step{mayNotSend("from what was learned", from(100)), sends("from a named one", from(7)), sends("from the other", from(8))})
	reconciles("[[vm]]\nname = \"*\"\naddresses = [\"192.168.2.7\"]")
	plays(t, n, tap, []step{sends("from the named one", from(7)), mayNotSend("from what is named no more", from(8))})
	reconciles("")
	plays(t, n, tap, append(becomesOwn(t, "192.168.2.9", "192.168.2.1"), sends("from it", from(9)), mayNotSend("from another", from(10))))
}

// TestNewPrefix has the VM probe for addresses of a prefix before the rules know it: once they do,
// what it uses of these is its own, but for one that another host has.
func TestNewPrefix(t *testing.T) {
	n, tap := network(t)
	known := lan
	of := func() []ruleset.Table {
		return boundIn(t, n.Hypervisor, tablesBy(t, vm(vmUUID, tap.Name), "[policy.default]\nlearn = \"first\"", known))
	}
	create(t, n.Hypervisor, of())
	const its, taken, other = "2001:db8:9::100", "2001:db8:9::101", "2001:db8:9::102"
	plays(t, n, tap, []step{
		sends("a probe", probes(t, out, its, its)), sends("it again", probes(t, out, its, its)), mayNotSend("from it", datagramFrom(t, its)),
		sends("a probe for another's", probes(t, out, taken, taken)), hears("the answer", advertises(t, in, taken)), mayNotSend("to another group", probes(t, out, other, its)),
	})
	known.OnLink = append(slices.Clone(known.OnLink), netip.MustParsePrefix("2001:db8:9::/64"))
	if err := within(t, n.Hypervisor, func(ctx context.Context) error { return kernel.Reconcile(ctx, of(), owned(vmUUID)) }); err != nil {
		t.Fatal(err)
	}
	plays(t, n, tap, []step{
		sends("from it", datagramFrom(t, its)), mayNotSend("from another's", datagramFrom(t, taken)), mayNotSend("from what it did not probe for", datagramFrom(t, other)),
	})
}

// TestBindingIsKept has what the VM uses in ARP and ICMPv6 stay its own.
func TestBindingIsKept(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), "[policy.default]\nlearn = \"dhcp\""))
	nft(t, n.Hypervisor, `add element netdev macvtap-filter nic-addresses-ipv4 { "macvtap0" . 0xc0a80264 timeout 30d expires 1h }
add element netdev macvtap-filter nic-addresses-ipv6 { "macvtap0" . 0xfe800000000000000000000000000064 timeout 30d expires 1h }`, "-f", "-")
	left := func() (out []time.Duration) {
		err := within(t, n.Hypervisor, func(ctx context.Context) error {
			learned, err := kernel.Learned(ctx, "nic-addresses-ipv4", "nic-addresses-ipv6")
			for _, set := range []string{"nic-addresses-ipv4", "nic-addresses-ipv6"} {
				for _, e := range learned[set] {
					out = append(out, e.Left)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := left(); len(got) != 2 || got[0] > time.Hour || got[1] > time.Hour {
		t.Fatalf("left at first: %v", got)
	}
	plays(t, n, tap, []step{sends("ARP", arpOf(t, out, layers.ARPRequest, "192.168.2.100", "192.168.2.1")), sends("an advertisement", advertises(t, out, "fe80::64"))})
	for _, d := range left() {
		if d < 29*24*time.Hour {
			t.Errorf("%s left after its use", d)
		}
	}
}

// TestNamedAddresses has the VM's own be what its section says: addresses and prefixes, of one
// family by DHCP and of the other by probes.
func TestNamedAddresses(t *testing.T) {
	from := func(address string) []byte { return datagramFrom(t, address) }
	lease := leases(t, layers.DHCPMsgTypeAck, "192.168.2.1", "192.168.2.100", vmMAC)
	probe := probes(t, out, "2001:db8:2::100", "2001:db8:2::100")
	arp := func(sender string) []byte { return arpOf(t, out, layers.ARPRequest, sender, "192.168.2.1") }
	for _, test := range []struct {
		addresses string
		steps     []step
	}{
		{`"192.168.2.32/30", "2001:db8:2:0:1::/80"`, []step{
			sends("from the prefix", from("192.168.2.33")), sends("from its end", from("192.168.2.35")), mayNotSend("from beyond", from("192.168.2.36")),
			sends("ARP of the prefix", arp("192.168.2.34")), mayNotSend("ARP from beyond", arp("192.168.2.36")),
			hears("an answer to a probe", arpOf(t, in, layers.ARPReply, "192.168.2.33", "0.0.0.0")), doesNotHear("one of a denied host", arpOf(t, in, layers.ARPReply, "192.168.2.36", "0.0.0.0")),
			sends("from the IPv6 prefix", from("2001:db8:2:0:1::7")), mayNotSend("from beyond", from("2001:db8:2:0:2::7")),
			sends("a probe of the prefix", probes(t, out, "2001:db8:2:0:1::8", "2001:db8:2:0:1::8")), mayNotSend("a probe from beyond", probes(t, out, "2001:db8:2:0:2::8", "2001:db8:2:0:2::8")),
		}},
		{`"192.168.2.0/24", "fe80::/64"`, []step{
			sends("from the prefix", from("192.168.2.33")), mayNotSend("from the gateway's", from("192.168.2.1")), mayNotSend("from the name server's", from("192.168.2.53")),
			mayNotSend("ARP as the gateway", arp("192.168.2.1")), mayNotSend("an advertisement as the gateway", advertises(t, out, "fe80::1")),
		}},
		{`"192.168.2.32/30", "192.168.2.40/32"`, []step{
			sends("from the prefix", from("192.168.2.33")), sends("from the address", from("192.168.2.40")), mayNotSend("from another", from("192.168.2.41")), mayNotSend("IPv6, of which nothing is named", from("2001:db8:2::100")), sends("a probe", probe), sends("after it", from("2001:db8:2::100")),
		}},
		{`"dhcp", "2001:db8:2::5"`, []step{
			mayNotSend("before the lease", from("192.168.2.100")), hears("the lease", lease), sends("after it", from("192.168.2.100")),
			sends("from the address", from("2001:db8:2::5")), mayNotSend("a probe for another", probe), mayNotSend("from it", from("2001:db8:2::100")),
		}},
		{`"192.168.2.30", "dhcp", "2001:db8:2::5", "slaac"`, []step{
			sends("a probe for the named one", probes(t, out, "2001:db8:2::5", "2001:db8:2::5")), hears("another host that has it", advertises(t, in, "2001:db8:2::5")), sends("from it all the same", from("2001:db8:2::5")),
			sends("a release of the named one", releases(t, "192.168.2.30")), sends("from it all the same", from("192.168.2.30")),
		}},
		{`"192.168.2.30", "dhcp", "slaac"`, []step{
			sends("from the address", from("192.168.2.30")), mayNotSend("before the lease", from("192.168.2.100")), hears("the lease", lease), sends("after it", from("192.168.2.100")),
			mayNotSend("before the probe", from("2001:db8:2::100")), sends("the probe", probe), sends("after it", from("2001:db8:2::100")),
		}},
	} {
		t.Run(test.addresses, func(t *testing.T) {
			n, tap := network(t)
			create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), "[[vm]]\nname = \"*\"\naddresses = ["+test.addresses+"]"))
			plays(t, n, tap, test.steps)
		})
	}
}

// TestBindingByPolicy has policies say whose leases count, and how much a VM may probe.
func TestBindingByPolicy(t *testing.T) {
	use, probe := datagramFrom(t, "192.168.2.100"), probes(t, out, "2001:db8:2::100", "2001:db8:2::100")
	leaseOf := func(server string) []byte {
		return leases(t, layers.DHCPMsgTypeAck, server, "192.168.2.100", vmMAC)
	}
	var scan []step
	for i := range 16 {
		scan = append(scan, sends("a probe", arpOf(t, out, layers.ARPRequest, "0.0.0.0", fmt.Sprintf("192.168.2.%d", 120+i))))
	}
	scan = append(scan, mayNotSend("a seventeenth", arpOf(t, out, layers.ARPRequest, "0.0.0.0", "192.168.2.140")))
	for _, test := range []struct {
		name, policy string
		steps        []step
	}{
		{"a host that is allowed by another service", `learn = "dhcp"` + "\n" + `allow = ["gateway", "192.168.2.9 tcp/8000"]`, []step{doesNotHear("its lease", leaseOf("192.168.2.9")), mayNotSend("after it", use)}},
		{"a host that is allowed as a DHCP server", `learn = "dhcp"` + "\n" + `allow = ["gateway", "192.168.2.9 udp/67"]`, []step{hears("its lease", leaseOf("192.168.2.9")), sends("after it", use)}},
		{"a host that is allowed whole", `learn = "dhcp"` + "\n" + `allow = ["gateway", "192.168.2.9"]`, []step{hears("its lease", leaseOf("192.168.2.9")), sends("after it", use)}},
		{"an internet host that is allowed whole", `learn = "dhcp"` + "\n" + `allow = ["gateway", "192.0.2.9"]`, []step{hears("its lease", leaseOf("192.0.2.9")), mayNotSend("after it", use)}},
		{"nobody is denied", `learn = "dhcp"` + "\n" + `deny = []`, []step{hears("a lease of a host of the link", leaseOf("192.168.2.66")), mayNotSend("after it", use)}},
		{"neighbour discovery is not judged", `learn = "first"` + "\n" + `neighbours = "pass"`, slices.Concat([]step{
			mayNotSend("before the probe", datagramFrom(t, "2001:db8:2::100")), sends("the probe", probe), sends("after it", datagramFrom(t, "2001:db8:2::100")),
		}, becomesOwn(t, "192.168.2.100", "192.168.2.1"), []step{sends("after it", use), mayNotSend("from another", datagramFrom(t, "192.168.2.101"))})},
		{"many ARP probes", `learn = "first"`, scan},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, tap := network(t)
			create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), "[policy.default]\n"+test.policy))
			plays(t, n, tap, test.steps)
		})
	}
}

// TestBindingOfARunningVM has a VM whose rules come while it runs keep the addresses that it
// uses: it does not probe for them again.
func TestBindingOfARunningVM(t *testing.T) {
	n, tap := network(t)
	made := boundIn(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), ""))
	reconcile := func() {
		t.Helper()
		if err := within(t, n.Hypervisor, func(ctx context.Context) error { return kernel.Reconcile(ctx, made, owned(vmUUID)) }); err != nil {
			t.Fatal(err)
		}
	}
	reconcile()
	plays(t, n, tap, []step{
		sends("from its IPv4 address", datagramFrom(t, "192.168.2.100")), mayNotSend("from another", datagramFrom(t, "192.168.2.101")),
		sends("from an IPv6 address", datagramFrom(t, "2001:db8:2::100")), sends("from another", datagramFrom(t, "2001:db8:2::101")),
		mayNotSend("from the gateway's", datagramFrom(t, "fe80::1")), mayNotSend("from one of another network", datagramFrom(t, "2001:db8:9::1")),
	})
	if refused := fmt.Sprint(filter.Refused(read(t, n.Hypervisor)[0].Table)); refused != "[192.168.2.101]" {
		t.Errorf("told of as further addresses: %s", refused)
	}
	many := []step{}
	for i := range 20 {
		many = append(many, mayNotSend("from a further one", datagramFrom(t, fmt.Sprintf("192.168.2.%d", 110+i))))
	}
	plays(t, n, tap, append(many, hears("a lease all the same", leases(t, layers.DHCPMsgTypeAck, "192.168.2.1", "192.168.2.200", vmMAC)), sends("from it", datagramFrom(t, "192.168.2.200"))))
	reconcile()
	nft(t, n.Hypervisor, "flush set netdev macvtap-filter nic-running", "-f", "-") // the time is over
	reconcile()
	plays(t, n, tap, []step{sends("from the first", datagramFrom(t, "2001:db8:2::100")), mayNotSend("from a third", datagramFrom(t, "2001:db8:2::102"))})

	started, tap := network(t)
	create(t, started.Hypervisor, boundIn(t, started.Hypervisor, tables(t, vm(vmUUID, tap.Name), "")))
	plays(t, started, tap, []step{mayNotSend("of a VM that starts", datagramFrom(t, "2001:db8:2::100"))})
}

func plays(t *testing.T, n *lab.Network, tap *lab.Tap, steps []step) {
	t.Helper()
	for _, w := range play(t, n, tap, steps) {
		t.Error(w)
	}
}

// play sends the frames of a story, and gives what became otherwise of them than it should.
func play(t *testing.T, n *lab.Network, tap *lab.Tap, steps []step) (wrong []string) {
	t.Helper()
	for i, s := range steps {
		if s.frame == nil {
			d, _ := time.ParseDuration(s.name)
			time.Sleep(d)
			continue
		}
		send := n.FromVM
		switch {
		case s.way.name == in.name:
			send = n.ToVM
		case s.becomes != nil:
			send = func(tap *lab.Tap, frame []byte) (bool, error) {
				seen, err := n.Watch(func() error { return tap.Send(frame) })
				return err == nil && seen.OnWire(s.becomes) && !seen.OnWire(frame), err
			}
		}
		arrived, err := send(tap, s.frame)
		if err != nil {
			t.Fatalf("step %d, %s: %v", i+1, s.name, err)
		}
		if arrived != s.passes {
			wrong = append(wrong, fmt.Sprintf("step %d, %s: arrived: %v, want %v", i+1, s.name, arrived, s.passes))
		}
	}
	return wrong
}
