package filter

import "macvtap-filter/internal/ruleset"

// What a NIC may send at most (keys max_packets, max_broadcasts). An element of its own counts
// each NIC's frames, and, as it keeps the bound that it was made with, each bound has a set.
const (
	maxPacketsSet    = ruleset.OwnPrefix + "max-packets"
	maxBroadcastsSet = ruleset.OwnPrefix + "max-broadcasts"
)

// limitSets gives these sets.
func (b *builder) limitSets() []ruleset.Set {
	var out []ruleset.Set
	add := func(set string, rate int) {
		if rate > 0 {
			out = append(out, ruleset.Set{Name: rated(set, rate), Key: []ruleset.Type{ruleset.TypeInterface}, Dynamic: maxLearned})
		}
	}
	add(maxPacketsSet, b.policy.Max.Packets)
	add(maxBroadcastsSet, b.policy.Max.Broadcasts)
	return out
}

// limited hands what the VM sends above its bounds to the chain that drops it. Each chain that
// frames come to from the base chain has it before all that lets pass.
func (c *chain) limited() {
	if !c.out {
		return
	}
	above := func(reason, set string, rate int, when ...ruleset.Match) {
		if rate > 0 {
			c.goTo(reason, when...)
			c.Rules[len(c.Rules)-1].Updates = []ruleset.Update{c.share(rated(set, rate), perSecond(rate, true))}
		}
	}
	above(maxBroadcasts, maxBroadcastsSet, c.policy.Max.Broadcasts, group)
	above(maxPackets, maxPacketsSet, c.policy.Max.Packets)
}

// The reasons, and the chains.
const (
	maxPackets    = "max-packets"
	maxBroadcasts = "max-broadcasts"
)

// limitChains drop what is above the bounds.
func (s side) limitChains() {
	add := func(name, words string, rate int) {
		if s.out && rate > 0 {
			c := s.newChain(name)
			c.drop(name, words)
			c.done()
		}
	}
	add(maxBroadcasts, "more multicast and broadcast than the VM may send", s.policy.Max.Broadcasts)
	add(maxPackets, "more frames than the VM may send", s.policy.Max.Packets)
}
