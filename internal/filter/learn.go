package filter

import (
	"net/netip"
	"slices"
	"time"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/ruleset"
)

// The VM's own addresses, where the configuration does not say them, are learned by rules
// from the frames themselves, and bound to its NIC (the framework is RFC 7039, the ways are
// RFC 7513's, of DHCP, and RFC 6620's, first come, first served). A rule that learns one
// stands right before the rule that drops what is not from an own address, and has no
// verdict.
//
//	nic-addresses-ipv4, -ipv6   what is bound: address by address, see ownAddresses
//	nic-tentative-ipv4, -ipv6   what was bound just now: whoever else has it may still object
//	nic-heard-ipv4, -ipv6       what other hosts were heard to use: none of it is bound
//	nic-bound-ipv4              NICs that have their IPv4 address: there is no first one any more
//	nic-leases-ipv4             how many leases a NIC may still be given
//	nic-claims-ipv6             how many addresses a NIC may still claim
//	nic-groups-ipv6             the group that the probe just judged goes to
//	nic-announced-ipv4          the target of the ARP request just judged
//	nic-probes                  how many probes a NIC may still send
//	nic-running                 NICs whose VMs ran before these rules did
//
// Shares bound what one NIC can fill: 8 IPv4 addresses by DHCP at once and 4 more a day, 16 IPv6
// ones and 16 more a day; and how often it can have a set change, for what is deleted keeps
// its place for a second.
const (
	boundSet     = ruleset.OwnPrefix + "bound-ipv4"
	leasesSet    = ruleset.OwnPrefix + "leases-ipv4"
	claimsSet    = ruleset.OwnPrefix + "claims-ipv6"
	groupsSet    = ruleset.OwnPrefix + "groups-ipv6"
	announcedSet = ruleset.OwnPrefix + "announced-ipv4"
	probesSet    = ruleset.OwnPrefix + "probes"
	arpProbesSet = ruleset.OwnPrefix + "probes-ipv4"
	runningSet   = ruleset.OwnPrefix + "running"
)

func (f family) tentative() string { return ruleset.OwnPrefix + f.set("tentative") }
func (f family) heard() string     { return ruleset.OwnPrefix + f.set("heard") }

// How long what was learned holds.
const (
	// detection is the time within which another host may object: a host that probes waits
	// as long (RFC 4862, 5.4.2, with RetransTimer), and one that was given a lease some
	// seconds (RFC 5227, 2.1.1).
	detection      = time.Second
	leaseDetection = 10 * time.Second

	// heardFor is how long after it was heard of a host has its address.
	heardFor = 5 * time.Minute

	// An address by DHCP is bound for leaseFor after its last ACK or ARP, one of IPv6 for
	// claimFor after its last probe or ICMPv6 message. No rule can read a lease's own
	// time: options have no fixed place.
	leaseFor = 30 * ruleset.Day
	claimFor = 30 * ruleset.Day

	// releasedFor is how long an address stays the VM's own that it released.
	releasedFor = time.Hour

	// runningFor is the time within which a VM that ran before its rules did has to use its
	// addresses.
	runningFor = 10 * time.Minute
)

var (
	firstShare = ruleset.Share{Rate: 1, Burst: 1, Unit: ruleset.Week}
	leaseShare = ruleset.Share{Rate: 4, Burst: 8, Unit: ruleset.Day}
	claimShare = ruleset.Share{Rate: 16, Burst: 16, Unit: ruleset.Day}
	probeShare = ruleset.Share{Rate: 16, Burst: 64, Unit: time.Second}
	arpShare   = ruleset.Share{Rate: 16, Burst: 16, Unit: ruleset.Day}
)

// maxLearned is the room of each of these sets, for all NICs.
const maxLearned = 65535

// learns reports whether the VM's addresses of the family are learned.
func (b *builder) learns(f family) bool {
	p, ipv4 := b.policy, f.name == family4.name
	if p.PassSpoofing || !ipv4 && p.DropIPv6 {
		return false
	}
	return ipv4 && p.DHCP || !ipv4 && p.SLAAC || p.Learn != config.LearnOff && !p.Names(ipv4)
}

// learnsFirst reports whether the first IPv4 address that the VM uses becomes its own.
func (b *builder) learnsFirst() bool {
	return b.learns(family4) && b.policy.Learn == config.LearnFirst && !b.policy.DHCP
}

// learnSets gives the sets that rules fill.
func (b *builder) learnSets() []ruleset.Set {
	learned := func(name string, fields ...ruleset.Field) ruleset.Set {
		s := ruleset.Set{Name: name, Key: []ruleset.Type{ruleset.TypeInterface}, Dynamic: maxLearned, Expires: true}
		if len(fields) > 0 {
			s.Typeof = append([]ruleset.Field{ruleset.OutputIndex}, fields...)
		}
		for _, f := range fields {
			s.Key = append(s.Key, f.Type)
		}
		return s
	}
	bound, running := learned(boundSet), learned(runningSet)
	bound.Lasts = true
	running.Dynamic, running.Grace = 0, runningFor // no rule fills it
	out := []ruleset.Set{running, bound, learned(leasesSet), learned(claimsSet), learned(groupsSet, frameGroup, datagramGroup), learned(announcedSet, arpTarget), learned(probesSet), learned(arpProbesSet)}
	for _, f := range []family{family4, family6} {
		out = append(out, learned(f.tentative(), f.sourceBytes()), learned(f.heard(), f.sourceBytes()))
	}
	return out
}

// updates adds a rule that changes sets and goes on.
func (c *chain) updates(when []ruleset.Match, updates ...ruleset.Update) {
	c.Rules = append(c.Rules, ruleset.Rule{Matches: when, Updates: updates})
}

// in adds the NIC's element of a set, with the value of fields.
func (v view) in(set string, timeout time.Duration, fields ...ruleset.Field) ruleset.Update {
	return ruleset.Update{Set: set, Fields: append([]ruleset.Field{v.index()}, fields...), Timeout: timeout}
}

// out takes the NIC's element out of a set.
func (v view) outOf(set string, fields ...ruleset.Field) ruleset.Update {
	return ruleset.Update{Set: set, Fields: append([]ruleset.Field{v.index()}, fields...), Delete: true}
}

// within the NIC's share of a set.
func (v view) share(set string, share ruleset.Share) ruleset.Update {
	return ruleset.Update{Set: set, Fields: []ruleset.Field{v.index()}, Share: share}
}

// unbound matches frames of NICs that have no IPv4 address yet.
func (v view) unbound() ruleset.Match {
	return ruleset.Lookup{Fields: []ruleset.Field{v.index()}, Set: boundSet, Not: true}
}

// mayBind matches addresses, read as bytes, that can be a VM's own. An address that is
// another's for certain is never bound, nor one that another host was heard to use.
func (c *chain) mayBind(f family, field ruleset.Field) []ruleset.Match {
	out := []ruleset.Match{c.isNotOwn(f.heard(), field)}
	if taken := f.merged(ofAddrs(c.policy.Claimed), ofAddrs(c.policy.Host)); len(taken) > 0 {
		out = append(out, ruleset.Among(field, true, elements(taken)...))
	}
	return append(out, outside(field, f.special)...)
}

// mayClaim matches those of them that a VM can take by itself: addresses of the link, as far as
// its prefixes are known (RFC 6620, 3.2.2), but the first of one, which was a broadcast address
// once (RFC 1122, 3.3.6).
func (c *chain) mayClaim(f family, field ruleset.Field) []ruleset.Match {
	out := c.mayBind(f, field)
	if !c.knowsLink(f) {
		return out
	}
	var link netipx.IPSetBuilder
	for _, p := range c.link(f) {
		link.AddPrefix(p)
		if p.Addr().Is4() && p.Bits() < 31 {
			link.Remove(p.Addr())
		}
	}
	return append(out, among(field, built(&link).Ranges()))
}

// learnFirst binds the first IPv4 address that the VM uses: the sender's of a request by ARP
// for the sender itself (RFC 5227, 2.3) or for a peer that it may talk to, to all. Whoever else
// has the address gets it, and may object. A VM that ran before its rules did asks for nobody
// again: what it sends from counts.
func (c *chain) learnFirst() {
	if !c.learnsFirst() {
		return
	}
	toAll := ruleset.Compare{Field: ruleset.Raw(ruleset.LinkHeader, 0, 6), Op: ruleset.Equal, Value: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	request := []ruleset.Match{c.unbound(), toAll, ruleset.Compare{Field: network(0, 8), Op: ruleset.Equal, Value: []byte{0, 1, 0x08, 0, 6, 4, 0, 1}}}
	binds := func(when ...ruleset.Match) {
		c.updates(all(request, one(c.isNotOwn(family4.ownAddresses(), arpSender)), when, c.mayClaim(family4, arpSender)), c.first(arpSender)...)
	}
	announced := []ruleset.Field{c.index(), arpSender}
	c.updates(request, c.share(probesSet, probeShare), c.in(announcedSet, detection, arpTarget))
	binds(ruleset.Lookup{Fields: announced, Set: announcedSet})
	c.updates(request, c.outOf(announcedSet, arpTarget))
	if peers := family4.merged(c.allowedRanges(family4), c.openNeighbours(family4)); len(peers) > 0 {
		binds(among(arpTarget, peers))
	}
}

// first binds the VM's first IPv4 address, read from field.
func (v view) first(field ruleset.Field) []ruleset.Update {
	return []ruleset.Update{v.share(boundSet, firstShare), v.in(family4.ownAddresses(), 0, field), v.in(family4.tentative(), detection, field)}
}

// The bytes of DHCP's acknowledgment that stand at a fixed place in those of all servers
// (RFC 2131, 2): the ports; the kind, an answer to an Ethernet address; yiaddr, the address
// that is leased; chaddr, the client's MAC address (dhcpHardware); the cookie with the first
// option, which is the message's type.
var (
	dhcpPorts    = ruleset.Raw(ruleset.TransportHeader, 0, 4)
	dhcpLeased   = ruleset.Raw(ruleset.TransportHeader, 8+16, 4)
	dhcpOptions  = ruleset.Raw(ruleset.TransportHeader, 8+236, 7)
	dhcpRelease  = []byte{0x63, 0x82, 0x53, 0x63, 53, 1, 7}
	dhcpACK      = []byte{0x63, 0x82, 0x53, 0x63, 53, 1, 5}
	bootReply    = []byte{2, 1, 6}
	serverClient = []byte{0, 67, 0, 68}
)

// learnLease binds what a DHCP server of the policy's hands out to the VM's MAC address. It
// stands before the fast path, which lets such a datagram pass.
func (c *chain) learnLease(f family) {
	if c.out || f.name != family4.name || !c.learns(f) {
		return
	}
	servers := c.dhcpServers()
	if len(servers) == 0 {
		return
	}
	equal := func(field ruleset.Field, value []byte) ruleset.Match {
		return ruleset.Compare{Field: field, Op: ruleset.Equal, Value: value}
	}
	message := []ruleset.Match{equal(dhcpPorts, serverClient), ruleset.Byte(network(9, 1), ruleset.UDP), noOptions, equal(dhcpKind, bootReply),
		c.isOwn(ownBitsSet, dhcpHardware), equal(dhcpOptions, dhcpACK), among(f.sourceBytes(), servers)}
	// The last one may meet the share of the first address, which is used up, and end the rule.
	leased := []ruleset.Update{c.in(f.ownAddresses(), leaseFor, dhcpLeased), c.in(f.tentative(), leaseDetection, dhcpLeased), c.in(boundSet, leaseFor)}
	c.updates(all(message, one(c.isOwn(f.ownAddresses(), dhcpLeased))), c.in(f.ownAddresses(), leaseFor, dhcpLeased), c.in(boundSet, leaseFor))
	c.updates(all(message, one(c.isNotOwn(f.ownAddresses(), dhcpLeased)), c.mayBind(f, dhcpLeased)), append([]ruleset.Update{c.share(leasesSet, leaseShare)}, leased...)...)
}

// dhcpServers gives the peers whose DHCP servers count: the gateways, those of the link that are
// allowed whole, and those whose service is allowed; elsewhere on the way a datagram may come
// from anybody.
func (b *builder) dhcpServers() []netipx.IPRange {
	f := family4
	var near, out netipx.IPSetBuilder
	for _, p := range b.link(f) {
		near.AddPrefix(p)
	}
	for _, a := range b.policy.Gateways {
		near.Add(a)
	}
	for _, r := range f.merged(ofAddrs(b.policy.Hosts), b.policy.Ranges) {
		out.AddRange(r)
	}
	if b.knowsLink(f) {
		out.Intersect(built(&near))
	}
	open := built(&near)
	for _, a := range f.only(b.policy.Gateways) {
		if !b.closedSet(f).Contains(a) && open.Contains(a) {
			out.Add(a)
		}
	}
	for _, s := range b.policy.Services {
		if s.Proto == ruleset.UDP && s.From <= 67 && s.To >= 67 && f.is(s.Peers.From()) {
			out.AddRange(s.Peers)
		}
	}
	return built(&out).Ranges()
}

// forgetLease has an address that the VM releases itself be forgotten soon: a guest that
// restarts is given it again. The rules before have seen that it asks as itself.
func (c *chain) forgetLease(toServer []ruleset.Match) {
	if !c.learns(family4) {
		return
	}
	c.updates(all(one(c.isOwn(family4.ownAddresses(), dhcpAddress)), toServer, []ruleset.Match{
		ruleset.Compare{Field: dhcpOptions, Op: ruleset.Equal, Value: dhcpRelease},
	}), c.in(family4.ownAddresses(), releasedFor, dhcpAddress))
}

// arpOfIPv4 matches ARP for IPv4 on Ethernet, as bytes (see sourceBytes).
var arpOfIPv4 = ruleset.Compare{Field: network(0, 6), Op: ruleset.Equal, Value: []byte{0, 1, 0x08, 0, 6, 4}}

// hearARP takes in what ARP tells of other hosts' addresses: one that the VM took just now
// is not its own, if another host has it, and what others use is never bound.
func (c *chain) hearARP() {
	f := family4
	if !c.learns(f) {
		return
	}
	hears := c.in(f.heard(), heardFor, arpSender)
	others := c.isNotOwn(ownBitsSet, network(8, 6)) // a link may send the VM its own frames back (RFC 7527)
	c.objection([]ruleset.Match{c.isOwn(f.tentative(), arpSender), others, arpOfIPv4},
		c.outOf(f.ownAddresses(), arpSender), c.outOf(boundSet), c.outOf(f.tentative(), arpSender), hears)
	if c.learnsFirst() {
		c.updates([]ruleset.Match{c.unbound(), others, arpOfIPv4, isNot(arpSender, 0, 0, 0, 0)}, hears)
	}
}

// objection takes an address from the VM that another host has, or takes at the same time. The
// kernel's log has the device and the other host's MAC address; the VM hears it.
func (c *chain) objection(when []ruleset.Match, updates ...ruleset.Update) {
	c.Rules = append(c.Rules,
		ruleset.Rule{Matches: when, Limit: logsPerSecond, Log: "macvtap-filter " + c.prefix + " REASON=address-conflict "},
		ruleset.Rule{Matches: when, Updates: updates, Verdict: ruleset.Accept, Comment: "another host has the address that the VM took, or takes it, too"})
}

// learnARPSource learns from the VM's ARP, and keeps what it uses.
func (c *chain) learnARPSource() {
	if c.learns(family4) {
		c.learnFirst()
		c.learnRunning(family4, arpSender, arpOfIPv4)
		c.updates([]ruleset.Match{c.isOwn(family4.ownAddresses(), arpSender)}, c.in(family4.ownAddresses(), leaseFor, arpSender), c.in(boundSet, leaseFor))
	}
}

// probeARP lets a VM that has no address yet find out whether the one it is about to take is
// free (RFC 5227, 2.1.1), and hear that it is not.
func (c *chain) probeARP() {
	switch {
	case !c.learnsFirst():
	case c.out:
		var link []ruleset.Match
		if c.knowsLink(family4) {
			link = one(among(ruleset.ARPTargetIP, ofPrefixes(c.link(family4))))
		}
		c.accept("ARP probe of a VM that has no address yet", all(one(c.unbound()), ethernetIPv4Request(), one(is(ruleset.ARPSenderIP, noAddress4, false)), link)...)
		c.Rules[len(c.Rules)-1].Updates = []ruleset.Update{c.share(arpProbesSet, arpShare)}
	default:
		c.accept("answer to an ARP probe", all(one(c.unbound()), ethernetIPv4Reply(), one(is(ruleset.ARPTargetIP, noAddress4, false)))...)
	}
}

// The groups that a probe goes to, and the bits of its target that they are made of (RFC
// 4291, 2.7.1; RFC 2464, 7). No rule can compare two fields; but one can put the first into
// a set, and the next look whether the second is in it.
var (
	frameGroup    = ruleset.Raw(ruleset.LinkHeader, 3, 3)
	datagramGroup = network(24+13, 3)
	targetGroup   = network(40+8+13, 3)
)

// learnProbe binds an IPv6 address that the VM probes for, in a probe that whoever has the
// address gets and takes for one (RFC 4862, 5.4.3; RFC 4861, 7.1.1).
func (c *chain) learnProbe(probe []ruleset.Match) {
	f := family6
	if !c.learns(f) {
		return
	}
	c.updates(probe, c.share(probesSet, probeShare), c.in(groupsSet, detection, frameGroup, datagramGroup))
	heardOf := ruleset.Lookup{Fields: []ruleset.Field{c.index(), targetGroup, targetGroup}, Set: groupsSet}
	binds, objects := c.in(f.ownAddresses(), claimFor, directTarget), c.in(f.tentative(), detection, directTarget)
	again := []ruleset.Update{binds, objects}
	if c.policy.Names(false) { // nobody's objection takes a named one away
		again = again[:1]
	}
	code := ruleset.Compare{Field: network(40, 2), Op: ruleset.Equal, Value: []byte{neighbourSolicitation, 0}}
	nonce := ruleset.Compare{Field: network(directNDOption, 2), Op: ruleset.Equal, Value: []byte{14, 1}} // RFC 7527, 4
	plain, withNonce := all(one(ruleset.Is(ruleset.IP6Length, 24)), probe), all(one(ruleset.Is(ruleset.IP6Length, 32)), probe, one(nonce))
	for _, form := range [][]ruleset.Match{plain, withNonce} {
		form = all([]ruleset.Match{heardOf, code}, form)
		c.updates(all(form, one(c.isOwn(f.ownAddresses(), directTarget))), again...)
		c.updates(all(form, one(c.isNotOwn(f.ownAddresses(), directTarget)), c.mayClaim(f, directTarget)), c.share(claimsSet, claimShare), binds, objects)
	}
	c.updates(probe, c.outOf(groupsSet, frameGroup, datagramGroup))
}

// probesHeard lets the VM probe for an address that another host was heard to use: so it finds
// out that it is taken.
func (c *chain) probesHeard(probe []ruleset.Match) {
	if c.learns(family6) {
		c.accept("probe for an address that another host was heard to use", all(one(c.isOwn(family6.heard(), directTarget)), probe)...)
		c.Rules[len(c.Rules)-1].Updates = []ruleset.Update{c.share(claimsSet, claimShare)}
	}
}

// keepsAddress has an IPv6 address that the VM uses stay bound.
func (c *chain) keepsAddress(field ruleset.Field, when ...ruleset.Match) {
	if c.learns(family6) {
		c.updates(all(one(c.isOwn(family6.ownAddresses(), field)), when), c.in(family6.ownAddresses(), claimFor, field))
	}
}

// learnRunning binds the addresses, read from field, that a VM uses which ran before its rules
// did: it asks for no lease and probes for none again.
func (c *chain) learnRunning(f family, field ruleset.Field, when ...ruleset.Match) {
	if !c.learns(f) {
		return
	}
	updates := []ruleset.Update{c.share(claimsSet, claimShare), c.in(f.ownAddresses(), claimFor, field)}
	running := []ruleset.Match{ruleset.Lookup{Fields: []ruleset.Field{c.index()}, Set: runningSet}, c.isNotOwn(f.ownAddresses(), field)}
	switch {
	case f.name == family6.name:
		when = all(when, c.mayClaim(f, field))
	case c.learnsFirst():
		when, updates = all(one(c.unbound()), when, c.mayBind(f, field)), c.first(field)
	default:
		when, updates = all(when, c.mayBind(f, field)), []ruleset.Update{c.share(leasesSet, leaseShare), c.in(f.ownAddresses(), leaseFor, field)}
	}
	c.updates(all(running, when), updates...)
}

// Running gives rules for a VM that runs already, though libvirt starts it here: it comes from
// another host, or was saved. What it uses at first becomes its own, as far as rules learn.
func Running(t ruleset.Table) ruleset.Table {
	index, _ := t.Index()
	t.Sets = slices.Clone(t.Sets)
	for i, s := range t.Sets {
		if s.Grace > 0 {
			key := [][]byte{ruleset.Number(ruleset.OutputIndex, ruleset.Equal, index).Value}
			t.Sets[i].Elements = []ruleset.Element{{From: key, To: key, Left: s.Grace}}
		}
	}
	return t
}

// hearND takes in what neighbour discovery tells of other hosts' addresses.
func (c *chain) hearND() {
	f := family6
	if !c.learns(f) {
		return
	}
	advertises := []ruleset.Match{directly, discoveryHopLimit, icmpType(neighbourAdvert)}
	probes := []ruleset.Match{directly, discoveryHopLimit, icmpType(neighbourSolicitation), is(ruleset.IP6Source, netip.IPv6Unspecified(), false)}
	others := c.isNotOwn(ownBitsSet, ruleset.Raw(ruleset.LinkHeader, 6, 6))
	for _, objects := range [][]ruleset.Match{advertises, probes} {
		c.objection(all([]ruleset.Match{c.isOwn(f.tentative(), directTarget), others}, objects),
			c.outOf(f.ownAddresses(), directTarget), c.outOf(f.tentative(), directTarget), c.in(f.heard(), heardFor, directTarget))
	}
	discovery := []ruleset.Match{ruleset.Compare{Field: network(6, 2), Op: ruleset.Equal, Value: []byte{ruleset.ICMPv6, 255}}, amongBytes(network(40, 1), neighbourTypes...)}
	c.updates(all(discovery, []ruleset.Match{others, c.isNotOwn(f.ownAddresses(), f.sourceBytes())}, outside(f.sourceBytes(), f.special)), c.in(f.heard(), heardFor, f.sourceBytes()))
}
