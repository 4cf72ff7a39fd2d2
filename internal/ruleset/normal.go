package ruleset

import (
	"bytes"
	"math/bits"
	"net/netip"
	"slices"
)

// fields are those that have a name in a frame; meta fields have theirs anywhere.
var fields = []Field{
	EtherSource, EtherDestination, EtherType,
	IPSource, IPDestination, IPTTL, IPFragment,
	ARPHardware, ARPProtocol, ARPHardLen, ARPProtoLen, ARPOperation, ARPSenderMAC, ARPSenderIP, ARPTargetIP,
	IP6Length, IP6NextHeader, IP6HopLimit, IP6Source, IP6Destination,
	SourcePort, DestinationPort, TCPFlags, ICMPType, ICMPv6Type,
}

// Normal gives the rule as it is told from what the kernel holds, where several
// rules of this model are one: without the matches that nft adds by itself, with
// the name of every field that has one where it stands, joined compares taken
// apart (nft joins those of fields beside each other, src/rule.c, stmt_reduce)
// and the elements of anonymous sets in order. The field of an update is told like a
// match's. Two rules that the kernel cannot
// tell apart have the same normal form.
func (r Rule) Normal() Rule {
	r.Matches = r.Dependencies()
	for i, m := range r.Matches {
		r.Matches[i] = lower(m)
	}
	r.Updates = slices.Clone(r.Updates)
	for i, u := range r.Updates {
		r.Updates[i].Fields = lower(u.lookup()).fields()
	}
	return FromKernel(r)
}

// FromKernel gives the rule whose matches are all those that the kernel makes,
// each field of a header as Raw gives it, in normal form.
func FromKernel(r Rule) Rule {
	matches := slices.Clone(r.Matches)
	for _, u := range r.Updates {
		matches = append(matches, u.lookup())
	}
	matches = normal(matches)
	last := len(matches) - len(r.Updates)
	r.Updates = slices.Clone(r.Updates)
	for i := range r.Updates {
		r.Updates[i].Fields = matches[last+i].fields()
	}
	r.Matches = matches[:last]
	return r
}

func normal(lowered []Match) []Match {
	var named []Match
	var known context
	for _, m := range lowered {
		for _, m := range known.name(m) {
			known.note(m)
			named = append(named, m)
		}
	}
	return independent(named)
}

// lower gives a match as the kernel makes it: of the bytes at a place.
func lower(m Match) Match {
	switch m := m.(type) {
	case Compare:
		m.Field = m.Field.raw(m.Field.Size)
		return m
	case InPrefix:
		op, length := negated(m.Not), m.Prefix.Bits()
		network := m.Prefix.Masked().Addr().AsSlice()
		if length%8 == 0 {
			return Compare{Field: m.Field.raw(uint32(length / 8)), Op: op, Value: network[:length/8]}
		}
		return Masked{Field: m.Field.raw(m.Field.Size), Mask: Netmask(m.Prefix), Op: op, Value: network}
	case Masked:
		m.Field = m.Field.raw(m.Field.Size)
		return m
	case Between:
		m.Field = m.Field.raw(m.Field.Size)
		return m
	case OneOf:
		m.Field = m.Field.raw(m.Field.Size)
		return m
	case Lookup:
		m.Fields = slices.Clone(m.Fields)
		for i, f := range m.Fields {
			m.Fields[i] = f.raw(f.Size)
		}
		return m
	}
	return m
}

// raw is the first size bytes of the field without its name.
func (f Field) raw(size uint32) Field {
	if f.Base == Meta || f.Base == Constant {
		return f
	}
	return Raw(f.Base, f.Offset, size)
}

// Netmask gives the prefix's length as a mask.
func Netmask(p netip.Prefix) []byte {
	mask := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return mask
}

// name gives the match with the names that its fields have where it stands. A compare
// of several fields at once becomes one of each.
func (c *context) name(m Match) []Match {
	switch m := m.(type) {
	case Compare:
		return c.nameCompare(m)
	case Masked:
		m.Field = c.field(m.Field)
		if p, ok := m.prefix(); ok {
			return []Match{p}
		}
		return []Match{m}
	case Between:
		m.Field = c.field(m.Field)
		return []Match{m}
	case OneOf:
		m.Field, m.Elements = c.field(m.Field), ordered(m.Elements)
		return []Match{m}
	case Lookup:
		m.Fields = slices.Clone(m.Fields)
		known := *c
		for i, f := range m.Fields {
			m.Fields[i] = known.field(f)
		}
		return []Match{m}
	}
	return []Match{m}
}

// field gives the named field at the place of f, and f itself where there is none.
func (c *context) field(f Field) Field {
	for _, n := range fields {
		if c.names(n) && n.Base == f.Base && n.Offset == f.Offset && n.Size == f.Size {
			return n
		}
	}
	return f
}

// names reports whether the frame is known to have the field, so that nft adds
// nothing before it.
func (c *context) names(f Field) bool {
	return (f.Base != LinkHeader || c.ether) && (f.Needs == 0 || f.Needs == c.protocol) && (f.NeedsL4 == 0 || f.NeedsL4 == c.l4)
}

func (c *context) nameCompare(m Compare) []Match {
	if m.Field.Base == Meta {
		return []Match{m}
	}
	if named := c.field(m.Field); named != m.Field {
		m.Field = named
		return []Match{m}
	}
	for _, f := range fields {
		if !c.names(f) || f.Base != m.Field.Base || f.Offset != m.Field.Offset {
			continue
		}
		if f.Size > m.Field.Size && (f.Type == TypeIPv4 || f.Type == TypeIPv6) && (m.Op == Equal || m.Op == NotEqual) {
			whole := make([]byte, f.Size)
			copy(whole, m.Value)
			a, _ := netip.AddrFromSlice(whole)
			return []Match{InPrefix{Field: f, Not: m.Op == NotEqual, Prefix: netip.PrefixFrom(a, int(m.Field.Size)*8)}}
		}
		if f.Size < m.Field.Size && m.Op == Equal {
			first := Compare{Field: f, Op: Equal, Value: m.Value[:f.Size]}
			rest := c.nameCompare(Compare{Field: Raw(f.Base, f.Offset+f.Size, m.Field.Size-f.Size), Op: Equal, Value: m.Value[f.Size:]})
			if rest[0].fields()[0].Type != TypeRaw {
				return append([]Match{first}, rest...)
			}
		}
	}
	return []Match{m}
}

// prefix gives the match as one with a prefix, which is what it is when the mask
// is an address's first bits.
func (m Masked) prefix() (InPrefix, bool) {
	if m.Field.Type != TypeIPv4 && m.Field.Type != TypeIPv6 || m.Op != Equal && m.Op != NotEqual {
		return InPrefix{}, false
	}
	length := 0
	for _, b := range m.Mask {
		length += bits.OnesCount8(b)
	}
	a, _ := netip.AddrFromSlice(m.Value)
	p := netip.PrefixFrom(a, length)
	if p != p.Masked() || !bytes.Equal(Netmask(p), m.Mask) {
		return InPrefix{}, false
	}
	return InPrefix{Field: m.Field, Not: m.Op == NotEqual, Prefix: p}, true
}

// ordered sorts elements by their first values.
func ordered(elements []Element) []Element {
	compare := func(a, b Element) int { return slices.CompareFunc(a.From, b.From, bytes.Compare) }
	if slices.IsSortedFunc(elements, compare) {
		return elements
	}
	elements = slices.Clone(elements)
	slices.SortStableFunc(elements, compare)
	return elements
}

// independent leaves out the matches that nft adds by itself: the inverse of
// Rule.Dependencies.
func independent(all []Match) []Match {
	const most = 3 // as many as missing gives for one field
	out := make([]Match, 0, len(all))
	var known context
	for len(all) > 0 {
		next := 0
		for n := 1; n <= most && n < len(all); n++ {
			after := known
			if added := after.missing(all[n]); len(added) == n && slices.EqualFunc(added, all[:n], sameMatch) {
				known, next = after, n
				break
			}
		}
		known.note(all[next])
		out = append(out, all[next])
		all = all[next+1:]
	}
	return out
}
