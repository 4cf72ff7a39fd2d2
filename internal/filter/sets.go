package filter

import (
	"encoding/binary"
	"net/netip"

	"go4.org/netipx"

	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// The kinds of sets that a table can have for a family; one with no element is
// left out.
const (
	deny     = "deny"
	hosts    = "allow"
	ranges   = "allow-ranges"
	services = "allow-services"
)

// set names the family's set of a kind: "allow-ranges-ipv4".
func (f family) set(kind string) string { return kind + "-" + f.name }

// sets gives the sets that the rules of a policy look up.
func sets(p policy.Policy) []ruleset.Set {
	var out []ruleset.Set
	add := func(s ruleset.Set) {
		if len(s.Elements) > 0 {
			out = append(out, s)
		}
	}
	for _, f := range []family{family4, family6} {
		if denied := f.prefixes(p.Deny); len(denied) > maxCompares && denied[0].Bits() > 0 {
			add(f.denySet(denied))
		}
		add(f.hostSet(p.Hosts))
		add(f.rangeSet(p.Ranges))
		add(f.serviceSet(p.Services))
	}
	return out
}

func (f family) prefixes(all []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range all {
		if f.is(p.Addr()) {
			out = append(out, p)
		}
	}
	return out
}

func (f family) denySet(denied []netip.Prefix) ruleset.Set {
	s := ruleset.Set{Name: f.set(deny), Key: []ruleset.Type{f.addr}, Interval: true}
	for _, p := range denied {
		s.Elements = append(s.Elements, element(netipx.RangeOfPrefix(p)))
	}
	return s
}

func (f family) hostSet(all []netip.Addr) ruleset.Set {
	s := ruleset.Set{Name: f.set(hosts), Key: []ruleset.Type{f.addr}}
	for _, a := range all {
		if f.is(a) {
			s.Elements = append(s.Elements, element(netipx.IPRangeFrom(a, a)))
		}
	}
	return s
}

func (f family) rangeSet(all []netipx.IPRange) ruleset.Set {
	s := ruleset.Set{Name: f.set(ranges), Key: []ruleset.Type{f.addr}, Interval: true}
	for _, r := range all {
		if f.is(r.From()) {
			s.Elements = append(s.Elements, element(r))
		}
	}
	return s
}

func (f family) serviceSet(all []policy.Service) ruleset.Set {
	s := ruleset.Set{
		Name: f.set(services), Interval: true,
		Key: []ruleset.Type{f.addr, ruleset.TypeInetProto, ruleset.TypeInetService},
	}
	for _, v := range all {
		if !f.is(v.Peers.From()) {
			continue
		}
		e := element(v.Peers)
		e.From = append(e.From, []byte{v.Proto}, binary.BigEndian.AppendUint16(nil, v.From))
		e.To = append(e.To, []byte{v.Proto}, binary.BigEndian.AppendUint16(nil, v.To))
		s.Elements = append(s.Elements, e)
	}
	return s
}

func element(r netipx.IPRange) ruleset.Element {
	return ruleset.Element{From: [][]byte{r.From().AsSlice()}, To: [][]byte{r.To().AsSlice()}}
}
