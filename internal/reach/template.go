package reach

import (
	"encoding/binary"
	"net"
	"net/netip"

	"macvtap-filter/internal/ruleset"
)

// A template is a kind of frames: one frame, and which of its bytes are open.
type template struct {
	hook ruleset.HookType
	value
}

// A draft is what a template is made of.
type draft struct {
	hook     ruleset.HookType
	from, to value // MAC addresses
	source   value // addresses
	target   value
	proto    byte
	hops     byte
	body     value
}

func text(parts ...[]byte) value {
	var out value
	for _, p := range parts {
		out = out.join(known(p))
	}
	return out
}

// openValue is one of the open values as it stands in a frame.
func (f family) openValue(dimension int) value {
	v := known(make([]byte, f.width(dimension)))
	for i := range v.tags {
		v.tags[i] = open(dimension, i)
	}
	return v
}

func mac(m net.HardwareAddr) value { return known(m) }

// template puts a datagram together (RFC 791, 3.1; RFC 8200, 3).
func (f family) template(d draft) *template {
	var h value
	if f.bytes == 4 {
		start := []byte{0x45, 0}
		start = binary.BigEndian.AppendUint16(start, uint16(20+len(d.body.bytes)))
		h = text(start, []byte{0, 0, 0, 0, d.hops, d.proto, 0, 0})
	} else {
		h = text(binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(d.body.bytes))), []byte{d.proto, d.hops})
	}
	return d.frame(f.kind(), h.join(d.source).join(d.target).join(d.body))
}

func (f family) kind() uint16 {
	if f.bytes == 4 {
		return ruleset.EtherTypeIPv4
	}
	return ruleset.EtherTypeIPv6
}

func (d draft) frame(kind uint16, rest value) *template {
	return &template{d.hook, d.to.join(d.from).join(known(binary.BigEndian.AppendUint16(nil, kind))).join(rest)}
}

// transport is what opens a flow, or its first answer: a TCP segment with SYN, SCTP's INIT, an
// echo request; of other protocols a datagram with some bytes.
func (f family) transport(proto byte, answer bool) value {
	ports := f.openValue(client).join(f.openValue(service))
	flags, echo, chunk := byte(0x02), map[byte]byte{ruleset.ICMP: 8, ruleset.ICMPv6: 128}, byte(1)
	if answer {
		ports = f.openValue(service).join(f.openValue(client))
		flags, echo, chunk = 0x12, map[byte]byte{ruleset.ICMP: 0, ruleset.ICMPv6: 129}, 2
	}
	switch {
	case proto == ruleset.TCP: // RFC 9293, 3.1
		return ports.join(text([]byte{0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0}))
	case proto == ruleset.UDP:
		return ports.join(text([]byte{0, 16, 0, 0}, make([]byte, 8)))
	case proto == ruleset.SCTP: // RFC 9260, 3.1 and 3.3.2
		return ports.join(text([]byte{0, 0, 0, 0, 0, 0, 0, 0, chunk, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1}))
	case f.echoes(proto):
		return text([]byte{echo[proto], 0, 0, 0, 0, 1, 0, 1})
	}
	return text(make([]byte, 16))
}

// echoes reports whether a protocol is the family's own ICMP.
func (f family) echoes(proto byte) bool { return proto == f.icmp() }

// hasPorts reports whether a protocol has ports.
func hasPorts(proto byte) bool {
	return proto == ruleset.TCP || proto == ruleset.UDP || proto == ruleset.SCTP
}

// question is what asks for the MAC address of an address: ARP (RFC 826), or a neighbour
// solicitation to the group of those that may have it (RFC 4861, 4.3), from who has a MAC
// address and an address.
func (f family) question(hook ruleset.HookType, asks net.HardwareAddr, from, about value) *template {
	d := draft{hook: hook, from: mac(asks), to: known(full(6)), hops: 255, proto: ruleset.ICMPv6, source: from}
	if f.bytes == 4 {
		return d.frame(ruleset.EtherTypeARP, text([]byte{0, 1, 8, 0, 6, 4, 0, 1}, asks).join(from).join(text(make([]byte, 6))).join(about))
	}
	d.to = text([]byte{0x33, 0x33, 0xff}).join(about.part(13, 16))
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	d.target = text(group[:13]).join(about.part(13, 16))
	d.body = text([]byte{135, 0, 0, 0, 0, 0, 0, 0}).join(about).join(text([]byte{1, 1}, asks))
	return f.template(d)
}

// reply is the answer to a question, from who has the address (RFC 826; RFC 4861, 4.4).
func (f family) reply(hook ruleset.HookType, has, asked net.HardwareAddr, about, to value) *template {
	d := draft{hook: hook, from: mac(has), to: mac(asked), hops: 255, proto: ruleset.ICMPv6, source: about, target: to}
	if f.bytes == 4 {
		return d.frame(ruleset.EtherTypeARP, text([]byte{0, 1, 8, 0, 6, 4, 0, 2}, has).join(about).join(text(asked)).join(to))
	}
	d.body = text([]byte{136, 0, 0, 0, 0x60, 0, 0, 0}).join(about).join(text([]byte{2, 1}, has))
	return f.template(d)
}

// filled is one frame of a template.
func (t *template) filled(f family, at [dimensions]point) []byte {
	out := append([]byte(nil), t.bytes...)
	for i, tag := range t.tags {
		switch tag {
		case given:
		case unknown: // of the MAC address of an IPv4 group
			out[i] = f.octets(peer, at[peer])[1] & 0x7f
		default:
			out[i] = f.octets(tag.dimension(), at[tag.dimension()])[tag.place()]
		}
	}
	return out
}

// octets gives an open value as it stands in a frame.
func (f family) octets(dimension int, p point) []byte {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, p.hi), p.lo)
	return b[16-f.width(dimension):]
}
