package kernel_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/attack"
)

// An entry is a policy and what it makes of some frames.
type entry struct {
	policy string
	frames []judged
}

// A judged frame passes, or is dropped and counted.
type judged struct {
	name    string
	way     way
	frame   []byte
	dropped string // the reason; "" for one that passes
}

// from is the VM's way with another source address.
func from(t *testing.T, source, peer string) []byte {
	t.Helper()
	frame := out.udp(t, peer, 53)
	ip := netip.MustParseAddr(source).AsSlice()
	if len(ip) == 16 {
		copy(frame[14+8:], ip)
		return frame
	}
	copy(frame[14+12:], ip)
	return fragment(frame, 0, false) // with its checksum
}

// answering is a TCP segment from a port of the VM's to a denied host, with flags.
func answering(t *testing.T, port uint16, flags byte) []byte {
	t.Helper()
	frame := out.tcp(t, "192.168.2.77", 40000)
	binary.BigEndian.PutUint16(frame[34:], port)
	frame[34+13] = flags
	return frame
}

// asking is a TCP segment of a denied host to a port of the VM's.
func asking(t *testing.T, port uint16) []byte {
	t.Helper()
	frame := in.tcp(t, "192.168.2.77", 40000)
	binary.BigEndian.PutUint16(frame[36:], port)
	return frame
}

// whoHas is an ARP request of the VM's.
func whoHas(t *testing.T, peer string) []byte {
	t.Helper()
	src, dst := out.addresses(peer)
	eth := out.ethernet(layers.EthernetTypeARP)
	eth.DstMAC = layers.EthernetBroadcast
	return serialize(t, eth, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: layers.ARPRequest, SourceHwAddress: out.src, SourceProtAddress: src, DstHwAddress: make([]byte, 6), DstProtAddress: dst,
	})
}

// to is a frame with another MAC address at its far end.
func to(frame []byte, mac net.HardwareAddr) []byte {
	return append(append([]byte(nil), mac...), frame[6:]...)
}

func entries(t *testing.T) []entry {
	const (
		ack    = 0x10
		syn    = 0x02
		synAck = 0x12
	)
	all := layers.EthernetBroadcast
	gateway := site().Gateway.MAC
	return []entry{
		{notLearned + "serve = [\"tcp/443\", \"udp/5000-5010\"]", []judged{
			{"connection to the service", in, asking(t, 443), ""},
			{"connection to another port", in, asking(t, 22), "denied-ipv4"},
			{"answer of the service", out, answering(t, 443, synAck), ""},
			{"data of the service", out, answering(t, 443, ack), ""},
			{"connection from the service's port", out, answering(t, 443, syn), "denied-ipv4"},
			{"answer of another port", out, answering(t, 22, synAck), "denied-ipv4"},
			{"answer of the service to all", out, to(answering(t, 443, synAck), all), "broadcast"},
			{"later fragment that reads like an answer", out, fragment(answering(t, 443, ack), 8, false), "denied-ipv4"},
			{"first fragment that ends before the flags", out, fragment(answering(t, 443, ack)[:42], 0, true), "malformed"},
		}},
		{notLearned + "[[vm]]\nname = \"web-1\"\naddresses = [\"192.168.2.100\", \"2001:db8:2::100\"]", []judged{
			{"own address", out, from(t, "192.168.2.100", "192.0.2.1"), ""},
			{"another's address, to the internet", out, from(t, "192.168.2.101", "192.0.2.1"), "spoofed-ip"},
			{"another's address, to the gateway", out, from(t, "192.168.2.101", "192.168.2.1"), "spoofed-ip"},
			{"own IPv6 address", out, from(t, "2001:db8:2::100", "2001:db8:ffff::1"), ""},
			{"another's IPv6 address", out, from(t, "2001:db8:2::101", "2001:db8:ffff::1"), "spoofed-ip"},
			{"the link-local address of its MAC address, to the gateway", out, from(t, "fe80::5054:ff:fe00:1", "fe80::1"), ""},
			{"another link-local address, to the gateway", out, from(t, "fe80::77", "fe80::1"), "spoofed-ip"},
			{"the gateway's address, to itself", out, from(t, "fe80::1", "fe80::1"), "spoofed-ip"},
		}},
		{notLearned + "[[vm]]\nname = \"web-1\"\naddresses = [\"192.168.2.100\", \"fe80::100\"]", []judged{
			{"own link-local address", out, from(t, "fe80::100", "fe80::1"), ""},
			{"another link-local address", out, from(t, "fe80::77", "fe80::1"), "spoofed-ip"},
			{"a global address, of which none is its own", out, from(t, "2001:db8:2::100", "2001:db8:ffff::1"), "spoofed-ip"},
		}},
		{notLearned + "[[vm]]\nname = \"web-1\"\naddresses = [\"2001:db8:2::100\"]", []judged{
			{"IPv4, of which no address is named", out, from(t, "192.168.2.100", "192.0.2.1"), ""},
			{"ARP, of which no address is named", out, whoHas(t, "192.168.2.1"), ""},
		}},
		{notLearned + "isolate = true\ngateway_macs = [\"" + gateway.String() + "\"]", []judged{
			{"the internet by the gateway", out, to(out.udp(t, "192.0.2.1", 53), gateway), ""},
			{"the internet by another host", out, to(out.udp(t, "192.0.2.1", 53), lanMAC), "isolated"},
			{"the name server by itself", out, to(out.udp(t, "192.168.2.53", 53), lanMAC), "isolated"},
			{"the name server by the gateway", out, to(out.udp(t, "192.168.2.53", 53), gateway), ""},
			{"the internet by another host, to the VM", in, in.udp(t, "192.0.2.1", 53), "isolated"},
			{"the gateway's address by another host", in, in.udp(t, "192.168.2.1", 53), "isolated"},
		}},
		{notLearned + "ipv6 = \"drop\"", []judged{
			{"IPv6 to the internet", out, out.udp(t, "2001:db8:ffff::1", 53), "ipv6"},
			{"IPv6 of the gateway", in, in.udp(t, "fe80::1", 53), "ipv6"},
			{"IPv4 to the internet", out, out.udp(t, "192.0.2.1", 53), ""},
		}},
		{notLearned + "allow = [\"gateway\", \"192.168.2.80 tcp/80\", \"fe80::80 udp/53\"]", []judged{
			{"the service", out, out.tcp(t, "192.168.2.80", 80), ""},
			{"the service's answer", in, in.tcp(t, "192.168.2.80", 80), ""},
			{"another port", out, out.tcp(t, "192.168.2.80", 81), "denied-ipv4"},
			{"another protocol", out, out.udp(t, "192.168.2.80", 80), "denied-ipv4"},
			{"a later fragment", out, fragment(out.tcp(t, "192.168.2.80", 80), 8, false), "fragment"},
			{"ARP for the service's host", out, whoHas(t, "192.168.2.80"), ""},
			{"ARP for its neighbour", out, whoHas(t, "192.168.2.81"), "arp-target"},
			{"the service, IPv6", out, out.udp(t, "fe80::80", 53), ""},
			{"another port, IPv6", out, out.udp(t, "fe80::80", 54), "denied-ipv6"},
			{"the name server, no more allowed", out, out.udp(t, "192.168.2.53", 53), "denied-ipv4"},
		}},
		{notLearned + "allow = [\"gateway\", \"broadcast udp/9\", \"224.0.0.251 udp/5353\"]", []judged{
			{"the broadcast service", out, to(out.udp(t, "192.168.2.255", 9), all), ""},
			{"the broadcast service, everywhere", out, to(out.udp(t, "255.255.255.255", 9), all), ""},
			{"another port", out, to(out.udp(t, "192.168.2.255", 10), all), "broadcast"},
			{"another port, everywhere", out, to(out.udp(t, "255.255.255.255", 10), all), "broadcast"},
			{"a later fragment", out, to(fragment(out.udp(t, "255.255.255.255", 9), 8, false), all), "broadcast"},
			{"the group", out, to(out.udp(t, "224.0.0.251", 5353), net.HardwareAddr{1, 0, 0x5e, 0, 0, 0xfb}), ""},
			{"another port of the group", out, to(out.udp(t, "224.0.0.251", 5354), net.HardwareAddr{1, 0, 0x5e, 0, 0, 0xfb}), "multicast"},
			{"another group", out, to(out.udp(t, "224.0.0.252", 5353), net.HardwareAddr{1, 0, 0x5e, 0, 0, 0xfc}), "multicast"},
		}},
	}
}

// TestEntries sends frames under policies: each passes, or is counted under its
// reason.
func TestEntries(t *testing.T) {
	for _, e := range entries(t) {
		t.Run(e.policy, func(t *testing.T) {
			n, tap := network(t)
			create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), e.policy))
			for _, f := range e.frames {
				if f.dropped == "" {
					crosses(t, n, tap, f.way, sample{f.name, f.frame, true})
					continue
				}
				c := attack.Case{Name: f.name, Way: attack.FromVM, Reason: f.dropped, Frames: [][]byte{f.frame}}
				if f.way.name == in.name {
					c.Way = attack.ToVM
				}
				dropped(t, n, tap, c)
			}
		})
	}
}
