package filter

import (
	"net/netip"
	"slices"
	"sync"
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
//	nic-tentative-ipv4, -ipv6   what was asked for, or bound just now: whoever has it may object
//	nic-first-ipv4              the first address, while another host may object
//	nic-asked-ipv4              what the LAN was asked for in the VM's place
//	nic-heard-ipv4, -ipv6       what other hosts were heard to use: none of it is bound
//	nic-bound-ipv4              NICs that have their IPv4 address: there is no first one any more
//	nic-leases-ipv4             how many leases a NIC may still be given
//	nic-claims-ipv6             how many addresses a NIC may still claim
//	nic-probed-ipv6             what it probed for in prefixes that are not known
//	nic-refused-ipv4            further addresses of a VM that ran before these rules did
//	nic-groups-ipv6             the group that the probe just judged goes to
//	nic-probes                  how many probes for IPv6 addresses a NIC may still send
//	nic-probes-ipv4             how many ARP probes a NIC may still send, and further addresses be told
//	nic-running                 NICs whose VMs ran before these rules did
//
// Shares bound what one NIC can fill: 8 IPv4 addresses by DHCP at once and 4 more a day, 16 IPv6
// ones and 16 more a day; and how often it can have a set change, for what is deleted keeps
// its place for a second.
const (
	boundSet     = ruleset.OwnPrefix + "bound-ipv4"
	leasesSet    = ruleset.OwnPrefix + "leases-ipv4"
	claimsSet    = ruleset.OwnPrefix + "claims-ipv6"
	probedSet    = ruleset.OwnPrefix + "probed-ipv6"
	refusedSet   = ruleset.OwnPrefix + "refused-ipv4"
	groupsSet    = ruleset.OwnPrefix + "groups-ipv6"
	firstSet     = ruleset.OwnPrefix + "first-ipv4"
	askedSet     = ruleset.OwnPrefix + "asked-ipv4"
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

	// refusedFor is how long it is told that a VM has further addresses.
	refusedFor = 7 * ruleset.Day

	// probedFor is the time that rules have to get to know the prefix of a probe.
	probedFor = 10 * time.Minute

	// runningFor is the time within which a VM that ran before its rules did has to use its
	// addresses.
	runningFor = 10 * time.Minute
)

var (
	firstShare = ruleset.Share{Rate: 1, Burst: 1, Unit: ruleset.Week}
	leaseShare = ruleset.Share{Rate: 4, Burst: 8, Unit: ruleset.Day}
	claimShare = ruleset.Share{Rate: 16, Burst: 16, Unit: ruleset.Day}
	probeShare = ruleset.Share{Rate: 16, Burst: 64, Unit: time.Second}
	arpShare   = ruleset.Share{Rate: 24 * 60, Burst: 16, Unit: ruleset.Day} // one a minute: who has used up the rest is soon heard again
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

// learnSets gives the sets that rules fill, the same for each NIC.
var learnSets = sync.OnceValue(func() []ruleset.Set {
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
	running := learned(runningSet)
	running.Dynamic = 0 // no rule fills it
	out := []ruleset.Set{running, learned(boundSet), learned(leasesSet), learned(claimsSet), learned(probedSet, directTarget), learned(refusedSet, arpSender), learned(groupsSet, frameGroup, datagramGroup), learned(firstSet, arpSender), learned(askedSet, arpSender), learned(probesSet), learned(arpProbesSet)}
	for _, f := range []family{family4, family6} {
		out = append(out, learned(f.tentative(), f.sourceBytes()), learned(f.heard(), f.sourceBytes()))
	}
	return out
})

// updates adds a rule that changes sets and goes on.
func (c *chain) updates(when []ruleset.Match, updates ...ruleset.Update) {
	c.Rules = append(c.Rules, ruleset.Rule{Matches: when, Updates: updates})
}

// acceptWithin adds a rule that lets pass for as long as the NIC has a share left.
func (c *chain) acceptWithin(words string, share []ruleset.Update, when ...ruleset.Match) {
	c.accept(words, when...)
	c.Rules[len(c.Rules)-1].Updates = share
}

// in adds the NIC's element of a set, with the value of fields.
func (v view) in(set string, timeout time.Duration, fields ...ruleset.Field) ruleset.Update {
	return ruleset.Update{Set: set, Fields: append([]ruleset.Field{v.index()}, fields...), Timeout: timeout}
}

// outOf takes the NIC's element out of a set.
func (v view) outOf(set string, fields ...ruleset.Field) ruleset.Update {
	return ruleset.Update{Set: set, Fields: append([]ruleset.Field{v.index()}, fields...), Delete: true}
}

// share counts on the NIC's share of a set, and ends the rule where that is used up.
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
	out := append([]ruleset.Match{c.isNotOwn(f.heard(), field)}, c.notTaken(f, field)...)
	return append(out, outside(field, f.special)...)
}

// notTaken matches addresses, read as bytes, that neither the configuration nor what the host
// knows of its network gives to another host.
func (c *chain) notTaken(f family, field ruleset.Field) []ruleset.Match {
	taken := f.only(slices.Concat(c.policy.Claimed, c.policy.Host))
	slices.SortFunc(taken, netip.Addr.Compare)
	var each []ruleset.Element // each alone: a single range has no negation
	for _, a := range slices.Compact(taken) {
		each = append(each, single(a))
	}
	if len(each) == 0 {
		return nil
	}
	return one(ruleset.Among(field, true, each...))
}

// mayClaim matches those of them that a VM can take by itself: addresses of the link, as far as
// its prefixes are known (RFC 6620, 3.2.2), but the first of one, which was a broadcast address
// once (RFC 1122, 3.3.6); of IPv4 also those that are not denied, as a provider routes to a host
// of another network's addresses.
func (c *chain) mayClaim(f family, field ruleset.Field) []ruleset.Match {
	out := c.mayBind(f, field)
	if !c.knowsLink(f) {
		return out
	}
	var link netipx.IPSetBuilder
	if f.name == family4.name {
		for _, r := range c.openRanges(f) {
			link.AddRange(r)
		}
	}
	for _, p := range c.link(f) {
		link.AddPrefix(p)
		if p.Addr().Is4() && p.Bits() < 31 {
			link.Remove(p.Addr())
		}
	}
	return append(out, among(field, built(&link).Ranges()))
}

// objection takes an address from the VM that another host has, or takes at the same time. The
// kernel's log has the device and the other host's MAC address; the VM hears it.
func (c *chain) objection(when []ruleset.Match, updates ...ruleset.Update) {
	c.Rules = append(c.Rules,
		ruleset.Rule{Matches: when, Limit: logsPerSecond, Log: "macvtap-filter " + c.prefix + " REASON=address-conflict "},
		ruleset.Rule{Matches: when, Updates: updates, Verdict: ruleset.Accept, Comment: "another host has the address that the VM took, or takes it, too"})
}

// learnUsed binds the addresses, read from field, that a VM uses which ran before its rules did:
// it asks for no lease and probes for none again; and those of IPv6 that it probed for when
// rules did not know the prefix yet: a router tells a guest as soon as the host.
func (c *chain) learnUsed(f family, field ruleset.Field, when ...ruleset.Match) {
	if !c.learns(f) {
		return
	}
	updates := []ruleset.Update{c.share(claimsSet, claimShare), c.in(f.ownAddresses(), claimFor, field)}
	running := []ruleset.Match{ruleset.Lookup{Fields: []ruleset.Field{c.index()}, Set: runningSet}, c.isNotOwn(f.ownAddresses(), field)}
	switch {
	case f.name == family6.name:
		for _, link := range c.linkEach(f, field) {
			claim := all(when, c.mayBind(f, field), link)
			c.updates(all([]ruleset.Match{c.isOwn(probedSet, field), c.isNotOwn(f.ownAddresses(), field)}, claim), updates[1:]...) // its probe was counted
			c.updates(all(running, claim), updates...)
		}
		return
	case c.learnsFirst():
		c.updates(all(running, one(c.unbound()), when, c.mayBind(f, field)), c.first(field)...)
		// What is not its own then, is a further one, and dropped: who administrates it is told.
		when, updates = all(when, c.mayBind(f, field)), []ruleset.Update{c.share(arpProbesSet, arpShare), c.in(refusedSet, refusedFor, field)}
	default:
		when, updates = all(when, c.mayClaim(f, field)), []ruleset.Update{c.share(leasesSet, leaseShare), c.in(f.ownAddresses(), leaseFor, field)}
	}
	c.updates(all(running, when), updates...)
}

// linkEach gives the ways in which a field can hold an address of the link, as far as its prefixes
// are known, without a set of ranges: one that is new is empty to frames for a while, and what a
// VM that runs sends just then would be dropped (see notClosed).
func (c *chain) linkEach(f family, field ruleset.Field) (ways [][]ruleset.Match) {
	if !c.knowsLink(f) {
		return [][]ruleset.Match{nil}
	}
	for _, p := range c.link(f) {
		ways = append(ways, one(within(field, p, false)))
	}
	return ways
}

// lasting says of sets which of them last, and how long a VM has that runs already.
func lasting(sets []ruleset.Set) []ruleset.Set {
	for i, s := range sets {
		switch s.Name {
		case boundSet, family4.ownAddresses(), family6.ownAddresses():
			sets[i].Lasts = true
		case runningSet:
			sets[i].Grace = runningFor
		}
	}
	return sets
}

// Lasting gives rules that were read from the kernel with what it does not keep of their sets:
// where they are lost and put back, so is what they had learned.
func Lasting(t ruleset.Table) ruleset.Table {
	t.Sets = lasting(slices.Clone(t.Sets))
	return t
}

// Running gives rules for a VM that runs already, though libvirt starts it here: it comes from
// another host, or was saved. What it uses at first becomes its own, as far as rules learn.
func Running(t ruleset.Table) ruleset.Table {
	index, _ := t.Index()
	t.Sets = slices.Clone(t.Sets)
	for i, s := range t.Sets {
		if s.Grace > 0 {
			e := nicElement(index)
			e.Left = s.Grace
			t.Sets[i].Elements = []ruleset.Element{e}
		}
	}
	return t
}
