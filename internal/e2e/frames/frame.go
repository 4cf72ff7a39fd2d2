// Package frames records the frames that cross a NIC, as a packet socket sees them. The tests ask it what was really
// on the wire, both on the network and inside a guest.
package frames

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
)

// A Frame is one Ethernet frame, from the destination address to the end of the payload, VLAN tag included. Of a segment
// that NICs have yet to cut up only the head is there.
type Frame struct {
	// Sent says that the NIC's own side sent the frame; otherwise it came in.
	Sent bool
	// Len is how many bytes crossed the NIC.
	Len  int
	Data []byte
}

// Bytes of an Ethernet header, and the two EtherTypes whose addresses are read.
const (
	headerLen = 14
	typeIPv4  = 0x0800
	typeIPv6  = 0x86dd
)

// Contains tells whether the frame carries these bytes anywhere.
func (f Frame) Contains(token string) bool {
	return bytes.Contains(f.Data, []byte(token))
}

// From tells whether the frame's source is this hardware address.
func (f Frame) From(mac net.HardwareAddr) bool {
	return len(f.Data) >= headerLen && bytes.Equal(f.Data[6:12], mac)
}

// Addrs returns the IP addresses of an untagged frame, and whether it has any.
func (f Frame) Addrs() (src, dst netip.Addr, ok bool) {
	if len(f.Data) < headerLen {
		return src, dst, false
	}
	packet := f.Data[headerLen:]
	switch kind := binary.BigEndian.Uint16(f.Data[12:]); {
	case kind == typeIPv4 && len(packet) >= 20:
		src, _ = netip.AddrFromSlice(packet[12:16])
		dst, _ = netip.AddrFromSlice(packet[16:20])
	case kind == typeIPv6 && len(packet) >= 40:
		src, _ = netip.AddrFromSlice(packet[8:24])
		dst, _ = netip.AddrFromSlice(packet[24:40])
	default:
		return src, dst, false
	}
	return src, dst, true
}
