package policytest

import (
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/reach"
	"macvtap-filter/internal/ruleset"
)

// broken gives the entries of a test that do not hold.
func (s *subject) broken(t config.Test) []config.Broken {
	var out []config.Broken
	for _, l := range []struct {
		key      string
		out, can bool
		entries  []config.TestEntry
		but      []config.TestEntry
	}{
		{"can", true, true, t.Can, nil},
		{"cannot", true, false, t.Cannot, t.Can},
		{"reached_by", false, true, t.ReachedBy, nil},
		{"not_reached_by", false, false, t.NotReachedBy, t.ReachedBy},
	} {
		for _, e := range l.entries {
			text := ""
			if l.can {
				text = s.closed(l.out, e)
			} else {
				text = s.opened(l.out, e, l.but)
			}
			if text != "" {
				out = append(out, config.Broken{Test: t, Entry: e, Text: fmt.Sprintf("%s %q does not hold: %s", l.key, e, text)})
			}
		}
	}
	return out
}

// closed says what of an entry can not be opened, "" for nothing.
func (s *subject) closed(out bool, e config.TestEntry) string {
	for _, all := range s.wanted(out, e) {
		if flow, ok := s.reach.Closed(out, all); ok {
			return s.explained(out, flow, false)
		}
	}
	return ""
}

// opened says what of an entry, and of no exception, passes.
func (s *subject) opened(out bool, e config.TestEntry, but []config.TestEntry) string {
	var exceptions []reach.Flows
	for _, one := range but {
		exceptions = append(exceptions, s.excepted(one)...)
	}
	if flow, ok := s.reach.Passes(out, s.refused(e), exceptions); ok {
		return s.explained(out, flow, true)
	}
	return ""
}

// peers gives the addresses of an entry; of one that names nobody, those of others.
func (s *subject) peers(e config.TestEntry, others []netipx.IPRange) []netipx.IPRange {
	if e.Peers == nil {
		return others
	}
	var out []netipx.IPRange
	for _, one := range e.Peers {
		switch one.Word {
		case "":
			out = append(out, one.Range)
		case config.Internet:
			out = append(out, s.have(internet(s.facts))...)
		default:
			out = append(out, s.have(policy.Expand(one, s.facts))...)
		}
	}
	return out
}

// have leaves of addresses that nobody wrote those of the families that the VM has.
func (s *subject) have(ranges []netipx.IPRange) []netipx.IPRange {
	if !s.policy.DropIPv6 {
		return ranges
	}
	return slices.DeleteFunc(ranges, func(r netipx.IPRange) bool { return r.From().Is6() })
}

// senders leaves the addresses that somebody can send from.
func (s *subject) senders(ranges []netipx.IPRange) []netipx.IPRange {
	var b netipx.IPSetBuilder
	for _, r := range ranges {
		b.AddRange(r)
	}
	for _, text := range []string{"224.0.0.0/4", "255.255.255.255/32", "ff00::/8"} {
		b.RemovePrefix(netip.MustParsePrefix(text))
	}
	for _, a := range s.facts.Broadcast {
		b.Remove(a)
	}
	set, _ := b.IPSet() // of ranges that are all right
	return set.Ranges()
}

// wanted gives what an entry says that can be opened, by the VM or, unless out, on it: of all
// services TCP, UDP but for DHCP, and echo.
func (s *subject) wanted(out bool, e config.TestEntry) []reach.Flows {
	peers := s.peers(e, s.have(internet(s.facts)))
	if !out {
		peers = s.senders(peers)
	}
	flows := services(e, peers)
	if e.Any {
		for _, f := range []reach.Flows{
			{Protos: []byte{ruleset.TCP}, From: 1, To: 65535},
			{Protos: []byte{ruleset.UDP}, From: 1, To: 66}, {Protos: []byte{ruleset.UDP}, From: 69, To: 545}, {Protos: []byte{ruleset.UDP}, From: 548, To: 65535},
			echo,
		} {
			f.Peers = peers
			flows = append(flows, f)
		}
	}
	return flows
}

// echo are echo requests of both families.
var echo = reach.Flows{Protos: []byte{ruleset.ICMP, ruleset.ICMPv6}}

// refused gives what an entry says that can not be opened: of all services every protocol.
func (s *subject) refused(e config.TestEntry) []reach.Flows {
	peers := s.peers(e, everybody())
	out := services(e, peers)
	if e.Any {
		out = append(out, reach.Flows{To: 65535, Peers: peers})
	}
	return out
}

// excepted gives what an entry of can or reached_by takes out of one of the others. The
// internet has IPv4 addresses that IPv6 ones carry, too.
func (s *subject) excepted(e config.TestEntry) []reach.Flows {
	peers := s.peers(e, internet(s.facts))
	if e.Peers == nil || slices.ContainsFunc(e.Peers, func(one config.Entry) bool { return one.Word == config.Internet }) {
		peers = slices.Concat(peers, carried(internet(s.facts)))
	}
	out := services(e, peers)
	if e.Any {
		out = append(out, reach.Flows{To: 65535, Peers: peers})
	}
	return out
}

// services gives the flows of the services that an entry lists.
func services(e config.TestEntry, peers []netipx.IPRange) []reach.Flows {
	var out []reach.Flows
	for _, v := range e.Services {
		out = append(out, reach.Flows{Protos: []byte{v.Proto}, From: v.From, To: v.To, Peers: peers})
	}
	if e.Ping && !e.Any {
		one := echo
		one.Peers = peers
		out = append(out, one)
	}
	return out
}
