package filter

import (
	"fmt"
	"net"
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// A view is one direction of traffic. The peer is the frame's destination on the
// way out and its source on the way in.
type view struct {
	prefix string // the base chain's name; the names of all else begin with it
	hook   ruleset.HookType
	peer   string // for comments
	out    bool

	ip4, ip6, arp, port ruleset.Field // the peer's

	ownMAC ruleset.Field // the VM's
}

var fromVM = view{
	prefix: "from-vm", hook: ruleset.Egress, peer: "destination", out: true,
	ip4: ruleset.IPDestination, ip6: ruleset.IP6Destination, arp: ruleset.ARPTargetIP, port: ruleset.DestinationPort,
	ownMAC: ruleset.EtherSource,
}

var toVM = view{
	prefix: "to-vm", hook: ruleset.Ingress, peer: "source",
	ip4: ruleset.IPSource, ip6: ruleset.IP6Source, arp: ruleset.ARPSenderIP, port: ruleset.SourcePort,
	ownMAC: ruleset.EtherDestination,
}

// A builder collects the table of one interface.
type builder struct {
	vm     string
	device string
	mac    net.HardwareAddr
	policy policy.Policy
	table  ruleset.Table

	closed4, closed6 *netipx.IPSet // see closed
}

// A side builds one direction's rules.
type side struct {
	view
	*builder
}

// A chain is a chain under construction. Its rules are added in the order in
// which they judge.
type chain struct {
	side
	ruleset.Chain
}

func (s side) newChain(suffix string) *chain {
	return &chain{side: s, Chain: ruleset.Chain{Name: s.chainName(suffix)}}
}

// chainName gives a chain's name: "from-vm" for "", "from-vm-arp" for "arp".
func (s side) chainName(suffix string) string {
	if suffix == "" {
		return s.prefix
	}
	return s.prefix + "-" + suffix
}

// done adds the chain to the table.
func (c *chain) done() { c.table.Chains = append(c.table.Chains, c.Chain) }

// accept adds a rule that lets pass. words say, for people, which entry of the configuration
// opened it (see words.go), or what every VM may send or hear.
func (c *chain) accept(words string, when ...ruleset.Match) {
	c.Rules = append(c.Rules, ruleset.Rule{Matches: when, Verdict: ruleset.Accept, Comment: ruleset.Comment(words)})
}

// dropRanges adds a drop for each of some ranges that a field's address can lie in: a set
// of ranges that is new is empty to frames for a while (see notClosed).
func (c *chain) dropRanges(reason, words string, field ruleset.Field, ranges []netipx.IPRange) {
	for _, r := range ranges {
		c.drop(reason, words, among(field, []netipx.IPRange{r}))
	}
}

// goTo adds a rule that goes on in another chain of the same direction.
func (c *chain) goTo(suffix string, when ...ruleset.Match) {
	c.Rules = append(c.Rules, ruleset.Rule{Matches: when, Verdict: ruleset.Goto(c.chainName(suffix))})
}

// logsPerSecond bounds what one rule logs, so that a VM cannot fill the log.
const logsPerSecond = 5

// drop adds a rule that drops and counts under a reason; where the policy logs, one
// before it that logs.
func (c *chain) drop(reason, words string, when ...ruleset.Match) {
	if c.policy.Log {
		c.Rules = append(c.Rules, ruleset.Rule{
			Matches: when, Limit: logsPerSecond,
			Log: ruleset.LogPrefix(fmt.Sprintf("macvtap-filter %s REASON=%s DEVICE=%s VM=", c.prefix, reason, c.device), c.vm),
		})
	}
	c.Rules = append(c.Rules, c.dropped(reason, words, when))
}

// dropped is a rule that drops and counts under a reason.
func (c *chain) dropped(reason, words string, when []ruleset.Match) ruleset.Rule {
	i := slices.IndexFunc(c.table.Counters, func(known string) bool { return known == c.prefix+"-"+reason })
	if i < 0 {
		i = len(c.table.Counters)
		c.table.Counters = append(c.table.Counters, c.chainName(reason))
	}
	counter := c.table.Counters[i]
	return ruleset.Rule{Matches: when, Counter: counter, Verdict: ruleset.Drop, Comment: ruleset.Comment(words)}
}
