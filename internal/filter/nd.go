package filter

import (
	"net/netip"

	"go4.org/netipx"

	"macvtap-filter/internal/ruleset"
)

// The types of ICMPv6 messages that the rules know (RFC 4861, 4; RFC 3810, 5;
// RFC 2710, 3).
const (
	mldQuery              = 130
	mldReport             = 131
	mldDone               = 132
	routerSolicitation    = 133
	routerAdvertisement   = 134
	neighbourSolicitation = 135
	neighbourAdvert       = 136
	redirect              = 137
	mldv2Report           = 143
)

// The parts of a neighbour discovery message: the target's address, and the first
// option, of one unit of eight bytes; router solicitations have no target (RFC 4861,
// 4.1, 4.3, 4.4, 4.6.1).
//
// Rules that ask whether ICMPv6 stands directly behind the IPv6 header count from
// there, for it is 40 bytes long. What they count from the ICMPv6 header, nft 1.1
// lists as "icmpv6 taddr" or "icmpv6 daddr", an option as well, and what it loads of
// that list asks for other types, too.
var (
	ndTarget = ruleset.Raw(ruleset.TransportHeader, 8, 16)

	directTarget = ruleset.Raw(ruleset.NetworkHeader, 40+8, 16)
	// directInterface is the lower half of the target: the interface identifier.
	directInterface = ruleset.Raw(ruleset.NetworkHeader, 40+16, 8)
)

// Where the first option stands behind an IPv6 header.
const (
	directNDOption = 40 + 24
	directRSOption = 40 + 8
)

// The types of the options that hold a MAC address (RFC 4861, 4.6.1).
const (
	sourceMAC = 1
	targetMAC = 2
)

var (
	noAddress4        = netip.IPv4Unspecified()
	noAddress6        = netip.IPv6Unspecified()
	solicitedNode     = netip.MustParsePrefix("ff02::1:ff00:0/104") // RFC 4291, 2.7.1
	linkScopeGroups   = netip.MustParsePrefix("ff02::/16")
	multicastIPv6     = family6.multicast
	discoveryTypes    = []byte{routerSolicitation, neighbourSolicitation, neighbourAdvert}
	neighbourTypes    = []byte{neighbourSolicitation, neighbourAdvert}
	discoveryHopLimit = ruleset.Byte(ruleset.IP6HopLimit, 255) // RFC 4861, 7.1: not from afar
)

// toSolicitedNode matches frames to the groups of solicited nodes, and toGroup datagrams
// for a group in frames to it (RFC 2464, 7): a frame to all, or to one host, makes others
// take notice.
var toSolicitedNode = ruleset.Masked{
	Field: ruleset.EtherDestination, Mask: []byte{0xff, 0xff, 0xff, 0, 0, 0}, Op: ruleset.Equal, Value: []byte{0x33, 0x33, 0xff, 0, 0, 0},
}

func toGroup(address string) []ruleset.Match {
	a := netip.MustParseAddr(address)
	mac := append([]byte{0x33, 0x33}, a.AsSlice()[12:]...)
	return []ruleset.Match{ruleset.Compare{Field: ruleset.EtherDestination, Op: ruleset.Equal, Value: mac}, is(ruleset.IP6Destination, a, false)}
}

func icmpType(n byte) ruleset.Match { return ruleset.Byte(ruleset.ICMPv6Type, n) }

func icmpTypes(types []byte) ruleset.Match { return amongBytes(ruleset.ICMPv6Type, types...) }

// icmpv6 judges ICMPv6, neighbour discovery above all. A fragment that hides its
// type matches no rule that accepts by type (RFC 6980).
func (s side) icmpv6() {
	if s.out {
		s.icmpv6FromVM()
		s.reports()
		s.solicitations()
		s.advertisements()
		s.routerSolicitations()
		s.discoveryPeers()
	} else {
		s.icmpv6ToVM()
	}
}

func (s side) icmpv6FromVM() {
	c := s.newChain("icmpv6")
	if !s.policy.PassRouters {
		c.drop("router-advertisement", "router advertisement", typed(routerAdvertisement))
		c.drop("redirect", "redirect", typed(redirect))
	}
	if !s.policy.PassSpoofing {
		if taken, any := s.taken(family6, ruleset.IP6Source, false); any {
			c.drop("spoofed-ip", "source address of another host", taken)
		}
		c.dropRanges("spoofed-ip", "source address that no host has", ruleset.IP6Source, family6.nobodys())
	}
	c.foreignSource(family6)
	c.keepsAddress(family6.sourceBytes())
	if s.policy.PassNeighbours { // then no chain of theirs learns
		c.learnProbe(probeOfVM())
	}
	c.nextHop(family6)
	if s.policy.PassRouters {
		c.accept(routersPass, directly, discoveryHopLimit, icmpTypes([]byte{routerAdvertisement, redirect}))
	}
	if s.policy.PassNeighbours {
		c.accept(neighboursPass, directly, icmpTypes(discoveryTypes))
	} else {
		c.goTo("ns", typed(neighbourSolicitation))
		c.goTo("na", typed(neighbourAdvert))
		c.goTo("rs", typed(routerSolicitation))
	}
	c.goTo("mld", alerted()...)
	if !c.policy.PassTunnels {
		// As in sourceRoutes, but here it is known what comes last.
		c.routed()
		c.drop("source-route", "several IPv6 extension headers", isNot(ruleset.IP6NextHeader, ruleset.ICMPv6), isNot(secondHeader, ruleset.ICMPv6))
	}
	if !c.policy.PassSpoofing {
		c.drop("spoofed-ip", "no source address", is(ruleset.IP6Source, noAddress6, false))
	}
	c.groups(family6)
	c.open6()
	c.drop("multicast", "IPv6 multicast", within(ruleset.IP6Destination, multicastIPv6, false))
	c.drop("denied-ipv6", "denied IPv6 destination")
	c.done()
}

// reports judges what the VM tells switches and routers of the groups it listens to:
// without, switches do not deliver neighbour discovery to it. Each is one ICMPv6
// message behind one hop-by-hop header of eight bytes that holds the router alert and
// nothing else (RFC 2710, 3; RFC 3810, 5): a host answers an option that it does not
// know, whoever the packet is for (RFC 8200, 4.2). The older report goes to the group
// itself: to one of the link, and to wider ones that are allowed.
func (s side) reports() {
	c := s.newChain("mld")
	message := func(words string, kind byte, to ruleset.Match) {
		c.accept(words, to, ruleset.Byte(afterHopByHop, kind))
	}
	const listens = "MLD: the groups that the VM listens to, or leaves"
	message(listens, mldv2Report, equals(ruleset.IP6Destination, "ff02::16"))
	message(listens, mldReport, within(ruleset.IP6Destination, linkScopeGroups, false))
	message(listens, mldDone, equals(ruleset.IP6Destination, "ff02::2"))
	if groups := s.groupsAllowed(family6); len(groups) > 0 {
		message("MLD of "+s.groupWords(family6, anyOf), mldReport, among(ruleset.IP6Destination, groups))
	}
	if s.policy.PassRouters {
		message(routersPass, mldQuery, within(ruleset.IP6Destination, multicastIPv6, false))
	}
	c.drop("multicast", "no report of IPv6 groups")
	c.done()
}

// alerted matches ICMPv6 behind a router alert, to a group on this link (RFC 2711). Its
// padding comes behind it or before (RFC 8200, 4.2).
func alerted() []ruleset.Match {
	return []ruleset.Match{
		ruleset.Byte(ruleset.IP6NextHeader, hopByHop), ruleset.Byte(ruleset.IP6HopLimit, 1), group,
		ruleset.Among(afterIPv6, false,
			bytesOf(ruleset.ICMPv6, 0, 5, 2, 0, 0, 1, 0),
			bytesOf(ruleset.ICMPv6, 0, 1, 0, 5, 2, 0, 0)),
	}
}

func bytesOf(b ...byte) ruleset.Element { return ruleset.Element{From: [][]byte{b}, To: [][]byte{b}} }

// hopByHop is the header of hop-by-hop options, which follows the IPv6 header at
// once (RFC 8200, 4.3); afterIPv6 is one of eight bytes, the next header and its own
// length first, and afterHopByHop is the first byte behind it.
const hopByHop = 0

var (
	afterIPv6     = ruleset.Raw(ruleset.NetworkHeader, 40, 8)
	afterHopByHop = ruleset.Raw(ruleset.NetworkHeader, 48, 1)
)

// directly matches ICMPv6 without any header before it: only then is the type that
// the kernel reads the message's own (see withPorts), and none is hidden.
var directly = ruleset.Byte(ruleset.IP6NextHeader, ruleset.ICMPv6)

// typed matches a type of the VM's ICMPv6, whatever stands before it, and typedFrom several
// in a row. Of a later fragment the kernel reads the type alone from the destination MAC
// address (see portAndMore), and pings by some routers would match.
func typed(kind byte) ruleset.Match { return typedFrom(kind, kind) }

func typedFrom(first, last byte) ruleset.Match {
	return ruleset.Between{Field: ruleset.Raw(ruleset.TransportHeader, 0, 3), From: []byte{first, 0, 0}, To: []byte{last, 0xff, 0xff}}
}

// fragmented matches fragments of ICMPv6. No host takes neighbour discovery in fragments,
// a router's included (RFC 6980, 5).
var fragmented = []ruleset.Match{ruleset.Byte(ruleset.IP6NextHeader, fragmentHeader), ruleset.Byte(secondHeader, ruleset.ICMPv6)}

// open6 lets pass the peers that are allowed whole or not denied.
func (c *chain) open6() {
	c.drop("nd", "neighbour discovery in fragments", ruleset.Byte(ruleset.IP6NextHeader, fragmentHeader), typedFrom(routerSolicitation, redirect))
	for _, kind := range []string{hosts, ranges} {
		if c.has(family6.set(kind)) {
			peer := ruleset.Lookup{Fields: []ruleset.Field{c.ip6}, Set: family6.set(kind)}
			c.lets(family6, c.allowWords(family6, kind, 0), directly, peer)
			c.lets(family6, c.allowWords(family6, kind, 0), all(fragmented, one(peer))...)
		}
	}
	c.asRouters6()
	if peers, any := c.notClosed(family6, c.ip6); any {
		c.lets(family6, c.openWords(family6), peers...)
	}
	c.goTranslated(family6)
}

const mldQueryWords = "MLD query of a switch or router"

func mldQueries() []ruleset.Match {
	return all(alerted(), []ruleset.Match{within(ruleset.IP6Source, linkLocal6, false), ruleset.Byte(afterHopByHop, mldQuery)})
}

func (s side) icmpv6ToVM() {
	c := s.newChain("icmpv6")
	c.learnND()
	c.hearND()
	for _, kind := range []string{hosts, ranges} {
		if c.has(family6.set(kind)) {
			c.lets(family6, s.allowWords(family6, kind, 0), ruleset.Lookup{Fields: []ruleset.Field{s.ip6}, Set: family6.set(kind)})
		}
	}
	c.asRouters6()
	if s.denies(family6) { // else whoever may be the VM's router is open
		c.drop("router-advertisement", "router advertisement of no gateway", icmpType(routerAdvertisement))
		c.drop("redirect", "redirect of no gateway", icmpType(redirect))
	}
	c.accept(mldQueryWords, mldQueries()...)
	c.ownND()
	c.routersND()
	if c.has(routerSet(family6)) {
		// A router may ask by an address that is denied, its global one.
		c.accept("neighbour discovery of a router", directly, discoveryHopLimit, icmpTypes(neighbourTypes), c.router(family6, ruleset.EtherSource, false))
	}
	switch {
	case s.policy.PassNeighbours:
		c.accept(neighboursPass, directly, icmpTypes(neighbourTypes))
	case s.servesNeighbours():
		c.accept(s.clientWords(), directly, icmpTypes(neighbourTypes))
	case c.has(family6.set(servicePeers)):
		c.accept(s.allowWords(family6, services, 0), directly, icmpTypes(neighbourTypes), ruleset.Lookup{Fields: []ruleset.Field{s.ip6}, Set: family6.set(servicePeers)})
	}
	if peers, any := c.notClosed(family6, s.ip6); any {
		c.lets(family6, s.openWords(family6), peers...)
	}
	c.goTranslated(family6)
	c.icmpErrors(family6)
	c.drop("nd", "neighbour discovery of a denied host", icmpTypes(discoveryTypes))
	c.drop("denied-ipv6", "denied IPv6 source")
	c.done()
}

// routersND lets a VM that may advertise itself as a router, or whose neighbour discovery
// is not judged, hear who looks for a router; and one that may ask for groups, the answers.
func (c *chain) routersND() {
	if c.policy.PassRouters || c.policy.PassNeighbours {
		c.accept(c.routerWords(), directly, discoveryHopLimit, icmpType(routerSolicitation))
	}
	if c.policy.PassRouters {
		c.accept(routersPass, all(alerted(), one(amongBytes(afterHopByHop, mldReport, mldDone, mldv2Report)))...)
	}
}

// ownND lets the VM hear who else probes for an address, and who has one of its own: so
// it finds out whether it may take one, and keeps it (RFC 4862, 5.4).
func (c *chain) ownND() {
	probe := []ruleset.Match{directly, discoveryHopLimit, icmpType(neighbourSolicitation), is(ruleset.IP6Source, noAddress6, false), within(ruleset.IP6Destination, solicitedNode, false)}
	if !c.knowsOwn(family6) {
		c.accept("probe of another host for an address", probe...)
	}
	for _, target := range c.ownTargets() {
		if c.knowsOwn(family6) {
			c.accept("probe of another host for an address of the VM's own", all(probe, one(target))...)
		}
		c.accept("another host that has an address of the VM's own", directly, discoveryHopLimit, icmpType(neighbourAdvert), target)
	}
}

// ownTargets matches a discovery message's target among the VM's own addresses: those
// made of its MAC address, and those that the configuration names.
func (s side) ownTargets() []ruleset.Match {
	out := one(s.isOwn(ownIDsSet, directInterface))
	if s.knowsOwn(family6) {
		out = append(out, s.isVMs(family6, directTarget)...)
	}
	return out
}

// wellFormed goes on in a chain with discovery messages that have no extension
// header (RFC 6980), come from this link, and carry no option, or one that is a
// MAC address, the VM's own. size is the message's length without options.
func (c *chain) wellFormed(suffix string, size uint16, at uint32, kind byte) {
	direct := []ruleset.Match{directly, discoveryHopLimit}
	if c.policy.PassSpoofing {
		c.goTo(suffix, direct...)
		return
	}
	length := func(n uint16) []ruleset.Match { return one(ruleset.Is(ruleset.IP6Length, n)) }
	c.goTo(suffix, all(length(size), direct)...)
	option := ruleset.Compare{Field: network(at, 2), Op: ruleset.Equal, Value: []byte{kind, 1}}
	c.goTo(suffix, all(length(size+8), direct, []ruleset.Match{option, c.isOwn(ownBitsSet, network(at+2, 6))})...)
}

// probeOfVM matches duplicate address detection of the VM's (RFC 4862, 5.4.2), where it is known
// that it is a solicitation.
func probeOfVM() []ruleset.Match {
	return []ruleset.Match{directly, discoveryHopLimit, toSolicitedNode, is(ruleset.IP6Source, noAddress6, false), within(ruleset.IP6Destination, solicitedNode, false)}
}

// solicitations judges who the VM looks for: its own addresses before it takes
// them (RFC 4862, 5.4), and peers that it may talk to.
func (s side) solicitations() {
	if s.policy.PassNeighbours {
		return
	}
	c := s.newChain("ns")
	probe := probeOfVM()
	c.learnProbe(probe)
	for _, target := range s.ownTargets() {
		c.accept("probe for an address of the VM's own", all(probe, one(target))...)
	}
	c.probesOthers(probe)
	c.drop("nd", "probe for an address not known as the VM's own", is(ruleset.IP6Source, noAddress6, false))
	c.wellFormed("ns-target", 24, directNDOption, sourceMAC)
	c.drop("nd", "malformed neighbour solicitation")
	c.done()

	c = s.newChain("ns-target")
	known := family6.merged(s.allowedRanges(family6), s.openNeighbours(family6))
	if len(known) > 0 {
		c.goTo("nd-peer", targets(ndTarget, known))
	}
	if s.servesNeighbours() {
		c.goTo("nd-peer", s.clients(family6, ndTarget)...)
	}
	c.drop("nd", "neighbour solicitation for a denied host")
	c.done()
}

// interfaceIdentifier is the lower half of the addresses that a guest makes of its
// MAC address (RFC 4291, appendix A).
func (b *builder) interfaceIdentifier() []byte {
	m := b.mac
	return []byte{m[0] ^ 0x02, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}
}

func ofAddrs(addrs []netip.Addr) []netipx.IPRange {
	var out []netipx.IPRange
	for _, a := range addrs {
		out = append(out, netipx.IPRangeFrom(a, a))
	}
	return out
}

// targets matches a discovery message's target, read from field, among ranges.
func targets(field ruleset.Field, ranges []netipx.IPRange) ruleset.Match {
	return ruleset.Among(field, false, elements(ranges)...)
}

// advertisements judges what the VM says of itself: it claims no address that is
// another's.
func (s side) advertisements() {
	if s.policy.PassNeighbours {
		return
	}
	c := s.newChain("na")
	if taken := family6.only(s.policy.Claimed); len(taken) > 0 && !s.policy.PassSpoofing {
		c.drop("nd-claim", "neighbour advertisement of another host's address", targets(ndTarget, ofAddrs(taken)))
	}
	if s.knowsOwn(family6) {
		c.drop("nd-claim", "neighbour advertisement of an address not the VM's own", s.isNotVMs(family6, ndTarget)...)
	}
	c.keepsAddress(directTarget, directly)
	c.wellFormed("nd-peer", 24, directNDOption, targetMAC)
	c.drop("nd-claim", "neighbour advertisement of another MAC address")
	c.done()
}

func (s side) routerSolicitations() {
	if s.policy.PassNeighbours {
		return
	}
	c := s.newChain("rs")
	c.wellFormed("nd-peer", 8, directRSOption, sourceMAC)
	c.drop("nd", "malformed router solicitation")
	c.done()
}

// discoveryPeers judges to whom a discovery message goes: routers, the group of
// whoever is looked for, a peer that the VM may talk to.
func (s side) discoveryPeers() {
	if s.policy.PassNeighbours {
		return
	}
	c := s.newChain("nd-peer")
	c.accept("neighbour solicitation to the group of whom it looks for", icmpType(neighbourSolicitation), toSolicitedNode, within(ruleset.IP6Destination, solicitedNode, false))
	c.accept("router solicitation to all routers", all(one(icmpType(routerSolicitation)), toGroup("ff02::2"))...)
	// Of an address of its own the VM tells all hosts, so that they find it after a move,
	// and all routers (RFC 4861, 7.2.6; RFC 9131).
	for _, target := range s.ownTargets() {
		for _, everybody := range []string{"ff02::1", "ff02::2"} {
			c.accept("announcement of an address of the VM's own", all([]ruleset.Match{icmpType(neighbourAdvert), target}, toGroup(everybody))...)
		}
	}
	toPeer := func(words string, when ...ruleset.Match) { c.accept(words, all(one(unicast), when)...) }
	c.neighbours(family6, ruleset.IP6Destination, toPeer)
	if s.servesNeighbours() {
		toPeer(s.clientWords(), append(s.clients(family6, ruleset.IP6Destination), icmpTypes(neighbourTypes))...)
	}
	if c.has(routerSet(family6)) {
		c.accept("neighbour discovery with a router", icmpTypes(neighbourTypes), c.router(family6, ruleset.EtherDestination, false)) // whichever of its addresses it asked by
	}
	c.drop("nd", "neighbour discovery with a denied host")
	c.done()
}
