package judge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"macvtap-filter/internal/ruleset"
)

// A packet is a frame as a rule of the family netdev sees it.
type packet struct {
	frame    []byte
	protocol uint16 // skb->protocol: what the kernel takes the frame for
	network  int    // where the network header begins

	// What the kernel finds out about the datagram before the first rule, when
	// its header is right (include/net/netfilter/nf_tables_ipv4.h and _ipv6.h,
	// …_validate).
	valid         bool
	l4            byte
	transport     int
	laterFragment bool

	mark   uint32 // what rules left on it
	device []byte // its device's index, as rules have it; nil where that is not known

	// data is where the kernel's own pointer into the frame stands.
	data int
}

const (
	etherHeader = 14
	vlanHeader  = 4
	ipv4Header  = 20
	ipv6Header  = 40

	// What eth_type_trans (net/ethernet/eth.c) calls frames with a length
	// instead of a type.
	protocol8022 = 0x0004
	protocol8023 = 0x0001
)

// parse reads a frame as the kernel does on its way from the VM (drivers/net/tap.c,
// tap_get_user) or to it (net/ethernet/eth.c, eth_type_trans; net/core/dev.c,
// __netif_receive_skb_core, which lifts one VLAN tag off).
func parse(hook ruleset.HookType, frame []byte) (*packet, error) {
	if len(frame) < etherHeader {
		return nil, fmt.Errorf("a frame of %d bytes: the kernel takes none below %d", len(frame), etherHeader)
	}
	p := &packet{frame: frame, network: etherHeader, protocol: binary.BigEndian.Uint16(frame[12:])}
	defer func() {
		if hook == ruleset.Ingress {
			p.data = p.network // the Ethernet header is taken off
		}
	}()
	if hook == ruleset.Ingress {
		p.protocol = received(p.protocol, frame[etherHeader:])
		if isTag(p.protocol) {
			if len(frame) < etherHeader+vlanHeader+2 {
				return nil, fmt.Errorf("a frame of %d bytes: the kernel drops a VLAN tag with nothing behind it", len(frame))
			}
			p.network += vlanHeader
			p.protocol = received(binary.BigEndian.Uint16(frame[etherHeader+2:]), frame[p.network:])
		}
	}
	switch p.protocol {
	case ruleset.EtherTypeIPv4:
		p.ipv4()
	case ruleset.EtherTypeIPv6:
		p.ipv6()
	}
	if hook == ruleset.Ingress && p.reassembled() {
		return nil, errReassembled
	}
	return p, nil
}

// errReassembled says that no rule sees the frame as it is.
var errReassembled = errors.New("an IPv4 fragment in a multicast or broadcast frame: the kernel puts such together before any rule sees them (drivers/net/macvlan.c, macvlan_handle_frame)")

func (p *packet) reassembled() bool {
	const moreOrOffset = 0x3fff
	return p.frame[0]&1 != 0 && p.protocol == ruleset.EtherTypeIPv4 && p.valid &&
		binary.BigEndian.Uint16(p.frame[p.network+6:])&moreOrOffset != 0
}

func isTag(protocol uint16) bool {
	return protocol == ruleset.EtherTypeVLAN || protocol == ruleset.EtherTypeQinQ
}

// received gives the protocol of a received frame by its type or length field.
func received(field uint16, rest []byte) uint16 {
	const lowestType = 0x0600
	switch {
	case field >= lowestType:
		return field
	case len(rest) >= 2 && rest[0] == 0xff && rest[1] == 0xff:
		return protocol8023
	default:
		return protocol8022
	}
}

func (p *packet) ipv4() {
	h := p.frame[p.network:]
	if len(h) < ipv4Header || h[0]>>4 != 4 || h[0]&0x0f < 5 {
		return
	}
	size, total := int(h[0]&0x0f)*4, int(binary.BigEndian.Uint16(h[2:]))
	if len(h) < total || total < size {
		return
	}
	p.valid, p.l4, p.transport = true, h[9], p.network+size
	p.laterFragment = binary.BigEndian.Uint16(h[6:])&0x1fff != 0
}

// Extension headers that the kernel walks over (net/ipv6/exthdrs_core.c,
// ipv6_find_hdr); it stops at an authentication header.
const (
	hopByHop    = 0
	routing     = 43
	fragment    = 44
	destination = 60
	auth        = 51
)

func (p *packet) ipv6() {
	h := p.frame[p.network:]
	if len(h) < ipv6Header || h[0]>>4 != 6 || int(binary.BigEndian.Uint16(h[4:]))+ipv6Header > len(h) {
		return
	}
	next, at := h[6], ipv6Header
	for {
		switch next {
		case hopByHop, destination, routing:
			smallest := 2
			if next == routing {
				smallest = 4
			}
			if len(h) < at+smallest {
				return
			}
			next, at = h[at], at+8*(int(h[at+1])+1)
		case fragment:
			if len(h) < at+4 {
				return
			}
			inner := h[at]
			if binary.BigEndian.Uint16(h[at+2:])&^7 != 0 {
				if extension(inner) {
					return
				}
				// The transport header is in another fragment; the
				// kernel has no place for it.
				p.valid, p.l4, p.laterFragment, p.transport = true, inner, true, -1
				return
			}
			next, at = inner, at+8
		default:
			p.valid, p.l4, p.transport = true, next, p.network+at
			return
		}
	}
}

// extension reports whether a header is one that the kernel would go on walking
// from; "no next header" is an end.
func extension(next byte) bool {
	switch next {
	case hopByHop, routing, fragment, auth, destination:
		return true
	}
	return false
}

// read gives a field's value; false where the kernel cannot read it
// (net/netfilter/nft_payload.c, nft_meta.c).
func (p *packet) read(f ruleset.Field) ([]byte, bool) {
	if f.Base == ruleset.Meta {
		return p.meta(f.Name)
	}
	at, ok := p.place(f)
	if !ok {
		return nil, false
	}
	return p.frame[at : at+int(f.Size)], true
}

// place gives where in the frame a field begins, of any but Meta.
func (p *packet) place(f ruleset.Field) (at int, ok bool) {
	switch f.Base {
	case ruleset.LinkHeader:
		// A lifted tag is put back for the reader.
	case ruleset.NetworkHeader:
		at = p.network
	case ruleset.TransportHeader:
		if !p.valid || p.laterFragment && !fast(f) {
			return 0, false
		}
		at = p.transport
		if at < 0 {
			at = p.data
		}
	}
	at += int(f.Offset)
	return at, at+int(f.Size) <= len(p.frame)
}

// write changes bytes of the frame, and reports whether it has them
// (net/netfilter/nft_payload.c, nft_payload_set_eval).
func (p *packet) write(w ruleset.Write) bool {
	value, ok := w.Value, true
	if value == nil {
		value, ok = p.read(w.From)
	}
	if _, there := p.read(w.To); !ok || !there {
		return false
	}
	p.frame = bytes.Clone(p.frame)
	to, _ := p.read(w.To)
	copy(to, value)
	return true
}

// fast reports whether the kernel reads a field of the transport header by its
// short cut, which asks not whether there is one: in a later fragment it reads
// what stands in its place (net/netfilter/nf_tables_core.c, nft_payload_fast_eval;
// nft_payload.c, nft_payload_select_ops).
func fast(f ruleset.Field) bool {
	powerOfTwo := f.Size == 1 || f.Size == 2 || f.Size == 4
	return powerOfTwo && f.Offset%f.Size == 0
}

func (p *packet) meta(name string) ([]byte, bool) {
	switch name {
	case "protocol":
		return binary.BigEndian.AppendUint16(nil, p.protocol), true
	case "l4proto":
		return []byte{p.l4}, p.valid
	case "mark":
		return binary.NativeEndian.AppendUint32(nil, p.mark), true
	case "iifkind", "oifkind":
		return ruleset.Kind(ruleset.InputKind, ruleset.Equal, "macvtap").Value, true
	case "iif", "oif":
		return p.device, p.device != nil
	case "iiftype":
		return binary.NativeEndian.AppendUint16(nil, 1), true // ARPHRD_ETHER, as every macvtap device
	}
	return nil, false
}
