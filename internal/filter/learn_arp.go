package filter

import (
	"time"

	"macvtap-filter/internal/ruleset"
)

// askedFor is how long an address stays tentative that was asked for in the LAN. The VM asks
// once more for what it wanted: most hosts after a second (RFC 1122, 2.3.2.1).
const askedFor = time.Minute

// askedAgo is the share of an element of askedSet. A look-up takes from it, too, and does not
// hold where it is used up (net/netfilter/nft_lookup.c, nft_lookup_eval): so it holds from half
// a second after the element came. Whoever has the address answers within milliseconds.
var askedAgo = ruleset.Share{Rate: 2, Burst: 1, Unit: time.Second}

// learnFirst binds the first IPv4 address that the VM uses: the sender's of a request by ARP to
// all. The LAN is asked for it first: the VM's request becomes a probe (RFC 5227, 2.1.1), which
// whoever has the address answers, and none but a claim that nobody objects to is bound by the
// next request. A VM that ran before its rules did is not asked: what it sends from counts.
func (c *chain) learnFirst() {
	if !c.learnsFirst() {
		return
	}
	claim := all([]ruleset.Match{c.unbound(), toAll, arpRequest, c.isNotOwn(family4.ownAddresses(), arpSender)}, c.mayClaim(family4, arpSender))
	// The last match, for what else the VM sends from the address, its answers, must not use up the limit.
	c.updates(all(claim, one(c.isOwn(askedSet, arpSender))), c.first(arpSender)...)
	c.Rules = append(c.Rules, ruleset.Rule{
		Matches: all(one(c.isNotOwn(askedSet, arpSender)), claim), Updates: c.asks(arpSender),
		Writes:  []ruleset.Write{{To: arpTarget, From: arpSender}, {To: arpSender, Value: noAddress4.AsSlice()}},
		Verdict: ruleset.Accept, Comment: "the first ARP request from an address becomes a probe for it",
	})
}

// asks notes that the LAN is asked for an address.
func (v view) asks(field ruleset.Field) []ruleset.Update {
	asked := v.in(askedSet, askedFor, field)
	asked.Share = askedAgo
	return []ruleset.Update{v.share(arpProbesSet, arpShare), asked, v.in(family4.tentative(), askedFor, field)}
}

// first binds the VM's first IPv4 address, read from field.
func (v view) first(field ruleset.Field) []ruleset.Update {
	return []ruleset.Update{v.share(boundSet, firstShare), v.in(family4.ownAddresses(), 0, field), v.in(family4.tentative(), detection, field), v.in(firstSet, detection, field)}
}

// ARP for IPv4 on Ethernet, and a request by it, as bytes (see sourceBytes); toAll is a frame
// that all of the link hear.
var (
	toAll      = ruleset.Compare{Field: ruleset.Raw(ruleset.LinkHeader, 0, 6), Op: ruleset.Equal, Value: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	arpOfIPv4  = ruleset.Compare{Field: network(0, 6), Op: ruleset.Equal, Value: []byte{0, 1, 0x08, 0, 6, 4}}
	arpRequest = ruleset.Compare{Field: network(0, 8), Op: ruleset.Equal, Value: []byte{0, 1, 0x08, 0, 6, 4, 0, 1}}
)

// hearARP takes in what ARP tells of other hosts' addresses: one that the VM took just now
// is not its own, if another host has it, and what others use is never bound.
func (c *chain) hearARP() {
	f := family4
	if !c.learns(f) {
		return
	}
	hears := c.in(f.heard(), heardFor, arpSender)
	others := c.isNotOwn(ownBitsSet, network(8, 6)) // a link may send the VM its own frames back (RFC 7527)
	// Who loses a lease gets another one; only who loses the first address may take another.
	c.updates([]ruleset.Match{c.isOwn(firstSet, arpSender), others, arpOfIPv4}, c.outOf(boundSet), c.outOf(firstSet, arpSender))
	c.objection([]ruleset.Match{c.isOwn(f.tentative(), arpSender), others, arpOfIPv4}, c.outOf(f.ownAddresses(), arpSender), c.outOf(askedSet, arpSender), c.outOf(f.tentative(), arpSender), hears)
	if c.learnsFirst() {
		c.updates([]ruleset.Match{c.unbound(), others, arpOfIPv4, isNot(arpSender, 0, 0, 0, 0)}, hears)
	}
}

// learnARPSource learns from the VM's ARP, and keeps what it uses.
func (c *chain) learnARPSource() {
	if c.learns(family4) {
		c.learnUsed(family4, arpSender, arpOfIPv4) // before the LAN is asked: see learnFirst
		c.learnFirst()
		// One that was released is tentative, and lasts no longer.
		c.updates([]ruleset.Match{c.isOwn(family4.ownAddresses(), arpSender), c.isNotOwn(family4.tentative(), arpSender)}, c.in(family4.ownAddresses(), leaseFor, arpSender), c.in(boundSet, leaseFor))
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
			link = one(among(arpTarget, ofPrefixes(c.link(family4))))
		}
		const words = "ARP probe of a VM that has no address yet"
		probe := all([]ruleset.Match{c.unbound(), toAll, arpRequest, ruleset.Compare{Field: arpSender, Op: ruleset.Equal, Value: noAddress4.AsSlice()}}, link)
		c.acceptWithin(words, c.asks(arpTarget), all(one(c.isNotOwn(askedSet, arpTarget)), probe)...)
		c.acceptWithin(words, []ruleset.Update{c.share(arpProbesSet, arpShare)}, probe...)
	default:
		c.accept("answer to an ARP probe", all(one(c.unbound()), ethernetIPv4Reply(), one(is(ruleset.ARPTargetIP, noAddress4, false)))...)
	}
}
