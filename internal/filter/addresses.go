package filter

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"macvtap-filter/internal/ruleset"
)

// A Source is how a VM's address is known to be its own.
type Source string

// The sources.
const (
	Configured Source = "configured" // addresses in the configuration
	ByHand     Source = "by hand"    // somebody bound it
	DHCP       Source = "dhcp"       // an allowed DHCP server handed it out
	First      Source = "first"      // the first IPv4 address that the VM used
	Probe      Source = "probe"      // the VM probed for it (RFC 4862, 5.4), or used it when its rules came
)

// Learned reports whether rules found it out themselves.
func (s Source) Learned() bool { return s == DHCP || s == First || s == Probe }

// An Address is one that rules take for a VM's own.
type Address struct {
	netip.Addr
	Source Source
	Used   *time.Duration // ago that the VM was last seen to use or get it; nil where nobody knows
	Left   time.Duration  // until it is forgotten, if it is not used; 0 for never
}

// Addresses gives the addresses that an interface's rules take for its VM's own, sorted, and
// whether any address of IPv4 or of IPv6 passes, since nobody knows which are.
func Addresses(t ruleset.Table) (own []Address, anyIPv4, anyIPv6 bool) {
	for _, f := range []family{family4, family6} {
		for _, s := range t.Sets {
			if s.Name != f.ownAddresses() {
				continue
			}
			for _, e := range s.Elements {
				if a, ok := netip.AddrFromSlice(e.From[1]); ok {
					own = append(own, f.known(a, e))
				}
			}
		}
	}
	slices.SortFunc(own, func(a, b Address) int { return a.Compare(b.Addr) })
	unknown := func(f family) bool {
		judges := func(c ruleset.Chain) bool { return c.Name == fromVM.prefix+"-"+f.name }
		return slices.ContainsFunc(t.Chains, judges) && !t.Uses(f.ownAddresses())
	}
	return own, unknown(family4), unknown(family6)
}

// Refused gives the addresses that the VM used, beside the first one, when its rules came: frames
// from them are dropped.
func Refused(t ruleset.Table) []netip.Addr {
	var out []netip.Addr
	for _, s := range t.Sets {
		if s.Name != refusedSet {
			continue
		}
		for _, e := range s.Elements {
			if a, ok := netip.AddrFromSlice(e.From[1]); ok {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	own, _, _ := Addresses(t)
	return slices.DeleteFunc(out, func(a netip.Addr) bool {
		return slices.ContainsFunc(own, func(known Address) bool { return known.Addr == a })
	})
}

// known says how an address is known: what is configured or bound by hand has a comment.
func (f family) known(a netip.Addr, e ruleset.Element) Address {
	out := Address{Addr: a, Left: e.Left}
	lasts := claimFor
	if f.name == family4.name {
		lasts = leaseFor
	}
	switch {
	case strings.HasSuffix(e.Comment, byHand):
		out.Source = ByHand
	case e.Comment != "":
		out.Source = Configured
	case f.name == family6.name:
		out.Source = Probe
	case e.Left > 0:
		out.Source = DHCP
	default:
		out.Source = First
	}
	// One that is to go within releasedFor was released just now (see forgetLease), or not used
	// for weeks.
	if e.Left > releasedFor {
		out.Used = new(lasts - e.Left)
	}
	return out
}

// byHand ends the comment of an element that somebody bound.
const byHand = " bound by hand"

// BoundByHand gives the set and the element by which an address is a VM's own on the interface of
// that index.
func BoundByHand(index int, a netip.Addr) (set string, e ruleset.Element) {
	f := familyOf(a)
	e = ownElement(index, a)
	e.Comment = ruleset.Comment(a.String() + byHand)
	return f.ownAddresses(), e
}

// Forgotten gives the elements, by their sets, without which an address is not the VM's own
// any more; with last, the only one of IPv4, another may take its place.
func Forgotten(index int, a netip.Addr, last bool) map[string][]ruleset.Element {
	out := map[string][]ruleset.Element{familyOf(a).ownAddresses(): {ownElement(index, a)}}
	if last && a.Is4() {
		out[boundSet] = []ruleset.Element{nicElement(uint32(index))}
	}
	return out
}

// WithAddress gives rules with an address that is their VM's own.
func WithAddress(t ruleset.Table, a netip.Addr) ruleset.Table {
	index, _ := t.Index()
	t.Sets = slices.Clone(t.Sets)
	for i, s := range t.Sets {
		if s.Name == familyOf(a).ownAddresses() {
			t.Sets[i].Elements = append(slices.Clone(s.Elements), ownElement(int(index), a))
		}
	}
	return t
}

// LearnsFamily reports whether an interface's rules learn its VM's addresses of the address's
// family.
func LearnsFamily(t ruleset.Table, a netip.Addr) bool { return t.Filled()[familyOf(a).ownAddresses()] }

// Unlearned reports whether a rule drops what is not from an address of the VM's own, where rules
// learn these and know none yet.
func Unlearned(t ruleset.Table, r ruleset.Rule) bool {
	for _, f := range []family{family4, family6} {
		known := slices.ContainsFunc(t.Sets, func(s ruleset.Set) bool { return s.Name == f.ownAddresses() && len(s.Elements) > 0 })
		asks := slices.ContainsFunc(r.Matches, func(m ruleset.Match) bool {
			lookup, is := m.(ruleset.Lookup)
			return is && lookup.Set == f.ownAddresses() && lookup.Not
		})
		if asks && !known && t.Filled()[f.ownAddresses()] {
			return true
		}
	}
	return false
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return family4
	}
	return family6
}

func ownElement(index int, a netip.Addr) ruleset.Element {
	key := [][]byte{ruleset.Number(ruleset.OutputIndex, ruleset.Equal, uint32(index)).Value, a.AsSlice()}
	return ruleset.Element{From: key, To: key}
}

// nicElement is the element of a set that holds interfaces alone.
func nicElement(index uint32) ruleset.Element {
	key := [][]byte{ruleset.Number(ruleset.OutputIndex, ruleset.Equal, index).Value}
	return ruleset.Element{From: key, To: key}
}
