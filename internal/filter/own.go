package filter

import (
	"macvtap-filter/internal/ruleset"
)

// Sets of what is a NIC's own, by its interface index: its MAC address, as an address, as
// the bytes that it is where nft has no name for a field, and the lower half of the IPv6
// addresses that a guest makes of it. So the chains of a policy name no VM and no device.
const (
	ownMACSet  = ruleset.OwnPrefix + "mac"
	ownBitsSet = ruleset.OwnPrefix + "mac-bytes"
	ownIDsSet  = ruleset.OwnPrefix + "interface-identifiers"
)

// ownSets gives these sets.
func (b *builder) ownSets() []ruleset.Set {
	set := func(name string, value []byte, second ruleset.Field) ruleset.Set {
		key := [][]byte{unknownIndex, value}
		s := ruleset.Set{Name: name, Key: []ruleset.Type{ruleset.TypeInterface, second.Type}, Elements: []ruleset.Element{{From: key, To: key}}}
		if second.Type == ruleset.TypeRaw {
			s.Typeof = []ruleset.Field{ruleset.OutputIndex, second}
		}
		return s
	}
	return []ruleset.Set{
		set(ownMACSet, b.mac, ruleset.EtherSource),
		set(ownBitsSet, b.mac, dhcpHardware),
		set(ownIDsSet, b.interfaceIdentifier(), directInterface),
	}
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
