package filter

import (
	"net/netip"

	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// A view is one direction of traffic. The peer is the frame's destination on the
// way out and its source on the way in; otherwise both directions have the same
// rules.
type view struct {
	chain string // the base chain's name; the other chains' names begin with it
	hook  ruleset.HookType
	peer  string // for comments

	// kind is the field that tells IPv4, IPv6 and ARP from all else. On the way
	// in the kernel has lifted a VLAN tag off and calls the frame by what is
	// inside, so there the frame's own bytes are asked, the tag included. On
	// the way out nothing is lifted, and asking the kernel is cheaper.
	kind ruleset.Field

	ip, ip6, port ruleset.Field // the peer's
}

var fromVM = view{
	chain: "from-vm", hook: ruleset.Egress, peer: "destination", kind: ruleset.Protocol,
	ip: ruleset.IPDestination, ip6: ruleset.IP6Destination, port: ruleset.DestinationPort,
}

var toVM = view{
	chain: "to-vm", hook: ruleset.Ingress, peer: "source", kind: ruleset.EtherType,
	ip: ruleset.IPSource, ip6: ruleset.IP6Source, port: ruleset.SourcePort,
}

// maxCompares is the number of denied prefixes up to which comparing one after
// the other is cheaper than one lookup in a tree: a lookup costs about seven
// times a compare, but grows with no prefix.
const maxCompares = 7

// build adds the direction's counters and chains to the table.
func (v view) build(t *ruleset.Table, vm, device string, p policy.Policy) {
	ipv4 := v.addressChain(t, vm, family4, v.ip, p)
	ipv6 := v.addressChain(t, vm, family6, v.ip6, p)
	base := ruleset.Chain{Name: v.chain, Hook: &ruleset.Hook{Type: v.hook, Device: device}}
	base.Rules = []ruleset.Rule{
		{Matches: []ruleset.Match{ruleset.Is(v.kind, ruleset.EtherTypeIPv4)}, Verdict: ruleset.Goto(ipv4.Name)},
		{Matches: []ruleset.Match{ruleset.Is(v.kind, ruleset.EtherTypeIPv6)}, Verdict: ruleset.Goto(ipv6.Name)},
		{Matches: []ruleset.Match{ruleset.Is(v.kind, ruleset.EtherTypeARP)}, Verdict: ruleset.Accept},
		v.drop(t, vm, "vlan", "VLAN tag", ruleset.Is(v.kind, ruleset.EtherTypeVLAN)),
		v.drop(t, vm, "vlan", "VLAN tag (802.1ad)", ruleset.Is(v.kind, ruleset.EtherTypeQinQ)),
		v.drop(t, vm, "llc", "IEEE 802.2 LLC", ruleset.Compare{Field: ruleset.EtherType, Op: ruleset.Less, Value: []byte{0x06, 0x00}}),
		v.drop(t, vm, "ethertype", "not IPv4, IPv6 or ARP"),
	}
	t.Chains = append(t.Chains, ipv4, ipv6, base)
}

// drop makes a rule that drops and counts under a reason, and adds its counter.
func (v view) drop(t *ruleset.Table, vm, reason, words string, when ...ruleset.Match) ruleset.Rule {
	counter := v.chain + "-" + reason
	if n := len(t.Counters); n == 0 || t.Counters[n-1] != counter {
		t.Counters = append(t.Counters, counter)
	}
	return ruleset.Rule{
		Matches: when, Counter: counter, Verdict: ruleset.Drop,
		Comment: ruleset.Comment(words + ", VM " + vm),
	}
}

// family is one of the two versions of IP.
type family struct {
	name  string // as in the names of sets, chains and counters
	label string // for comments
	addr  ruleset.Type
	is    func(netip.Addr) bool
}

var (
	family4 = family{"ipv4", "IPv4", ruleset.TypeIPv4, netip.Addr.Is4}
	family6 = family{"ipv6", "IPv6", ruleset.TypeIPv6, netip.Addr.Is6}
)

// addressChain judges the peers of one family. The first rule lets everything
// pass that is not denied, and so the internet never pays for the length of the
// allow list.
func (v view) addressChain(t *ruleset.Table, vm string, f family, peer ruleset.Field, p policy.Policy) ruleset.Chain {
	c := ruleset.Chain{Name: v.chain + "-" + f.name}
	open, all := notDenied(p, f, peer)
	if !all {
		c.Rules = append(c.Rules, ruleset.Rule{Matches: open, Verdict: ruleset.Accept})
	}
	for _, s := range t.Sets {
		switch s.Name {
		case f.set(hosts), f.set(ranges):
			c.Rules = append(c.Rules, ruleset.Rule{
				Matches: []ruleset.Match{ruleset.Lookup{Fields: []ruleset.Field{peer}, Set: s.Name}},
				Verdict: ruleset.Accept,
			})
		case f.set(services):
			c.Rules = append(c.Rules, ruleset.Rule{
				Matches: v.service(f, peer, s.Name),
				Verdict: ruleset.Accept,
			})
		}
	}
	c.Rules = append(c.Rules, v.drop(t, vm, "denied-"+f.name, "denied "+f.label+" "+v.peer))
	return c
}

// notDenied matches the peers of a family that the policy does not deny; all
// reports that it denies every one. Each match asks that the address is there
// to be read, so a frame cut short is not let pass.
func notDenied(p policy.Policy, f family, peer ruleset.Field) (matches []ruleset.Match, all bool) {
	denied := f.prefixes(p.Deny)
	if len(denied) == 0 {
		return []ruleset.Match{anyAddress(f, peer)}, false
	}
	if denied[0].Bits() == 0 {
		return nil, true
	}
	if len(denied) > maxCompares {
		return []ruleset.Match{ruleset.Lookup{Fields: []ruleset.Field{peer}, Not: true, Set: f.set(deny)}}, false
	}
	for _, d := range denied {
		matches = append(matches, ruleset.InPrefix{Field: peer, Not: true, Prefix: d})
	}
	return matches, false
}

// anyAddress matches every frame long enough to have the address.
func anyAddress(f family, peer ruleset.Field) ruleset.Match {
	return ruleset.Compare{Field: peer, Op: ruleset.GreaterEqual, Value: make([]byte, peer.Size)}
}

// service matches an allowed service of a peer. Only a whole datagram or a first
// fragment carries the ports and can match; the kernel reads no transport
// header in later ones (net/netfilter/nft_payload.c), and for IPv4 the rule says
// so too.
func (v view) service(f family, peer ruleset.Field, set string) []ruleset.Match {
	lookup := ruleset.Lookup{Fields: []ruleset.Field{peer, ruleset.L4Proto, v.port}, Set: set}
	if f.name != family4.name {
		return []ruleset.Match{lookup}
	}
	first := ruleset.Masked{Field: ruleset.IPFragment, Mask: []byte{0x1f, 0xff}, Op: ruleset.Equal, Value: []byte{0, 0}}
	return []ruleset.Match{first, lookup}
}
