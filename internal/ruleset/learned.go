package ruleset

import "slices"

// Inherit gives the table with what rules added to the dynamic sets of another, which it
// is to replace: after the elements that it begins with, and as many as there is room
// for. From the rules of another VM or of another device, or where these cannot be told
// apart because the rules do not name the device by its index, it takes nothing.
func (t Table) Inherit(from Table) Table {
	if t.Name != from.Name || t.Comment != from.Comment || !sameDevice(t, from) {
		return t
	}
	t.Sets = slices.Clone(t.Sets)
	for i, s := range t.Sets {
		for _, old := range from.Sets {
			if s.Dynamic > 0 && old.Dynamic > 0 && s.follows(old) && slices.Equal(s.Key, old.Key) {
				t.Sets[i].Elements = t.Sets[i].and(old.Elements)
			}
		}
	}
	return t
}

// follows reports whether a set is another's successor: it has the same name, or that with
// a family, "routers-ipv4" for "routers". The builds before had one set for both.
func (s Set) follows(old Set) bool {
	return s.Name == old.Name || s.Name == old.Name+"-ipv4" || s.Name == old.Name+"-ipv6"
}

// Learns reports whether rules add to sets of the table.
func (t Table) Learns() bool {
	return contains(t.Sets, func(s Set) bool { return s.Dynamic > 0 })
}

// and gives the elements with more, as many as the set has room for.
func (s Set) and(more []Element) []Element {
	all := slices.Clone(s.Elements)
	for _, e := range more {
		if len(all) < s.Dynamic && !hasElement(all, e) {
			all = append(all, e)
		}
	}
	return all
}

func hasElement(all []Element, e Element) bool {
	return contains(all, func(o Element) bool { return sameElement(o, e) })
}

// sameDevice reports whether a base chain of each of two tables asks first for the same
// device. One is enough: somebody may have emptied another.
func sameDevice(a, b Table) bool {
	return contains(a.Chains, func(c Chain) bool {
		m, ok := c.device()
		return ok && contains(b.Chains, func(o Chain) bool {
			other, ok := o.device()
			return ok && o.Name == c.Name && sameMatch(m, other)
		})
	})
}

// device gives the match by which the first rule of a base chain asks for its device.
func (c Chain) device() (Compare, bool) {
	if c.Hook == nil || len(c.Rules) == 0 || len(c.Rules[0].Matches) != 1 {
		return Compare{}, false
	}
	m, ok := c.Rules[0].Matches[0].(Compare)
	return m, ok && (m.Field == InputIndex || m.Field == OutputIndex)
}
