package filter

import (
	"slices"

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
// device has it (see Bind).
var unknownIndex = make([]byte, 4)

// isOwn matches a field that holds, in a set of what is a NIC's own, the NIC's of the frame.
func (v view) isOwn(set string, field ruleset.Field) ruleset.Match {
	return ruleset.Lookup{Fields: []ruleset.Field{v.index(), field}, Set: set}
}

// isNotOwn matches a field that holds another.
func (v view) isNotOwn(set string, field ruleset.Field) ruleset.Match {
	return ruleset.Lookup{Fields: []ruleset.Field{v.index(), field}, Set: set, Not: true}
}

// Bind makes a table the rules of the device of that interface index alone. Since
// Linux 6.16 a chain outlives its device and binds itself to the next one of the
// same name, and would judge another VM's frames.
func Bind(t ruleset.Table, index int) ruleset.Table {
	value := ruleset.Number(ruleset.OutputIndex, ruleset.Equal, uint32(index)).Value
	interfaces := map[uint32]string{}
	for old, name := range t.Interfaces {
		if old == 0 {
			old = uint32(index)
		}
		interfaces[old] = name
	}
	t.Interfaces = interfaces
	t.Sets = slices.Clone(t.Sets)
	for i, s := range t.Sets {
		if s.Key[0] == ruleset.TypeInterface {
			t.Sets[i].Elements = bound(s.Elements, value)
		}
	}
	t.Chains = slices.Clone(t.Chains)
	for i, c := range t.Chains {
		if c.Hook != nil {
			t.Chains[i].Rules = boundRules(c.Rules, value)
		}
	}
	return t
}

// bound gives the elements of an unknown device as those of the index.
func bound(elements []ruleset.Element, index []byte) []ruleset.Element {
	var out []ruleset.Element
	for _, e := range elements {
		if string(e.From[0]) == string(unknownIndex) {
			key := append([][]byte{index}, e.From[1:]...)
			e = ruleset.Element{From: key, To: key}
		}
		out = append(out, e)
	}
	return out
}

func boundRules(rules []ruleset.Rule, index []byte) []ruleset.Rule {
	out := slices.Clone(rules)
	for i, r := range out {
		out[i].Matches = slices.Clone(r.Matches)
		for j, m := range r.Matches {
			if c, ok := m.(ruleset.Compare); ok && c.Field.Type == ruleset.TypeInterface && string(c.Value) == string(unknownIndex) {
				c.Value = index
				out[i].Matches[j] = c
			}
		}
	}
	return out
}
