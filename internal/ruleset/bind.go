package ruleset

import (
	"encoding/binary"
	"slices"
)

// Bind makes the rules of a device that nobody looked at yet, whose index is 0 in them, those
// of the device of that interface index alone. Since Linux 6.16 a chain outlives its device
// and binds itself to the next one of the same name, and would judge another VM's frames.
func (t Table) Bind(index int) Table {
	value := binary.NativeEndian.AppendUint32(nil, uint32(index))
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
		if s.Own() {
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
func bound(elements []Element, index []byte) []Element {
	var out []Element
	for _, e := range elements {
		if string(e.From[0]) == string(make([]byte, 4)) {
			key := append([][]byte{index}, e.From[1:]...)
			e.From, e.To = key, key
		}
		out = append(out, e)
	}
	return out
}

func boundRules(rules []Rule, index []byte) []Rule {
	out := slices.Clone(rules)
	for i, r := range out {
		out[i].Matches = slices.Clone(r.Matches)
		for j, m := range r.Matches {
			if c, ok := m.(Compare); ok && c.Field.Type == TypeInterface && string(c.Value) == string(make([]byte, 4)) {
				c.Value = index
				out[i].Matches[j] = c
			}
		}
	}
	return out
}
