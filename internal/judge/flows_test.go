package judge_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/ruleset"
)

// A step is one frame, and what becomes of it after those before.
type step struct {
	about  string
	after  time.Duration // since the step before
	hook   ruleset.HookType
	packet []byte
	passes bool
}

// The VM and whom it talks to. An address stands for both families: its IPv6 one is made of it.
const (
	vmHost     = "203.0.113.7"
	webHost    = "198.51.100.9" // of the internet
	adminHost  = "198.51.100.22"
	deniedHost = "192.168.2.66"
	gateway    = "192.168.2.1"
	nobody     = "0.0.0.0" // who asks for an address
	servers    = "255.255.255.255"
	group      = "224.0.0.251"
	allHosts   = "224.0.0.1"
)

const (
	in  = ruleset.Ingress
	out = ruleset.Egress
)

// A stack makes the packets of one family.
type stack struct {
	t    *testing.T
	ipv6 bool
}

var sixth = map[string]string{vmHost: "2001:db8:5::7", webHost: "2001:db8:f::9", adminHost: "2001:db8:f::22", deniedHost: "2001:db8:2::66", gateway: "fe80::1",
	nobody: "fe80::5054:ff:fe00:1", servers: "ff02::1:2", group: "ff02::fb", allHosts: "ff02::1"}

func (s stack) addr(a string) net.IP {
	if s.ipv6 {
		a = sixth[a]
	}
	return netip.MustParseAddr(a).AsSlice()
}

func (s stack) header(from, to string, proto layers.IPProtocol) interface {
	gopacket.SerializableLayer
	gopacket.NetworkLayer
} {
	if s.ipv6 {
		return &layers.IPv6{Version: 6, HopLimit: 60, NextHeader: proto, SrcIP: s.addr(from), DstIP: s.addr(to)}
	}
	return &layers.IPv4{Version: 4, IHL: 5, TTL: 60, Id: 77, Flags: layers.IPv4DontFragment, Protocol: proto, SrcIP: s.addr(from), DstIP: s.addr(to)}
}

func (s stack) bytes(all ...gopacket.SerializableLayer) []byte {
	s.t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		s.t.Fatal(err)
	}
	return append([]byte(nil), buffer.Bytes()...)
}

// tcp is a segment with flags, as "SA" for SYN and ACK.
func (s stack) tcp(from, to string, sport, dport uint16, flags string) []byte {
	ip := s.header(from, to, layers.IPProtocolTCP)
	h := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Window: 1000, Seq: 1, Ack: 1}
	for _, f := range flags {
		switch f {
		case 'S':
			h.SYN = true
		case 'A':
			h.ACK = true
		case 'F':
			h.FIN = true
		case 'R':
			h.RST = true
		case 'P':
			h.PSH = true
		}
	}
	_ = h.SetNetworkLayerForChecksum(ip)
	return s.bytes(ip, h)
}

func (s stack) udp(from, to string, sport, dport uint16) []byte {
	ip := s.header(from, to, layers.IPProtocolUDP)
	h := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	_ = h.SetNetworkLayerForChecksum(ip)
	return s.bytes(ip, h, gopacket.Payload("0123456789abcdef"))
}

func (s stack) echo(from, to string, reply bool, id uint16) []byte {
	if s.ipv6 {
		kind := uint8(layers.ICMPv6TypeEchoRequest)
		if reply {
			kind = layers.ICMPv6TypeEchoReply
		}
		ip := s.header(from, to, layers.IPProtocolICMPv6)
		h := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
		_ = h.SetNetworkLayerForChecksum(ip)
		return s.bytes(ip, h, &layers.ICMPv6Echo{Identifier: id, SeqNumber: 1}, gopacket.Payload("ping"))
	}
	kind := uint8(layers.ICMPv4TypeEchoRequest)
	if reply {
		kind = layers.ICMPv4TypeEchoReply
	}
	return s.bytes(s.header(from, to, layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: id, Seq: 1}, gopacket.Payload("ping"))
}

// tooBig is a router's error about a packet.
func (s stack) tooBig(from, to string, about []byte) []byte {
	if s.ipv6 {
		ip := s.header(from, to, layers.IPProtocolICMPv6)
		h := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0)}
		_ = h.SetNetworkLayerForChecksum(ip)
		return s.bytes(ip, h, gopacket.Payload(append([]byte{0, 0, 5, 0}, about...)))
	}
	return s.bytes(s.header(from, to, layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: 1300}, gopacket.Payload(about))
}

// flags is a segment with flags of its header as they are.
func (s stack) flags(from, to string, sport, dport uint16, flags byte) []byte {
	p := s.tcp(from, to, sport, dport, "")
	p[len(p)-20+13] = flags
	return p
}

// asks is what a DHCP client sends.
func (s stack) asks(from, to string) []byte {
	client, server := layers.UDPPort(68), layers.UDPPort(67)
	var message gopacket.SerializableLayer = &layers.DHCPv4{
		Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, ClientIP: s.addr(from), ClientHWAddr: vmMAC,
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(layers.DHCPMsgTypeRequest)}), layers.NewDHCPOption(layers.DHCPOptEnd, nil)},
	}
	if s.ipv6 {
		client, server, message = 546, 547, &layers.DHCPv6{MsgType: layers.DHCPv6MsgTypeSolicit, TransactionID: []byte{1, 2, 3}}
	}
	ip := s.header(from, to, layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: client, DstPort: server}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return s.bytes(ip, udp, message)
}

// serves is a datagram between the ports of a DHCP server and its client.
func (s stack) serves(from, to string) []byte {
	if s.ipv6 {
		return s.udp(from, to, 547, 546)
	}
	return s.udp(from, to, 67, 68)
}

// routes is how a router tells of itself, and asks who listens to groups.
func (s stack) routes() []byte {
	if !s.ipv6 {
		ip := &layers.IPv4{Version: 4, TTL: 1, Protocol: layers.IPProtocolIGMP, SrcIP: s.addr(gateway), DstIP: s.addr(allHosts)}
		return s.bytes(ip, gopacket.Payload([]byte{0x11, 0, 0xee, 0xff, 0, 0, 0, 0}))
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: s.addr(gateway), DstIP: s.addr(allHosts)}
	h := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeRouterAdvertisement, 0)}
	_ = h.SetNetworkLayerForChecksum(ip)
	return s.bytes(ip, h, &layers.ICMPv6RouterAdvertisement{HopLimit: 64, RouterLifetime: 1800})
}

// other is a datagram of a protocol of which rules know no flows.
func (s stack) other(from, to string) []byte {
	const esp = 50
	return s.bytes(s.header(from, to, esp), gopacket.Payload("0123456789abcdef0123456789abcdef"))
}

// pieces cuts a datagram in two.
func (s stack) pieces(packet []byte) (first, second []byte) {
	if s.ipv6 {
		const header = 40
		cut := func(offset, from, to int, more byte) []byte {
			fragment := append([]byte{packet[6], 0, byte(offset >> 8), byte(offset) | more, 0, 0, 0, 7}, packet[header+from:header+to]...)
			p := append(append([]byte(nil), packet[:header]...), fragment...)
			p[4], p[5], p[6] = byte(len(fragment)>>8), byte(len(fragment)), 44
			return p
		}
		return cut(0, 0, 16, 1), cut(16, 16, len(packet)-header, 0)
	}
	const header = 20
	cut := func(offset, from, to int, more byte) []byte {
		p := append(append([]byte(nil), packet[:header]...), packet[header+from:header+to]...)
		p[2], p[3], p[6], p[7] = byte(len(p)>>8), byte(len(p)), more, byte(offset/8)
		p[10], p[11] = 0, 0
		sum := uint32(0)
		for i := 0; i < header; i += 2 {
			sum += uint32(p[i])<<8 | uint32(p[i+1])
		}
		sum = sum&0xffff + sum>>16
		sum = sum&0xffff + sum>>16
		p[10], p[11] = byte(^sum>>8), byte(^sum)
		return p
	}
	return cut(0, 0, 16, 0x20), cut(16, 16, len(packet)-header, 0)
}

// framed puts a packet into a frame between the VM and the router.
func framed(hook ruleset.HookType, packet []byte) []byte {
	router := lan().GatewayMACs[0]
	frame := append(append([]byte(nil), router...), vmMAC...)
	if hook == in {
		frame = append(append([]byte(nil), vmMAC...), router...)
	}
	kind := []byte{0x08, 0x00}
	switch {
	case packet[0]>>4 == 6:
		kind = []byte{0x86, 0xdd}
		if packet[24] == 0xff {
			copy(frame, append([]byte{0x33, 0x33}, packet[36:40]...))
		}
	case packet[16] == 255:
		copy(frame, packet[16:20])
		copy(frame[4:], packet[16:18])
	case packet[16]>>4 == 0xe:
		copy(frame, append([]byte{0x01, 0x00, 0x5e, packet[17] & 0x7f}, packet[18:20]...))
	}
	return append(append(frame, kind...), packet...)
}

const ownAddresses = "[[vm]]\nname = \"*\"\naddresses = [\"203.0.113.7\", \"2001:db8:5::7\"]\n"

// A sequence is of one policy.
type sequence struct {
	policy string
	steps  func(s stack) []step
	runs   bool // the VM ran before
}

func (s sequence) table(t *testing.T) ruleset.Table {
	made := table(t, s.policy)
	if s.runs {
		return filter.Running(made)
	}
	return made
}

// sequences are policies, and what becomes of frames one after the other. Each is tried with
// both families.
var sequences = map[string]sequence{
	"a web server that may open anything": {
		"[policy.default]\ninbound = [\"tcp/443\", \"198.51.100.22 tcp/22\", \"2001:db8:f::22 tcp/22\"]\n" + ownAddresses, func(s stack) []step {
			first, second := s.pieces(s.udp(webHost, vmHost, 53, 5353))
			alone1, alone2 := s.pieces(s.udp(webHost, vmHost, 53, 9999))
			if !s.ipv6 { // another datagram
				alone1[4], alone2[4] = 9, 9
			} else {
				alone1[44], alone2[44] = 9, 9
			}
			return []step{
				{"a client opens the service", 0, in, s.tcp(webHost, vmHost, 4000, 443, "S"), true},
				{"the VM answers", 0, out, s.tcp(vmHost, webHost, 443, 4000, "SA"), true},
				{"too big for the way", 0, in, s.tooBig(adminHost, vmHost, s.tcp(vmHost, webHost, 443, 4000, "A")), true},
				{"another port", 0, in, s.tcp(webHost, vmHost, 4000, 80, "S"), false},
				{"another port, as if answered", 0, in, s.tcp(webHost, vmHost, 443, 80, "SA"), false},
				{"another port, as if it stood", 0, in, s.tcp(webHost, vmHost, 443, 80, "A"), false},
				{"ssh of who may", 0, in, s.tcp(adminHost, vmHost, 4000, 22, "S"), true},
				{"ssh of who may not", 0, in, s.tcp(webHost, vmHost, 4000, 22, "S"), false},
				{"a denied host", 0, in, s.tcp(deniedHost, vmHost, 4000, 443, "S"), false},
				{"the VM opens a connection", 0, out, s.tcp(vmHost, webHost, 5000, 25, "S"), true},
				{"and is answered", 0, in, s.tcp(webHost, vmHost, 25, 5000, "SA"), true},
				{"it goes on", 0, out, s.tcp(vmHost, webHost, 5000, 25, "PA"), true},
				{"and stands for hours", 2 * time.Hour, in, s.tcp(webHost, vmHost, 25, 5000, "PA"), true},
				{"not for another port", 0, in, s.tcp(webHost, vmHost, 25, 5001, "PA"), false},
				{"nor another peer", 0, in, s.tcp(adminHost, vmHost, 25, 5000, "PA"), false},
				{"nor another protocol", 0, in, s.udp(webHost, vmHost, 25, 5000), false},
				{"it ends", 0, in, s.tcp(webHost, vmHost, 25, 5000, "FA"), true},
				{"on both sides", 0, out, s.tcp(vmHost, webHost, 5000, 25, "FA"), true},
				{"the last answer", 0, in, s.tcp(webHost, vmHost, 25, 5000, "A"), true},
				{"and is over", 5 * time.Minute, in, s.tcp(webHost, vmHost, 25, 5000, "A"), false},
				{"nobody asked", 0, in, s.udp(webHost, vmHost, 53, 5353), false},
				{"a fragment of that", 0, in, second, false},
				{"a question", 0, out, s.udp(vmHost, webHost, 5353, 53), true},
				{"its answer", 0, in, s.udp(webHost, vmHost, 53, 5353), true},
				{"an answer in pieces", 0, in, first, true},
				{"the second", 0, in, second, true},
				{"another in pieces", 0, in, alone1, false},
				{"about a datagram that stands", 0, in, s.tooBig(adminHost, vmHost, s.udp(vmHost, webHost, 5353, 53)), true},
				{"about one that does not", 0, in, s.tooBig(adminHost, vmHost, s.udp(vmHost, webHost, 5354, 53)), false},
				{"it is forgotten", 6 * time.Minute, in, s.udp(webHost, vmHost, 53, 5353), false},
				{"a ping", 0, in, s.echo(webHost, vmHost, false, 7), false},
				{"an answer that nobody asked for", 0, in, s.echo(webHost, vmHost, true, 7), false},
				{"the VM pings", 0, out, s.echo(vmHost, webHost, false, 7), true},
				{"and is answered", 0, in, s.echo(webHost, vmHost, true, 7), true},
				{"with another identifier", 0, in, s.echo(webHost, vmHost, true, 8), false},
				{"by another", 0, in, s.echo(adminHost, vmHost, true, 7), false},
				{"another protocol of the VM", 0, out, s.other(vmHost, webHost), true},
				{"of a peer", 0, in, s.other(webHost, vmHost), false},
			}
		}, false,
	},
	"a VM that may open little": {
		"[policy.default]\noutbound = [\"tcp/443\", \"udp/53\", \"198.51.100.22 icmp\", \"2001:db8:f::22 icmp\"]\n" + ownAddresses, func(s stack) []step {
			return []step{
				{"mail", 0, out, s.tcp(vmHost, webHost, 5000, 25, "S"), false},
				{"mail, as an answer", 0, out, s.tcp(vmHost, webHost, 443, 25, "SA"), false},
				{"mail, as if it stood", 0, out, s.tcp(vmHost, webHost, 443, 25, "PA"), false},
				{"the web", 0, out, s.tcp(vmHost, webHost, 5000, 443, "S"), true},
				{"its answer", 0, in, s.tcp(webHost, vmHost, 443, 5000, "SA"), true},
				{"a client opens whatever it likes", 0, in, s.tcp(webHost, vmHost, 4000, 22, "S"), true},
				{"and is answered", 0, out, s.tcp(vmHost, webHost, 22, 4000, "SA"), true},
				{"and goes on", 0, out, s.tcp(vmHost, webHost, 22, 4000, "PA"), true},
				{"not to another of its ports", 0, out, s.tcp(vmHost, webHost, 22, 4001, "PA"), false},
				{"an error about it", 0, out, s.tooBig(vmHost, webHost, s.tcp(webHost, vmHost, 4000, 22, "A")), true},
				{"an error about nothing", 0, out, s.tooBig(vmHost, webHost, s.tcp(webHost, vmHost, 4009, 22, "A")), false},
				{"a question", 0, in, s.udp(webHost, vmHost, 4000, 5000), true},
				{"its answer", 0, out, s.udp(vmHost, webHost, 5000, 4000), true},
				{"another datagram", 0, out, s.udp(vmHost, webHost, 5000, 4001), false},
				{"a name", 0, out, s.udp(vmHost, webHost, 5000, 53), true},
				{"a ping", 0, out, s.echo(vmHost, webHost, false, 7), false},
				{"of who may be pinged", 0, out, s.echo(vmHost, adminHost, false, 7), true},
				{"its answer", 0, in, s.echo(adminHost, vmHost, true, 7), true},
				{"the VM is pinged", 0, in, s.echo(webHost, vmHost, false, 9), true},
				{"and answers", 0, out, s.echo(vmHost, webHost, true, 9), true},
				{"whom nobody asked", 0, out, s.echo(vmHost, webHost, true, 10), false},
				{"another protocol", 0, out, s.other(vmHost, webHost), false},
			}
		}, false,
	},
	"neither": {
		"[policy.default]\ninbound = []\noutbound = []\n" + ownAddresses, func(s stack) []step {
			return []step{
				{"in", 0, in, s.tcp(webHost, vmHost, 4000, 443, "S"), false},
				{"out", 0, out, s.tcp(vmHost, webHost, 4000, 443, "S"), false},
				{"a datagram in", 0, in, s.udp(webHost, vmHost, 4000, 443), false},
				{"a datagram out", 0, out, s.udp(vmHost, webHost, 443, 4000), false},
				{"a ping in", 0, in, s.echo(webHost, vmHost, false, 4), false},
				{"a ping out", 0, out, s.echo(vmHost, webHost, false, 4), false},
			}
		}, false,
	},
	"UDP that denied peers may ask for": {
		"[policy.default]\nserve = [\"udp/5000\"]\n" + ownAddresses, func(s stack) []step {
			return []step{
				{"an answer to nobody", 0, out, s.udp(vmHost, deniedHost, 5000, 4000), false},
				{"a question", 0, in, s.udp(deniedHost, vmHost, 4000, 5000), true},
				{"its answer", 0, out, s.udp(vmHost, deniedHost, 5000, 4000), true},
				{"to another of its ports", 0, out, s.udp(vmHost, deniedHost, 5000, 4001), false},
				{"too late", 6 * time.Minute, out, s.udp(vmHost, deniedHost, 5000, 4000), false},
			}
		}, false,
	},
	"fragments of what does not pass": {
		"[policy.default]\ninbound = [\"tcp/443\", \"udp/443\"]\noutbound = [\"tcp/443\"]\n" + ownAddresses, func(s stack) []step {
			first, second := s.pieces(s.udp(vmHost, webHost, 5000, 9999))
			itsFirst, itsSecond := s.pieces(s.udp(webHost, vmHost, 5000, 9999))
			asks, more := s.pieces(s.udp(webHost, vmHost, 5000, 443))
			answers, last := s.pieces(s.udp(vmHost, webHost, 443, 5000))
			return []step{
				{"of the VM", 0, out, first, false}, {"the second", 0, out, second, false},
				{"of a peer", 0, in, itsFirst, false}, {"the second", 0, in, itsSecond, false},
				{"a question", 0, in, asks, true}, {"the second", 0, in, more, true},
				{"the answer", 0, out, answers, true}, {"the second", 0, out, last, true},
				{"too big for the way", 0, in, s.tooBig(adminHost, vmHost, answers), true},
				{"the VM's to another", 0, out, first, false},
			}
		}, false,
	},
	"what a router sends to all": {
		"[policy.default]\ninbound = [\"tcp/443\"]\n" + ownAddresses, func(s stack) []step {
			return []step{{"an advertisement or a query", 0, in, s.routes(), true}}
		}, false,
	},
	"groups that are allowed": {
		"[policy.default]\nallow = [\"gateway\", \"224.0.0.251 udp/5353\", \"ff02::fb udp/5353\"]\ninbound = [\"tcp/443\"]\noutbound = [\"tcp/443\"]\n" + ownAddresses, func(s stack) []step {
			return []step{
				{"the VM's question", 0, out, s.udp(vmHost, group, 5353, 5353), true},
				{"of a denied host", 0, in, s.udp(deniedHost, group, 5353, 5353), true},
				{"of an open one", 0, in, s.udp(webHost, group, 5353, 5353), true},
				{"of an allowed one", 0, in, s.udp(gateway, group, 5353, 5353), true},
				{"to another port", 0, in, s.udp(gateway, group, 5353, 1900), false},
				{"to the VM", 0, in, s.udp(webHost, vmHost, 5353, 5353), false},
			}
		}, false,
	},
	"DHCP": {
		"[policy.default]\ninbound = [\"tcp/443\"]\noutbound = [\"tcp/443\"]\n" + ownAddresses, func(s stack) []step {
			asker := vmHost
			if s.ipv6 {
				asker = nobody
			}
			return []step{
				{"an answer to nobody", 0, in, s.serves(webHost, vmHost), false},
				{"of the gateway, too", 0, in, s.serves(gateway, asker), false},
				{"a question to somebody far away", 0, out, s.asks(vmHost, webHost), false},
				{"to all", 0, out, s.asks(nobody, servers), true},
				{"an answer", 0, in, s.serves(gateway, asker), true},
				{"too late", 2 * time.Minute, in, s.serves(gateway, asker), false},
				{"to the gateway", 0, out, s.asks(asker, gateway), true},
				{"its answer", 0, in, s.serves(gateway, asker), true},
			}
		}, false,
	},
	"errors about what rules keep no flows of": {
		"[policy.default]\ninbound = [\"icmp\", \"198.51.100.22\", \"2001:db8:f::22\"]\n" + ownAddresses, func(s stack) []step {
			return []step{
				{"the VM is pinged", 0, in, s.echo(webHost, vmHost, false, 7), true},
				{"its answer is too big", 0, in, s.tooBig(gateway, vmHost, s.echo(vmHost, webHost, true, 7)), true},
				{"another protocol", 0, in, s.tooBig(gateway, vmHost, s.other(vmHost, adminHost)), true},
				{"of whom anything may be", 0, in, s.tooBig(adminHost, vmHost, s.other(vmHost, webHost)), true},
				{"another protocol with somebody else", 0, in, s.tooBig(gateway, vmHost, s.other(vmHost, webHost)), false},
			}
		}, false,
	},
	"ECN, and who opens what after the end": {
		"[policy.default]\ninbound = [\"tcp/443\"]\n" + ownAddresses, func(s stack) []step {
			return []step{
				{"the VM asks for accurate ECN", 0, out, s.flags(vmHost, webHost, 5000, 25, 0xc2), true},
				{"and has it", 0, in, s.flags(webHost, vmHost, 25, 5000, 0xd2), true},
				{"it goes on", 0, out, s.flags(vmHost, webHost, 5000, 25, 0x90), true},
				{"an hour later", time.Hour, in, s.flags(webHost, vmHost, 25, 5000, 0x58), true},
				{"it ends", 0, in, s.flags(webHost, vmHost, 25, 5000, 0xd1), true},
				{"the last answer", 0, out, s.flags(vmHost, webHost, 5000, 25, 0x50), true},
				{"the peer opens one", 0, in, s.tcp(webHost, vmHost, 25, 5000, "S"), false},
				{"with more flags", 0, in, s.flags(webHost, vmHost, 25, 5000, 0x0a), false},
				{"the VM does, at once", 0, out, s.tcp(vmHost, webHost, 5000, 25, "S"), true},
				{"and is answered", 0, in, s.tcp(webHost, vmHost, 25, 5000, "SA"), true},
				{"both at once", 0, out, s.tcp(vmHost, webHost, 5001, 25, "S"), true},
				{"the peer", 0, in, s.tcp(webHost, vmHost, 25, 5001, "S"), true},
			}
		}, false,
	},
	"connections of a VM that ran before": {
		"[policy.default]\ninbound = [\"tcp/443\"]\noutbound = [\"tcp/443\"]\n" + ownAddresses, func(s stack) []step {
			return []step{
				{"one that the VM does not know", 0, in, s.tcp(webHost, vmHost, 4000, 22, "A"), true},
				{"as it says", 0, out, s.tcp(vmHost, webHost, 22, 4000, "R"), false},
				{"it is opened", 0, in, s.tcp(webHost, vmHost, 4000, 22, "S"), false},
				{"one that the peer does not know", 0, out, s.tcp(vmHost, webHost, 4000, 25, "A"), true},
				{"as it says", 0, in, s.tcp(webHost, vmHost, 25, 4000, "R"), true},
				{"it is opened", 0, out, s.tcp(vmHost, webHost, 4000, 25, "S"), false},
				{"one that stands", 0, in, s.tcp(webHost, vmHost, 4001, 22, "PA"), true},
				{"it is answered", 0, out, s.tcp(vmHost, webHost, 22, 4001, "A"), true},
				{"and goes on", 0, in, s.tcp(webHost, vmHost, 4001, 22, "PA"), true},
				{"it is opened again", 0, in, s.tcp(webHost, vmHost, 4001, 22, "S"), false},
			}
		}, true,
	},
	"connections that the VM keeps": {
		"[policy.default]\ninbound = [\"tcp/443\"]\noutbound = [\"tcp/25\"]\n" + ownAddresses, func(s stack) []step {
			return []step{
				{"the VM opens one", 0, out, s.tcp(vmHost, webHost, 5000, 25, "S"), true},
				{"it is answered", 0, in, s.tcp(webHost, vmHost, 25, 5000, "SA"), true},
				{"and stands", 0, out, s.tcp(vmHost, webHost, 5000, 25, "A"), true},
				{"the peer asks whether it is there", 2 * time.Hour, in, s.tcp(webHost, vmHost, 25, 5000, "A"), true},
				{"it is", 0, out, s.tcp(vmHost, webHost, 5000, 25, "A"), true},
				{"the peer asks again", 2 * time.Hour, in, s.tcp(webHost, vmHost, 25, 5000, "A"), true},
				{"and sends to a VM that is silent", time.Minute, in, s.tcp(webHost, vmHost, 25, 5000, "PA"), true},
				{"with a flag that few have", time.Minute, in, s.flags(webHost, vmHost, 25, 5000, 0x90), true},
				{"for too long", 3 * time.Minute, in, s.tcp(webHost, vmHost, 25, 5000, "A"), false},
			}
		}, false,
	},
	"resets of a VM that ran before": {
		"[policy.default]\ninbound = [\"tcp/443\"]\n" + ownAddresses, func(s stack) []step {
			return []step{
				{"one that the VM does not know", 0, in, s.tcp(webHost, vmHost, 4000, 22, "A"), true},
				{"as it says", 0, out, s.tcp(vmHost, webHost, 22, 4000, "R"), true},
				{"it is opened", 0, in, s.tcp(webHost, vmHost, 4000, 22, "S"), false},
			}
		}, true,
	},
}

func protocolOf(packet []byte) byte {
	if packet[0]>>4 == 6 {
		return packet[6]
	}
	return packet[9]
}

// TestFlows judges them, with the rules of the fast path and without.
func TestFlows(t *testing.T) {
	for name, sequence := range sequences {
		for _, ipv6 := range []bool{false, true} {
			s := stack{t, ipv6}
			label := name + ", IPv4"
			if ipv6 {
				label = name + ", IPv6"
			}
			t.Run(label, func(t *testing.T) {
				made := sequence.table(t)
				fast := map[byte]int{}
				for _, rules := range []ruleset.Table{made, withoutFastPath(made)} {
					j := judge.New(rules)
					for _, step := range sequence.steps(s) {
						j.Elapse(step.after)
						frame := framed(step.hook, step.packet)
						d, err := j.Frame(step.hook, frame)
						if err != nil || d.Passes != step.passes {
							t.Errorf("%s (%s): passes %v by rule %d of %v, %v", step.about, step.hook, d.Passes, d.Number, d.Path, err)
						}
						if isFast(d.Rule) {
							fast[protocolOf(step.packet)]++
						}
					}
				}
				if strings.HasPrefix(name, "a ") && (fast[6] == 0 || fast[17] == 0) {
					t.Errorf("%v frames took the fast path, by protocol", fast)
				}
			})
		}
	}
}

// TestFlowsAgreeWithTheKernel sends them through a tap, one after the other, at once: no time passes.
func TestFlowsAgreeWithTheKernel(t *testing.T) {
	n, tap := network(t)
	for name, sequence := range sequences {
		for _, ipv6 := range []bool{false, true} {
			made := sequence.table(t)
			create(t, n, made)
			j := judge.New(made)
			for _, step := range sequence.steps(stack{t, ipv6}) {
				frame := framed(step.hook, step.packet)
				d, err := j.Frame(step.hook, frame)
				if err != nil {
					t.Fatal(err)
				}
				if arrived := send(t, n, tap, step.hook, [][]byte{frame})[string(frame)]; arrived != d.Passes {
					t.Errorf("%s, %s: arrived %v; the judge: %v by rule %d of %v\n%s", name, step.about, arrived, d.Passes, d.Number, d.Path, line(step.hook, frame))
				}
			}
		}
	}
}

// TestClientsOfAServer has max_new_flows alone bound what the VM opens, and none of its many clients.
func TestClientsOfAServer(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		s := stack{t, ipv6}
		j := judge.New(table(t, "[policy.default]\nmax_new_flows = 10\n"+ownAddresses))
		dropped := func(hook ruleset.HookType, packet []byte) (n int) {
			d, err := j.Frame(hook, framed(hook, packet))
			if err != nil {
				t.Fatal(err)
			}
			if !d.Passes {
				n = 1
			}
			return n
		}
		clients, own := 0, 0
		for i := range uint16(6000) { // more than rules keep
			clients += dropped(in, s.tcp(webHost, vmHost, 1000+i, 443, "S"))
			clients += dropped(out, s.tcp(vmHost, webHost, 443, 1000+i, "SA"))
			own += dropped(out, s.tcp(vmHost, webHost, 1000+i, 25, "S"))
		}
		if clients != 0 || own != 6000-10 {
			t.Errorf("IPv6 %v: of its clients, %d segments were dropped; of its own 6000 connections %d", ipv6, clients, own)
		}
	}
}

// TestFlowsThatPeersOpen has many clients open connections on a server, and the server its own: what bounds
// the ones bounds none of the others.
func TestFlowsThatPeersOpen(t *testing.T) {
	const tries = 6000
	for _, test := range []struct {
		policy       string
		clients, own int // of these, so many pass
	}{
		{"outbound = [\"tcp/25\"]", 4096, 4096},
		{"outbound = [\"tcp/25\"]\nmax_inbound_flows = 5000", 5000, 4096},
		{"outbound = [\"tcp/25\"]\nmax_inbound_flows = 10\nmax_new_flows = 20", 10, 20},
		{"max_inbound_flows = 10", 10, tries},
	} {
		for _, ipv6 := range []bool{false, true} {
			s := stack{t, ipv6}
			j := judge.New(table(t, "[policy.default]\n"+test.policy+"\n"+ownAddresses))
			passed := func(hook ruleset.HookType, packet []byte) (n int) {
				d, err := j.Frame(hook, framed(hook, packet))
				if err != nil {
					t.Fatal(err)
				}
				if d.Passes {
					n = 1
				}
				return n
			}
			clients, own := 0, 0
			for i := range uint16(tries) {
				clients += passed(in, s.tcp(webHost, vmHost, 1000+i, 443, "S"))
				own += passed(out, s.tcp(vmHost, webHost, 1000+i, 25, "S"))
			}
			if clients != test.clients || own != test.own {
				t.Errorf("%s, IPv6 %v: of its clients' connections %d passed, and of its own %d; want %d and %d", test.policy, ipv6, clients, own, test.clients, test.own)
			}
			if passed(in, s.tcp(webHost, vmHost, 1000, 443, "A")) == 0 {
				t.Errorf("%s, IPv6 %v: a connection that was opened does not go on", test.policy, ipv6)
			}
		}
	}
}

// TestFragmentsShare has a peer cut more datagrams up at once than a NIC may have: no more of them pass.
func TestFragmentsShare(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		s := stack{t, ipv6}
		j := judge.New(table(t, "[policy.default]\ninbound = [\"tcp/443\"]\n"+ownAddresses))
		passes := func(hook ruleset.HookType, packet []byte) bool {
			d, err := j.Frame(hook, framed(hook, packet))
			if err != nil {
				t.Fatal(err)
			}
			return d.Passes
		}
		if !passes(out, s.udp(vmHost, webHost, 5353, 53)) {
			t.Fatal("the question is dropped")
		}
		first, _ := s.pieces(s.udp(webHost, vmHost, 53, 5353))
		identification := 4
		if ipv6 {
			identification = 46
		}
		const share, sent = 1000, 1500
		passed := 0
		for i := range sent {
			first[identification], first[identification+1] = byte(i>>8), byte(i)
			if passes(in, first) {
				passed++
			}
		}
		if passed != share {
			t.Errorf("IPv6 %v: of %d datagrams in fragments at once %d pass, want %d", ipv6, sent, passed, share)
		}
	}
}
