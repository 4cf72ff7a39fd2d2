// Package frame makes and reads Ethernet frames for "explain": from a few words, from
// hexadecimal digits, from a capture. It is small on purpose: a packet library
// would cost every start of the hook more than the hook itself takes.
package frame

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// A Description says what a frame is, in the words of the command line.
type Description struct {
	Source, Destination       netip.Addr // of one family
	SourceMAC, DestinationMAC net.HardwareAddr
	ARP                       bool   // a request for Destination instead of a datagram
	Proto                     byte   // IANA's protocol number; ICMP and ICMPv6 are echo requests
	SourcePort, Port          uint16 // of TCP, UDP and SCTP
	VLAN                      *uint16
}

const (
	icmp   = 1
	tcp    = 6
	udp    = 17
	icmpv6 = 58
)

// GroupMAC gives the MAC address that an IP stack sends such a frame to when it is for
// a group: ff:ff:ff:ff:ff:ff for an ARP request (RFC 826) and for 255.255.255.255
// (RFC 894), the group's own for multicast (RFC 1112, 6.4; RFC 2464, 7). It is nil
// for a datagram to one host; which addresses are an IPv4 subnet's broadcast nobody
// can tell from the frame.
func GroupMAC(d Description) net.HardwareAddr {
	to := d.Destination.AsSlice()
	switch {
	case d.ARP || d.Destination == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case !d.Destination.IsMulticast():
		return nil
	case d.Destination.Is4():
		return net.HardwareAddr{0x01, 0x00, 0x5e, to[1] & 0x7f, to[2], to[3]}
	}
	return net.HardwareAddr{0x33, 0x33, to[12], to[13], to[14], to[15]}
}

// Bytes builds the frame, without its checksums: nothing judges by them.
func (d Description) Bytes() ([]byte, error) {
	if d.Source.Is4() != d.Destination.Is4() {
		return nil, fmt.Errorf("%s and %s: one is IPv4, the other IPv6", d.Source, d.Destination)
	}
	if d.ARP && !d.Destination.Is4() {
		return nil, fmt.Errorf("%s: ARP is for IPv4; IPv6 has neighbour discovery", d.Destination)
	}
	f := append(append([]byte(nil), d.DestinationMAC...), d.SourceMAC...)
	if d.VLAN != nil {
		f = binary.BigEndian.AppendUint16(append(f, 0x81, 0x00), *d.VLAN)
	}
	switch {
	case d.ARP:
		return append(append(f, 0x08, 0x06), d.arp()...), nil
	case d.Destination.Is4():
		return append(append(f, 0x08, 0x00), d.ipv4()...), nil
	default:
		return append(append(f, 0x86, 0xdd), d.ipv6()...), nil
	}
}

// arp is a request (RFC 826).
func (d Description) arp() []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(append(b, d.SourceMAC...), d.Source.AsSlice()...)
	return append(append(b, 0, 0, 0, 0, 0, 0), d.Destination.AsSlice()...)
}

func (d Description) ipv4() []byte {
	body := d.body()
	h := []byte{0x45, 0}
	h = binary.BigEndian.AppendUint16(h, uint16(20+len(body)))
	h = append(h, 0, 0, 0, 0, 64, d.Proto, 0, 0)
	h = append(append(h, d.Source.AsSlice()...), d.Destination.AsSlice()...)
	return append(h, body...)
}

func (d Description) ipv6() []byte {
	body := d.body()
	h := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(body)))
	h = append(append(append(h, d.Proto, 64), d.Source.AsSlice()...), d.Destination.AsSlice()...)
	return append(h, body...)
}

// body is a transport header and what is behind it: the opening segment of a TCP
// connection, an empty datagram, or to a DHCP server a client's request, an echo request.
func (d Description) body() []byte {
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, d.SourcePort), d.Port)
	switch d.Proto {
	case tcp:
		const syn = 0x02
		return append(ports, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, syn, 0xff, 0xff, 0, 0, 0, 0)
	case icmp:
		return []byte{8, 0, 0, 0, 0, 1, 0, 1}
	case icmpv6:
		return []byte{128, 0, 0, 0, 0, 1, 0, 1}
	}
	var data []byte
	switch {
	case d.Proto != udp:
	case d.SourcePort == dhcpClient && d.Port == dhcpServer:
		data = d.discover()
	case d.SourcePort == dhcpv6Client && d.Port == dhcpv6Server:
		data = []byte{1, 0, 0, 1} // a solicit message, with the number of its transaction (RFC 8415, 8)
	}
	length := binary.BigEndian.AppendUint16(nil, uint16(8+len(data)))
	return append(append(append(ports, length...), 0, 0), data...)
}

// The ports of DHCP (RFC 2131, 4.1; RFC 8415, 7.2).
const (
	dhcpServer   = 67
	dhcpClient   = 68
	dhcpv6Client = 546
	dhcpv6Server = 547
)

// discover is the DHCPDISCOVER of the host whose MAC address the frame comes from (RFC 2131,
// 2; RFC 2132, 9.6).
func (d Description) discover() []byte {
	m := make([]byte, 236)
	copy(m, []byte{1, 1, 6})
	copy(m[28:], d.SourceMAC)
	return append(m, 0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255)
}

// ParseHex reads a frame from hexadecimal digits, which may be parted by spaces,
// colons, hyphens and line ends.
func ParseHex(s string) ([]byte, error) {
	digits := strings.NewReplacer(" ", "", ":", "", "-", "", "\n", "", "\t", "", "\r", "").Replace(s)
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("no frame in hexadecimal digits: %w", err)
	}
	if len(b) == 0 {
		return nil, errors.New("no frame: no digits")
	}
	return b, nil
}
