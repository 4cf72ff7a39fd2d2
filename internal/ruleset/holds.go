package ruleset

import (
	"bytes"
	"net/netip"
	"slices"
)

// Holds reports whether a match of one field holds where the field has that value, of which
// there may be more than the match reads. Of a Lookup that is the set's to say.
func Holds(m Match, value []byte) bool {
	switch m := m.(type) {
	case Compare:
		return compare(value[:len(m.Value)], m.Op, m.Value)
	case InPrefix:
		return inPrefix(value, m.Prefix) != m.Not
	case Masked:
		return compare(and(value[:len(m.Mask)], m.Mask), m.Op, m.Value)
	case Between:
		return isBetween(value, m.From, m.To)
	case OneOf:
		is := func(e Element) bool { return isBetween(value, e.From[0], e.To[0]) }
		return slices.ContainsFunc(m.Elements, is) != m.Not
	}
	return false
}

func compare(value []byte, op Op, with []byte) bool {
	c := bytes.Compare(value, with)
	switch op {
	case Equal:
		return c == 0
	case NotEqual:
		return c != 0
	case Less:
		return c < 0
	case GreaterEqual:
		return c >= 0
	}
	return false
}

func and(value, mask []byte) []byte {
	out := make([]byte, len(value))
	for i := range value {
		out[i] = value[i] & mask[i]
	}
	return out
}

// inPrefix compares the bytes of an address, as many as the prefix has at least.
func inPrefix(value []byte, p netip.Prefix) bool {
	network := p.Masked().Addr().AsSlice()
	for bit := range p.Bits() {
		mask := byte(0x80 >> (bit % 8))
		if value[bit/8]&mask != network[bit/8]&mask {
			return false
		}
	}
	return true
}

func isBetween(value, from, to []byte) bool {
	value = value[:len(from)]
	return bytes.Compare(value, from) >= 0 && bytes.Compare(value, to) <= 0
}
