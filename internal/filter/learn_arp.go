package filter

import (
	"macvtap-filter/internal/ruleset"
)

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
		c.acceptWithin(c.share(arpProbesSet, arpShare), "ARP probe of a VM that has no address yet", all(one(c.unbound()), ethernetIPv4Request(), one(is(ruleset.ARPSenderIP, noAddress4, false)), link)...)
	default:
		c.accept("answer to an ARP probe", all(one(c.unbound()), ethernetIPv4Reply(), one(is(ruleset.ARPTargetIP, noAddress4, false)))...)
	}
}
