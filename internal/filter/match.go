package filter

import (
	"net/netip"

	"macvtap-filter/internal/ruleset"
)

// among matches a field that holds one of some addresses, of which there is at
// least one: the set of that kind where there are several (see sets), a compare
// where there is one.
func (f family) among(field ruleset.Field, kind string, all []netip.Addr, not bool) ruleset.Match {
	if len(all) > 1 {
		return ruleset.Lookup{Fields: []ruleset.Field{field}, Not: not, Set: f.set(kind)}
	}
	return is(field, all[0], not)
}

func is(field ruleset.Field, a netip.Addr, not bool) ruleset.Match {
	op := ruleset.Equal
	if not {
		op = ruleset.NotEqual
	}
	return ruleset.Compare{Field: field, Op: op, Value: a.AsSlice()}
}

// equals matches one address.
func equals(field ruleset.Field, a string) ruleset.Match {
	return is(field, netip.MustParseAddr(a), false)
}

// within matches an address in a prefix, or, with not, one outside it. Of fields
// without a name in nft the bytes are compared.
func within(field ruleset.Field, p netip.Prefix, not bool) ruleset.Match {
	if field.Type != ruleset.TypeRaw {
		return ruleset.InPrefix{Field: field, Not: not, Prefix: p}
	}
	op := ruleset.Equal
	if not {
		op = ruleset.NotEqual
	}
	network := p.Masked().Addr().AsSlice()
	if size := p.Bits() / 8; p.Bits()%8 == 0 {
		short := ruleset.Raw(field.Base, field.Offset, uint32(size))
		return ruleset.Compare{Field: short, Op: op, Value: network[:size]}
	}
	mask := make([]byte, field.Size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return ruleset.Masked{Field: field, Mask: mask, Op: op, Value: network}
}

// outside matches an address that lies in none of the prefixes. Each of its
// matches asks that the address is there to be read, so a frame cut short does
// not match.
func outside(field ruleset.Field, all []netip.Prefix) []ruleset.Match {
	var out []ruleset.Match
	for _, p := range all {
		out = append(out, within(field, p, true))
	}
	return out
}

// all joins matches and lists of matches into one list.
func all(parts ...[]ruleset.Match) []ruleset.Match {
	var out []ruleset.Match
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func one(m ruleset.Match) []ruleset.Match { return []ruleset.Match{m} }
