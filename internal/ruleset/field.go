package ruleset

// Base says from where in a frame a field's offset is counted.
type Base int

// The bases of nft's payload expression, and Meta for what the kernel keeps
// beside the frame (nft(8), "PAYLOAD EXPRESSIONS" and "META EXPRESSIONS").
const (
	Meta Base = iota
	LinkHeader
	NetworkHeader
	TransportHeader
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
	TypeInteger     Type = "integer"
)

// A Field is a place in a frame that a match reads.
type Field struct {
	Header string // nft's name of the header: "ip", "ip6", "ether", "meta", "th"
	Name   string // nft's name within it: "saddr", "protocol"
	Type   Type
	Base   Base
	Offset uint32 // in bytes from Base; unused for Meta
	Size   uint32 // in bytes

	// Needs is the EtherType that a frame must have for the field to mean
	// anything, 0 when any will do. nft adds that match by itself to a rule
	// that lacks it, and so does package kernel.
	Needs uint16
}

// String gives the field as nft writes it: "ip daddr".
func (f Field) String() string { return f.Header + " " + f.Name }

// EtherTypes of IEEE 802 numbers that the filter knows.
const (
	EtherTypeIPv4 uint16 = 0x0800
	EtherTypeARP  uint16 = 0x0806
	EtherTypeVLAN uint16 = 0x8100
	EtherTypeIPv6 uint16 = 0x86dd
	EtherTypeQinQ uint16 = 0x88a8
)

// The fields that rules compare. Protocol is what the kernel took the frame
// for after it lifted a VLAN tag off; EtherType is what the frame itself says,
// that tag included. On ingress the two differ for a tagged frame.
var (
	Protocol  = Field{Header: "meta", Name: "protocol", Type: TypeEtherType, Base: Meta, Size: 2}
	L4Proto   = Field{Header: "meta", Name: "l4proto", Type: TypeInetProto, Base: Meta, Size: 1}
	EtherType = Field{Header: "ether", Name: "type", Type: TypeEtherType, Base: LinkHeader, Offset: 12, Size: 2}

	IPSource      = Field{Header: "ip", Name: "saddr", Type: TypeIPv4, Base: NetworkHeader, Offset: 12, Size: 4, Needs: EtherTypeIPv4}
	IPDestination = Field{Header: "ip", Name: "daddr", Type: TypeIPv4, Base: NetworkHeader, Offset: 16, Size: 4, Needs: EtherTypeIPv4}
	IPFragment    = Field{Header: "ip", Name: "frag-off", Type: TypeInteger, Base: NetworkHeader, Offset: 6, Size: 2, Needs: EtherTypeIPv4}

	IP6Source      = Field{Header: "ip6", Name: "saddr", Type: TypeIPv6, Base: NetworkHeader, Offset: 8, Size: 16, Needs: EtherTypeIPv6}
	IP6Destination = Field{Header: "ip6", Name: "daddr", Type: TypeIPv6, Base: NetworkHeader, Offset: 24, Size: 16, Needs: EtherTypeIPv6}

	SourcePort      = Field{Header: "th", Name: "sport", Type: TypeInetService, Base: TransportHeader, Offset: 0, Size: 2}
	DestinationPort = Field{Header: "th", Name: "dport", Type: TypeInetService, Base: TransportHeader, Offset: 2, Size: 2}
)
