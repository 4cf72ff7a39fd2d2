package leaks

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A frame of a sender is a UDP datagram that says which one it is.
type identity struct {
	session uint32
	kind    kind
	slot    uint32
}

// A kind is where a frame goes, and whether the policy lets it.
type kind byte

const (
	deniedOut kind = iota
	deniedIn
	allowedOut
	allowedIn
	kinds
)

func (k kind) denied() bool { return k == deniedOut || k == deniedIn }
func (k kind) out() bool    { return k == deniedOut || k == allowedOut }

const (
	magic       = 0x6c65616b
	identityAt  = 14 + 20 + 8
	frameLength = identityAt + 4 + 4 + 1 + 4 + 5 // the shortest that Ethernet knows is 60
)

var (
	lanMAC    = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	gateway   = netip.MustParseAddr("192.168.2.1")
	vmAddress = netip.MustParseAddr("192.168.2.200")
)

// template is a frame of a kind without its identity. The VM talks to peer.
func template(k kind, vm net.HardwareAddr, peer netip.Addr) []byte {
	fromMAC, toMAC, from, to := vm, lanMAC, vmAddress, peer
	if !k.out() {
		fromMAC, toMAC, from, to = toMAC, fromMAC, to, from
	}
	frame := append([]byte{}, toMAC...)
	frame = append(frame, fromMAC...)
	frame = append(frame, 0x08, 0x00)
	header := []byte{0x45, 0, 0, frameLength - 14, 0, 0, 0, 0, 64, 17, 0, 0}
	header = append(append(header, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	frame = append(frame, header...)
	// A checksum of 0 says that there is none (RFC 768).
	frame = append(frame, 0x30, 0x39, 0x30, 0x39, 0, frameLength-34, 0, 0)
	return append(frame, make([]byte, frameLength-len(frame))...)
}

// leaseFor is what the gateway's DHCP server sends a VM: vmAddress is its own by that.
func leaseFor(t testing.TB, vm net.HardwareAddr) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: gateway.AsSlice(), DstIP: vmAddress.AsSlice()}
	udp := &layers.UDP{SrcPort: 67, DstPort: 68}
	message := &layers.DHCPv4{
		Operation: layers.DHCPOpReply, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, YourClientIP: vmAddress.AsSlice(), ClientHWAddr: vm,
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(layers.DHCPMsgTypeAck)}), layers.NewDHCPOption(layers.DHCPOptEnd, nil)},
	}
	buffer := gopacket.NewSerializeBuffer()
	ether := &layers.Ethernet{SrcMAC: lanMAC, DstMAC: vm, EthernetType: layers.EthernetTypeIPv4}
	if err := errors.Join(udp.SetNetworkLayerForChecksum(ip), gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ether, ip, udp, message)); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func (id identity) put(frame []byte) {
	b := frame[identityAt:]
	binary.BigEndian.PutUint32(b, magic)
	binary.BigEndian.PutUint32(b[4:], id.session)
	b[8] = byte(id.kind)
	binary.BigEndian.PutUint32(b[9:], id.slot)
}

// identify reads a frame's identity; ok is false for frames of others.
func identify(frame []byte) (id identity, ok bool) {
	if len(frame) < frameLength {
		return id, false
	}
	b := frame[identityAt:]
	if binary.BigEndian.Uint32(b) != magic {
		return id, false
	}
	return identity{binary.BigEndian.Uint32(b[4:]), kind(b[8]), binary.BigEndian.Uint32(b[9:])}, true
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
