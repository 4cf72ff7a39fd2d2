package ruleset

import (
	"fmt"
	"strconv"
)

// Base says from where in a frame a field's offset is counted.
type Base int

// The bases of nft's payload expression, and Meta for what the kernel keeps
// beside the frame (nft(8), "PAYLOAD EXPRESSIONS" and "META EXPRESSIONS").
const (
	Meta Base = iota
	LinkHeader
	NetworkHeader
	TransportHeader
	Constant // no place in a frame: a value
)

// A Type is nft's name for the kind of value a field holds; a set's keys are
// declared with it.
type Type string

// The types used by the fields of this package (nft(8), "DATA TYPES").
const (
	TypeEtherType   Type = "ether_type"
	TypeEtherAddr   Type = "ether_addr"
	TypeIPv4        Type = "ipv4_addr"
	TypeIPv6        Type = "ipv6_addr"
	TypeInetProto   Type = "inet_proto"
	TypeInetService Type = "inet_service"
	TypeICMP        Type = "icmp_type"
	TypeICMPv6      Type = "icmpv6_type"
	TypeInteger     Type = "integer"
	TypeRaw         Type = "raw" // bytes that nft has no name for: written in hexadecimal

	// Values of these are in the byte order of the machine, as the kernel
	// keeps them beside the frame.
	TypeMark      Type = "mark"
	TypeInterface Type = "iface_index"
	TypeKind      Type = "ifname" // a text, padded with zeros
)

// kindSize is the length of a device's kind in bytes
// (include/uapi/linux/if.h, IFNAMSIZ).
const kindSize = 16

// The fields of the device that a frame passes, and the mark that rules leave on
// a frame for later ones; it goes with the frame, to other devices too, and is 0 at
// first. The device is the input of an ingress hook and the output of an egress
// hook; there is no other (include/linux/netfilter_netdev.h).
var (
	PacketMark  = Field{Header: "meta", Name: "mark", Type: TypeMark, Base: Meta, Size: 4}
	InputIndex  = Field{Header: "meta", Name: "iif", Type: TypeInterface, Base: Meta, Size: 4}
	OutputIndex = Field{Header: "meta", Name: "oif", Type: TypeInterface, Base: Meta, Size: 4}
	InputKind   = Field{Header: "meta", Name: "iifkind", Type: TypeKind, Base: Meta, Size: kindSize}
	OutputKind  = Field{Header: "meta", Name: "oifkind", Type: TypeKind, Base: Meta, Size: kindSize}
)

// A Field is a place in a frame that a match reads.
type Field struct {
	Header string // nft's name of the header: "ip", "ip6", "ether", "meta", "th"
	Name   string // nft's name within it: "saddr", "protocol"; "" for bytes without one
	Type   Type
	Base   Base
	Offset uint32 // in bytes from Base; unused for Meta
	Size   uint32 // in bytes

	// Needs is the EtherType that a frame must have for the field to mean
	// anything, 0 when any will do. nft adds that match by itself to a rule
	// that lacks it, and so does package kernel.
	Needs uint16

	// NeedsL4 is the same for the protocol above IP, 0 when any will do.
	NeedsL4 byte
}

// String gives the field as nft writes it: "ip daddr".
func (f Field) String() string {
	if f.Base == Constant {
		return strconv.Quote(f.Name)
	}
	if f.Type == TypeRaw {
		return fmt.Sprintf("%s,%d,%d", f.Header, f.Offset*8, f.Size*8)
	}
	return f.Header + " " + f.Name
}

// EtherTypes that the filter knows (IEEE 802 numbers).
const (
	EtherTypeIPv4 uint16 = 0x0800
	EtherTypeARP  uint16 = 0x0806
	EtherTypeVLAN uint16 = 0x8100
	EtherTypeIPv6 uint16 = 0x86dd
	EtherTypeQinQ uint16 = 0x88a8
)

// Protocols above IP that the filter knows (IANA's protocol numbers).
const (
	ICMP   byte = 1
	IPinIP byte = 4
	TCP    byte = 6
	UDP    byte = 17
	SixIn4 byte = 41
	GRE    byte = 47
	ICMPv6 byte = 58
	SCTP   byte = 132
)

// The fields that rules compare. Protocol is what the kernel took the frame
// for after it lifted a VLAN tag off; EtherType is what the frame itself says,
// that tag included. On ingress the two differ for a tagged frame.
var (
	Protocol = Field{Header: "meta", Name: "protocol", Type: TypeEtherType, Base: Meta, Size: 2}
	L4Proto  = Field{Header: "meta", Name: "l4proto", Type: TypeInetProto, Base: Meta, Size: 1}

	// DeviceType is what the headers of the device's frames are, in host byte
	// order as the kernel keeps it. nft asks for it before a field of the
	// Ethernet header.
	DeviceType = Field{Header: "meta", Name: "iiftype", Type: TypeInteger, Base: Meta, Size: 2}

	EtherSource      = Field{Header: "ether", Name: "saddr", Type: TypeEtherAddr, Base: LinkHeader, Offset: 6, Size: 6}
	EtherDestination = Field{Header: "ether", Name: "daddr", Type: TypeEtherAddr, Base: LinkHeader, Offset: 0, Size: 6}
	EtherType        = Field{Header: "ether", Name: "type", Type: TypeEtherType, Base: LinkHeader, Offset: 12, Size: 2}

	IPSource      = Field{Header: "ip", Name: "saddr", Type: TypeIPv4, Base: NetworkHeader, Offset: 12, Size: 4, Needs: EtherTypeIPv4}
	IPDestination = Field{Header: "ip", Name: "daddr", Type: TypeIPv4, Base: NetworkHeader, Offset: 16, Size: 4, Needs: EtherTypeIPv4}
	IPTTL         = Field{Header: "ip", Name: "ttl", Type: TypeInteger, Base: NetworkHeader, Offset: 8, Size: 1, Needs: EtherTypeIPv4}
	IPFragment    = Field{Header: "ip", Name: "frag-off", Type: TypeInteger, Base: NetworkHeader, Offset: 6, Size: 2, Needs: EtherTypeIPv4}

	ARPHardware  = Field{Header: "arp", Name: "htype", Type: TypeInteger, Base: NetworkHeader, Offset: 0, Size: 2, Needs: EtherTypeARP}
	ARPProtocol  = Field{Header: "arp", Name: "ptype", Type: TypeEtherType, Base: NetworkHeader, Offset: 2, Size: 2, Needs: EtherTypeARP}
	ARPHardLen   = Field{Header: "arp", Name: "hlen", Type: TypeInteger, Base: NetworkHeader, Offset: 4, Size: 1, Needs: EtherTypeARP}
	ARPProtoLen  = Field{Header: "arp", Name: "plen", Type: TypeInteger, Base: NetworkHeader, Offset: 5, Size: 1, Needs: EtherTypeARP}
	ARPOperation = Field{Header: "arp", Name: "operation", Type: TypeInteger, Base: NetworkHeader, Offset: 6, Size: 2, Needs: EtherTypeARP}
	ARPSenderMAC = Field{Header: "arp", Name: "saddr ether", Type: TypeEtherAddr, Base: NetworkHeader, Offset: 8, Size: 6, Needs: EtherTypeARP}
	ARPSenderIP  = Field{Header: "arp", Name: "saddr ip", Type: TypeIPv4, Base: NetworkHeader, Offset: 14, Size: 4, Needs: EtherTypeARP}
	ARPTargetIP  = Field{Header: "arp", Name: "daddr ip", Type: TypeIPv4, Base: NetworkHeader, Offset: 24, Size: 4, Needs: EtherTypeARP}

	IP6Length      = Field{Header: "ip6", Name: "length", Type: TypeInteger, Base: NetworkHeader, Offset: 4, Size: 2, Needs: EtherTypeIPv6}
	IP6NextHeader  = Field{Header: "ip6", Name: "nexthdr", Type: TypeInetProto, Base: NetworkHeader, Offset: 6, Size: 1, Needs: EtherTypeIPv6}
	IP6HopLimit    = Field{Header: "ip6", Name: "hoplimit", Type: TypeInteger, Base: NetworkHeader, Offset: 7, Size: 1, Needs: EtherTypeIPv6}
	IP6Source      = Field{Header: "ip6", Name: "saddr", Type: TypeIPv6, Base: NetworkHeader, Offset: 8, Size: 16, Needs: EtherTypeIPv6}
	IP6Destination = Field{Header: "ip6", Name: "daddr", Type: TypeIPv6, Base: NetworkHeader, Offset: 24, Size: 16, Needs: EtherTypeIPv6}

	SourcePort      = Field{Header: "th", Name: "sport", Type: TypeInetService, Base: TransportHeader, Offset: 0, Size: 2}
	DestinationPort = Field{Header: "th", Name: "dport", Type: TypeInetService, Base: TransportHeader, Offset: 2, Size: 2}
	TCPFlags        = Field{Header: "tcp", Name: "flags", Type: TypeInteger, Base: TransportHeader, Offset: 13, Size: 1, NeedsL4: TCP}
	ICMPType        = Field{Header: "icmp", Name: "type", Type: TypeICMP, Base: TransportHeader, Offset: 0, Size: 1, Needs: EtherTypeIPv4, NeedsL4: ICMP}
	ICMPv6Type      = Field{Header: "icmpv6", Name: "type", Type: TypeICMPv6, Base: TransportHeader, Offset: 0, Size: 1, Needs: EtherTypeIPv6, NeedsL4: ICMPv6}
)

// Raw is a field that nft has no name for, written as nft's raw payload
// expression. nft adds nothing to a rule for it: what it needs, earlier matches
// or the way to the chain must say.
func Raw(base Base, offset, size uint32) Field {
	return Field{Header: rawBases[base], Type: TypeRaw, Base: base, Offset: offset, Size: size}
}

// Word is a text of at most 15 bytes, as a part of what a rule adds to a set.
func Word(s string) Field {
	return Field{Name: s, Type: TypeKind, Base: Constant, Size: kindSize}
}

// Value gives the bytes of a Word.
func (f Field) Value() []byte {
	value := make([]byte, f.Size)
	copy(value, f.Name)
	return value
}

var rawBases = map[Base]string{LinkHeader: "@ll", NetworkHeader: "@nh", TransportHeader: "@th"}
