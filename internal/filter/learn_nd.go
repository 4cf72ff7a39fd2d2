package filter

import (
	"net/netip"

	"macvtap-filter/internal/ruleset"
)

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
		foreign := all(form, one(c.isNotOwn(f.ownAddresses(), directTarget)))
		c.updates(all(foreign, c.mayClaim(f, directTarget)), c.share(claimsSet, claimShare), binds, objects)
		if c.knowsLink(f) { // of which there may be more prefixes than are known
			c.updates(all(foreign, one(c.isNotOwn(probedSet, directTarget)), c.mayBind(f, directTarget), outside(directTarget, c.link(f))),
				c.share(claimsSet, claimShare), c.in(probedSet, probedFor, directTarget), objects)
		}
	}
	c.updates(probe, c.outOf(groupsSet, frameGroup, datagramGroup))
}

// probesOthers lets the VM probe for an address of a prefix that rules do not know, and for one
// that another host was heard to use: so it finds out that it is taken. Who is about to take an
// address gives it up for another's probe (RFC 4862, 5.4.3): a gateway must not.
func (c *chain) probesOthers(probe []ruleset.Match) {
	if c.learns(family6) {
		c.accept("probe for an address of a prefix that is not known yet", all(one(c.isOwn(probedSet, directTarget)), probe)...)
		c.acceptWithin("probe for an address that another host was heard to use", []ruleset.Update{c.share(claimsSet, claimShare)}, all(one(c.isOwn(family6.heard(), directTarget)), probe, c.notTaken(family6, directTarget))...)
	}
}

// keepsAddress has an IPv6 address that the VM uses stay bound.
func (c *chain) keepsAddress(field ruleset.Field, when ...ruleset.Match) {
	if c.learns(family6) {
		c.updates(all(one(c.isOwn(family6.ownAddresses(), field)), when), c.in(family6.ownAddresses(), claimFor, field))
	}
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
			c.outOf(f.ownAddresses(), directTarget), c.outOf(f.tentative(), directTarget), c.outOf(probedSet, directTarget), c.in(f.heard(), heardFor, directTarget))
	}
	discovery := []ruleset.Match{ruleset.Compare{Field: network(6, 2), Op: ruleset.Equal, Value: []byte{ruleset.ICMPv6, 255}}, amongBytes(network(40, 1), neighbourTypes...)}
	c.updates(all(discovery, []ruleset.Match{others, c.isNotOwn(f.ownAddresses(), f.sourceBytes())}, outside(f.sourceBytes(), f.special)), c.in(f.heard(), heardFor, f.sourceBytes()))
}
