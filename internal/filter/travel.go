package filter

import (
	"net/netip"
	"slices"
	"time"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/ruleset"
)

// What rules have learned of a VM's addresses travels with it, in its <metadata>: to another
// host, into a saved VM, and into a snapshot. There it is a claim like the VM's own, and no more
// is taken of it than what rules would let a VM have that runs already.

// Learned gives the addresses that rules learned, or somebody bound, as metadata keep them: of
// what stands in sets, at a time. Where there are too many, those that last longest.
func Learned(sets map[string][]ruleset.Element, at time.Time) []domain.Bound {
	var t ruleset.Table
	for name, elements := range sets {
		t.Sets = append(t.Sets, ruleset.Set{Name: name, Elements: elements})
	}
	own, _, _ := Addresses(t)
	own = slices.DeleteFunc(own, func(a Address) bool { return a.Source == Configured })
	if len(own) > domain.MaxAddresses {
		slices.SortStableFunc(own, func(a, b Address) int { return int((b.lasts() - a.lasts()) / time.Second) })
		own = own[:domain.MaxAddresses]
		slices.SortFunc(own, func(a, b Address) int { return a.Compare(b.Addr) })
	}
	var out []domain.Bound
	for _, a := range own {
		b := domain.Bound{Addr: a.Addr, Known: string(a.Source)}
		if a.Left > 0 {
			b.Until = at.Add(a.Left).UTC().Truncate(time.Second)
		}
		out = append(out, b)
	}
	return out
}

// lasts is how long the address stays bound, if it is not used.
func (a Address) lasts() time.Duration {
	if a.Left == 0 {
		return max(leaseFor, claimFor) + 1
	}
	return a.Left
}

// Arriving gives rules for a VM that runs already (see Running) with the addresses that were
// bound to it where it ran. Those that these rules would never bind are refused; of a family
// that they do not learn, there is nothing to say.
func Arriving(t ruleset.Table, bound []domain.Bound, now time.Time) (out ruleset.Table, refused []domain.Bound) {
	out = Running(t)
	index, _ := t.Index()
	add := func(set string, e ruleset.Element) {
		for i, s := range out.Sets {
			if s.Name == set && !slices.ContainsFunc(s.Elements, func(o ruleset.Element) bool { return ruleset.SameElement(o, e) }) {
				out.Sets[i].Elements = append(slices.Clone(s.Elements), e)
			}
		}
	}
	var has, lasts bool // an IPv4 address that was learned, and one for as long as the VM runs
	var longest time.Duration
	for _, b := range bound {
		if !LearnsFamily(t, b.Addr) || b.Lapsed(now) {
			continue
		}
		timeout, may := wouldBind(t, b.Addr)
		if !may {
			refused = append(refused, b)
			continue
		}
		set, e := BoundByHand(int(index), b.Addr)
		if b.Known != string(ByHand) {
			e = ownElement(int(index), b.Addr)
			e.Left = left(b, now, timeout)
			if b.Is4() {
				has, lasts, longest = true, lasts || e.Left == 0, max(longest, e.Left)
			}
		}
		add(set, e)
	}
	if has { // as where it ran: no other address is the first one any more
		e := nicElement(index)
		if !lasts {
			e.Left = longest
		}
		add(boundSet, e)
	}
	return out, refused
}

// left says how long an address stays bound, by what rules give one that a VM uses which runs
// already; 0 is for as long as it runs.
func left(b domain.Bound, now time.Time, timeout time.Duration) time.Duration {
	if b.Until.IsZero() {
		return timeout
	}
	longest := claimFor
	if b.Is4() {
		longest = leaseFor
	}
	return min(b.Until.Sub(now), longest)
}

// wouldBind reports whether an interface's rules would bind an address that a VM uses which runs
// already, as far as the address says (see learnUsed), and for how long.
func wouldBind(t ruleset.Table, a netip.Addr) (timeout time.Duration, may bool) {
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			u, binds := bindsRunning(r, familyOf(a))
			if binds && !slices.ContainsFunc(r.Matches, func(m ruleset.Match) bool { return forbids(m, u.Fields[1], a) }) {
				return u.Timeout, true
			}
		}
	}
	return 0, false
}

// bindsRunning reports whether a rule binds what a VM uses which runs already, and how.
func bindsRunning(r ruleset.Rule, f family) (u ruleset.Update, binds bool) {
	running := func(m ruleset.Match) bool {
		l, ok := m.(ruleset.Lookup)
		return ok && l.Set == runningSet
	}
	i := slices.IndexFunc(r.Updates, func(u ruleset.Update) bool { return u.Set == f.ownAddresses() && !u.Delete })
	if i < 0 || !slices.ContainsFunc(r.Matches, running) {
		return u, false
	}
	return r.Updates[i], true
}

// forbids reports whether a match is of the field that holds an address, and keeps this one from
// it. What sets say of the address is nothing yet, where the VM starts.
func forbids(m ruleset.Match, field ruleset.Field, a netip.Addr) bool {
	if _, ok := m.(ruleset.Lookup); ok {
		return false
	}
	f := ruleset.Fields(m)[0]
	return f.Base == field.Base && f.Offset == field.Offset && f.Size <= field.Size && !ruleset.Holds(m, a.AsSlice())
}
