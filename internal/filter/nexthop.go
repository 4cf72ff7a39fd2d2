package filter

import (
	"net/netip"
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/ruleset"
)

// routers is the kind of the sets of the routers' MAC addresses. Most hosts take a datagram
// for any address that they have, on whatever NIC it comes (weak host model, RFC 1122,
// 3.3.4.2): so a denied host could be reached by its address of another network, in a
// frame to it. The VM's frames to other networks therefore go to routers only.
//
// A set holds at first what the host or the configuration knows, whatever the family by
// which it does: most routers are of both, with one MAC address. Rules add to it, from the
// ARP or the neighbour discovery that the VM hears of its routers: so a router that takes
// over from another is known as soon as the VM knows it. What one family tells is nothing
// to the other: whoever is no denied host by its IPv6 address may be one by its IPv4 ones.
const routers = "routers"

// maxRouters is the room for the routers of all NICs. No VM can fill it: rules add to it only
// from frames to a VM, of peers that it may talk to. When it is full, nobody else becomes
// a router, and nothing else changes: those rules have no verdict, and what the host or the
// configuration knows is in the set from the beginning.
const maxRouters = 65535

// fewRouters is the number of addresses in a row that are taken for those of routers, not
// for a network: a pair of routers has three.
const fewRouters = 4

// router matches a MAC address of a router of the family, as the NIC knows it or, with not,
// any other.
func (s side) router(f family, mac ruleset.Field, not bool) ruleset.Match {
	return ruleset.Lookup{Fields: []ruleset.Field{s.index(), mac}, Not: not, Set: routerSet(f)}
}

func routerSet(f family) string { return ruleset.OwnPrefix + f.set(routers) }

// KnowsRouters reports whether rules know a router of each family that some gateways are
// of. The builds before had one set for both families.
func KnowsRouters(t ruleset.Table, gateways []netip.Addr) bool {
	for _, f := range []family{family4, family6} {
		known := slices.ContainsFunc(t.Sets, func(s ruleset.Set) bool {
			return (s.Name == routerSet(f) || s.Name == f.set(routers) || s.Name == routers) && len(s.Elements) > 0
		})
		if !known && len(f.only(gateways)) > 0 {
			return false
		}
	}
	return true
}

// linkLocal6 is on every link (RFC 4291, 2.5.6).
var linkLocal6 = netip.MustParsePrefix("fe80::/10")

// routers gives the set of the MAC addresses of the family's routers. It is nothing where
// there can be none.
func (b *builder) routers(f family) ruleset.Set {
	if len(b.policy.GatewayMACs) == 0 && len(b.possibleRouters(f)) == 0 {
		return ruleset.Set{}
	}
	s := ruleset.Set{Name: routerSet(f), Key: []ruleset.Type{ruleset.TypeInterface, ruleset.TypeEtherAddr}, Dynamic: maxRouters}
	for _, mac := range b.policy.GatewayMACs {
		key := [][]byte{unknownIndex, mac}
		s.Elements = append(s.Elements, ruleset.Element{From: key, To: key})
	}
	return s
}

// denies reports whether any address of the family is denied. Where none is, there is
// no host that another way could lead to.
func (b *builder) denies(f family) bool {
	for _, d := range b.policy.Deny {
		if f.is(d.Addr()) {
			return true
		}
	}
	return false
}

// nextHopIsRouter reports whether the VM's datagrams to other networks go to routers
// only.
func (b *builder) nextHopIsRouter(f family) bool {
	return b.denies(f) && !b.policy.AnyNextHop && !b.policy.Isolate
}

// nextHop drops the VM's datagrams to other networks in frames to no router.
func (c *chain) nextHop(f family) {
	beyond, any := c.beyondLink(f)
	if !any || !c.denies(f) || c.policy.AnyNextHop {
		return
	}
	// Hosts take a datagram of UDP or ICMP for any address of theirs from such a frame, too.
	// Where the link is not known, an IPv4 address beyond it may be a broadcast one.
	if c.policy.PassMulticast && (f.name == family6.name || c.knowsLink(f)) {
		c.drop("broadcast", "datagram for one host in a frame for all", all(one(group), beyond)...)
	}
	if !c.nextHopIsRouter(f) {
		return
	}
	when := all(one(unicast), beyond)
	if c.has(routerSet(f)) {
		when = append(when, c.router(f, ruleset.EtherDestination, true))
	}
	c.drop("next-hop", f.label+" to another network, not to a router's MAC address", when...)
}

// beyondLink matches unicast addresses of other networks. Where the host knows none of
// the link's prefixes, these are all that are not denied. any is false when there are none.
func (s side) beyondLink(f family) (matches []ruleset.Match, any bool) {
	field := s.peerField(f)
	out := outside(field, append(s.link(f), f.groups()))
	if s.knowsLink(f) {
		return out, true
	}
	open, any := s.notClosed(f, field)
	return all(open, out), any
}

// link gives the family's prefixes that are known to be on the link.
func (b *builder) link(f family) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range b.policy.OnLink {
		if f.is(p.Addr()) {
			out = append(out, p)
		}
	}
	if f.name == family6.name {
		out = append(out, linkLocal6)
	}
	return out
}

// knowsLink reports whether the host knows a prefix of the link's own.
func (b *builder) knowsLink(f family) bool {
	for _, p := range b.link(f) {
		if p != linkLocal6 {
			return true
		}
	}
	return false
}

// openNeighbours gives the addresses of the family that are not closed and may be the
// link's: those in its prefixes. Where nobody is denied, and where neither the host nor the
// policy names anybody who could be the VM's router, these are all that are not closed.
func (b *builder) openNeighbours(f family) []netipx.IPRange {
	if !b.denies(f) || len(f.only(b.policy.Gateways)) == 0 && len(b.allowedRanges(f)) == 0 {
		return b.openRanges(f)
	}
	var out netipx.IPSetBuilder
	for _, p := range b.link(f) {
		out.AddPrefix(p)
	}
	out.RemoveSet(b.closedSet(f))
	return built(&out).Ranges()
}

// allowedRanges gives the family's peers that are allowed, whole or by a service,
// sorted, none within another.
func (b *builder) allowedRanges(f family) []netipx.IPRange {
	return f.merged(ofAddrs(b.policy.Hosts), b.policy.Ranges, b.policy.ServicePeers())
}

// merged joins the family's ranges out of several lists.
func (f family) merged(lists ...[]netipx.IPRange) []netipx.IPRange {
	var b netipx.IPSetBuilder
	for _, list := range lists {
		for _, r := range list {
			if f.is(r.From()) {
				b.AddRange(r)
			}
		}
	}
	return built(&b).Ranges()
}

// mayRoute gives those whose MAC addresses may be routers', beside the peers that are
// allowed whole: the gateways, and neighbours that are not denied. A host that is allowed
// by port is none, for by another address the VM would reach all its ports; but it may be
// one where it lies outside the link, or where neither link nor gateways are known.
func (b *builder) mayRoute(f family) []netipx.IPRange {
	var gateways []netipx.IPRange
	for _, r := range b.policy.ServicePeers() {
		for _, a := range b.policy.Gateways {
			if r.Contains(a) {
				gateways = append(gateways, netipx.IPRangeFrom(a, a))
			}
		}
	}
	return f.merged(gateways, b.portedRouters(f), b.openNeighbours(f))
}

// portedRouters gives those of the peers that are allowed by port that may be routers. A
// range may hold the link, and the addresses that no host has: a probe comes from such a
// one, whoever probes. Where a gateway is known, whole networks are none: a denied host
// may well have an address of those, too.
func (b *builder) portedRouters(f family) []netipx.IPRange {
	if !b.knowsLink(f) && len(f.only(b.policy.Gateways)) > 0 {
		return nil
	}
	var out netipx.IPSetBuilder
	for _, r := range f.merged(b.policy.ServicePeers()) {
		if len(f.only(b.policy.Gateways)) == 0 || few(r) {
			out.AddRange(r)
		}
	}
	for _, p := range append(b.link(f), f.special...) {
		out.RemovePrefix(p)
	}
	return built(&out).Ranges()
}

// few reports whether a range is of so few addresses that they are taken for routers'.
func few(r netipx.IPRange) bool {
	a := r.From()
	for range fewRouters {
		if a = a.Next(); !r.Contains(a) {
			return true
		}
	}
	return false
}

// wholeRouters gives those of the ranges that are allowed whole that may be of routers: all
// where no gateway is known, and else those of few addresses and what is on the link. By an
// address of an allowed network elsewhere a denied host of the link would become one.
func (b *builder) wholeRouters(f family) []netipx.IPRange {
	all := f.merged(b.policy.Ranges)
	if len(f.only(b.policy.Gateways)) == 0 {
		return all
	}
	var small, link, near netipx.IPSetBuilder
	for _, r := range all {
		near.AddRange(r)
		if few(r) {
			small.AddRange(r)
		}
	}
	for _, p := range b.link(f) {
		link.AddPrefix(p)
	}
	near.Intersect(built(&link))
	near.AddSet(built(&small))
	return built(&near).Ranges()
}

// learnARP adds to the routers' MAC addresses what ARP tells the VM of them.
func (c *chain) learnARP() {
	c.learn(family4, ruleset.ARPSenderIP, ruleset.ARPSenderMAC, all(ethernetIPv4(), one(unicastSender)))
}

// learnND adds to the routers' MAC addresses those from which router advertisements and
// neighbour discovery of theirs come: not every advertisement names it inside (RFC 4861,
// 4.4).
func (c *chain) learnND() {
	c.learn(family6, c.ip6, ruleset.EtherSource,
		[]ruleset.Match{singleSource, directly, discoveryHopLimit, icmpTypes([]byte{routerAdvertisement, neighbourSolicitation, neighbourAdvert})})
}

// unicastSender matches ARP whose sender has a MAC address that a host can have.
var unicastSender = ruleset.Masked{Field: ruleset.ARPSenderMAC, Mask: groupBit, Op: ruleset.Equal, Value: make([]byte, 6)}

// singleSource matches frames from a MAC address that a host can have: the VM's frames to a
// group's would reach all of it.
var singleSource = ruleset.Masked{Field: ruleset.EtherSource, Mask: groupBit, Op: ruleset.Equal, Value: make([]byte, 6)}

// possibleRouters gives those whose MAC addresses may be routers'.
func (b *builder) possibleRouters(f family) []netipx.IPRange {
	return f.merged(ofAddrs(b.policy.Hosts), b.wholeRouters(f), b.mayRoute(f))
}

// learn adds, for each way in which a field can hold the address of a router, a rule
// that adds a MAC address to the family's routers'.
func (c *chain) learn(f family, address, mac ruleset.Field, when []ruleset.Match) {
	if !c.has(routerSet(f)) {
		return
	}
	var peers []ruleset.Match
	if c.has(f.set(hosts)) {
		peers = append(peers, ruleset.Lookup{Fields: []ruleset.Field{address}, Set: f.set(hosts)})
	}
	if others := f.merged(c.wholeRouters(f), c.mayRoute(f)); len(others) > 0 {
		peers = append(peers, among(address, others))
	}
	for _, p := range peers {
		c.Rules = append(c.Rules, ruleset.Rule{Matches: all(when, one(p)), Updates: []ruleset.Update{{Set: routerSet(f), Fields: []ruleset.Field{c.index(), mac}}}})
	}
}

// WithRouter gives an interface's rules as they are once they know a router by that MAC address,
// by either family.
func WithRouter(t ruleset.Table, mac []byte) ruleset.Table {
	index, _ := t.Index()
	key := [][]byte{ruleset.Number(ruleset.OutputIndex, ruleset.Equal, index).Value, mac}
	t.Sets = slices.Clone(t.Sets)
	for i, s := range t.Sets {
		if s.Name == routerSet(family4) || s.Name == routerSet(family6) {
			t.Sets[i].Elements = append(slices.Clone(s.Elements), ruleset.Element{From: key, To: key})
		}
	}
	return t
}
