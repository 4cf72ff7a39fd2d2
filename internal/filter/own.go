package filter

import (
	"net/netip"
	"slices"

	"macvtap-filter/internal/ruleset"
)

// Sets of what is a NIC's own, by its interface index: its MAC address, as an address, as
// the bytes that it is where nft has no name for a field, and the lower half of the IPv6
// addresses that a guest makes of it; its IP addresses. So the chains of a policy name no
// VM and no device.
const (
	ownMACSet  = ruleset.Anchor
	ownBitsSet = ruleset.OwnPrefix + "mac-bytes"
	ownIDsSet  = ruleset.OwnPrefix + "interface-identifiers"
)

// ownAddresses names the set of the family's addresses of all NICs.
func (f family) ownAddresses() string { return ruleset.OwnPrefix + f.set("addresses") }

// ownSets gives these sets.
func (b *builder) ownSets() []ruleset.Set {
	out := []ruleset.Set{
		ownSet(ownMACSet, ruleset.EtherSource, b.mac),
		ownSet(ownBitsSet, dhcpHardware, b.mac),
		ownSet(ownIDsSet, directInterface, b.interfaceIdentifier()),
	}
	for _, f := range []family{family4, family6} {
		if !b.knowsOwn(f) {
			continue
		}
		s := ownSet(f.ownAddresses(), f.sourceBytes())
		for _, a := range b.own(f) {
			key := [][]byte{unknownIndex, a.AsSlice()}
			s.Elements = append(s.Elements, ruleset.Element{From: key, To: key, Comment: a.String()}) // nft lists bytes
		}
		s.Dynamic, s.Expires = maxLearned, true
		out = append(out, s)
	}
	if b.learns(family4) || b.learns(family6) {
		out = append(out, learnSets()...)
	}
	out = append(out, b.limitSets()...)
	return append(lasting(out), b.flowSets()...)
}

// ownSet gives a set of the NIC's values of a field.
func ownSet(name string, field ruleset.Field, values ...[]byte) ruleset.Set {
	s := ruleset.Set{Name: name, Key: []ruleset.Type{ruleset.TypeInterface, field.Type}}
	if field.Type == ruleset.TypeRaw {
		s.Typeof = []ruleset.Field{ruleset.OutputIndex, field}
	}
	for _, v := range values {
		key := [][]byte{unknownIndex, v}
		s.Elements = append(s.Elements, ruleset.Element{From: key, To: key})
	}
	return s
}

// own gives the VM's own addresses of the family, as far as the configuration says. Of
// IPv6, link-local ones are among them: that which a guest makes of its MAC address,
// where none is named.
func (b *builder) own(f family) []netip.Addr {
	known := f.only(b.policy.Addresses)
	named := func(p netip.Prefix) bool { return p.Overlaps(linkLocal6) }
	if f.name == family4.name || b.learns(f) || !b.policy.Names(false) || slices.ContainsFunc(known, linkLocal6.Contains) || slices.ContainsFunc(b.policy.Prefixes, named) {
		return known
	}
	address := append([]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0}, b.interfaceIdentifier()...)
	made, _ := netip.AddrFromSlice(address) // 16 bytes are one
	all := append(slices.Clone(known), made)
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// knowsOwn reports whether frames of the family from other addresses than the VM's own
// are spoofed: the configuration says which these are, or they are learned.
func (b *builder) knowsOwn(f family) bool {
	return b.policy.Names(f.name == family4.name) && !b.policy.PassSpoofing || b.learns(f)
}

// ownPrefixes gives the prefixes of the family whose addresses are all the VM's.
func (b *builder) ownPrefixes(f family) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range b.policy.Prefixes {
		if f.is(p.Addr()) {
			out = append(out, p)
		}
	}
	return out
}

// isVMs gives the matches one of which holds if a field, read as bytes, is an address of the
// VM's own; isNotVMs those all of which hold if it is none.
func (s side) isVMs(f family, field ruleset.Field) []ruleset.Match {
	out := one(s.isOwn(f.ownAddresses(), field))
	for _, p := range s.ownPrefixes(f) {
		out = append(out, within(field, p, false))
	}
	return out
}

func (s side) isNotVMs(f family, field ruleset.Field) []ruleset.Match {
	return append(one(s.isNotOwn(f.ownAddresses(), field)), outside(field, s.ownPrefixes(f))...)
}

// sourceBytes is where a datagram's source address stands. Addresses of the VM are looked up
// as bytes, since some fields that hold one have no name in nft. Such a look-up is its rule's
// first match: behind one that says the protocol, nft would list the field by its name, and
// load no such rule.
func (f family) sourceBytes() ruleset.Field {
	if f.name == family4.name {
		return network(12, 4)
	}
	return network(8, 16)
}

// unknownIndex is the interface index in rules for a device that nobody looked at yet; no
// device has it (see ruleset.Table.Bind).
var unknownIndex = make([]byte, 4)

// isOwn matches a field that holds, in a set of what is a NIC's own, the NIC's of the frame.
func (v view) isOwn(set string, field ruleset.Field) ruleset.Match {
	return ruleset.Lookup{Fields: []ruleset.Field{v.index(), field}, Set: set}
}

// isNotOwn matches a field that holds another.
func (v view) isNotOwn(set string, field ruleset.Field) ruleset.Match {
	return ruleset.Lookup{Fields: []ruleset.Field{v.index(), field}, Set: set, Not: true}
}
