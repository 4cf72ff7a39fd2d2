// Package policytest decides the [[test]] sections of a configuration: whether the rules that it
// makes keep what each section says, for all addresses and ports of each entry. It makes the
// rules, and judges them for sets of frames (internal/reach); nothing is asked of the kernel.
package policytest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/reach"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/why"
)

// A Result is what became of a test on one parent, under one policy.
type Result struct {
	Test   config.Test
	Parent string
	Policy string
	Broken []config.Broken // none where it holds
	Err    error           // why it is not decided: no rules can be made of the policy there
}

// Somewhere is a network of addresses that documents use (RFC 5737, RFC 3849): it stands for
// one of which nothing is known.
func Somewhere(parent string) facts.Facts {
	return facts.Facts{
		Parent:    parent,
		Gateway:   []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")},
		DNS:       []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		Broadcast: []netip.Addr{netip.MustParseAddr("192.0.2.255")},
		OnLink:    []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
	}
}

// Check decides all tests of a configuration for the parents that facts are known of, or, without
// any, for Somewhere, and
// gives their results. The error, a *config.Error, has each entry that does not hold.
func Check(c *config.Config, known []facts.Facts) ([]Result, error) {
	if len(c.Tests()) == 0 {
		return nil, nil
	}
	if len(known) == 0 {
		known = []facts.Facts{Somewhere(c.Parents[0])}
	}
	t := tester{config: c, made: map[string]*subject{}}
	var out []Result
	var broken []config.Broken
	for _, test := range c.Tests() {
		for _, f := range known {
			for _, p := range t.policies(test, f) {
				r := Result{Test: test, Parent: f.Parent, Policy: p.Name}
				if s, err := t.subject(test, p, f); err != nil {
					r.Err = fmt.Errorf("%s: [[test]] %v: not decided on %q: %w", c.Where(test), test, f.Parent, err)
				} else {
					r.Broken = s.broken(test)
				}
				out, broken = append(out, r), append(broken, r.Broken...)
			}
		}
	}
	return out, c.Broken(distinct(broken))
}

// distinct leaves each entry once: several parents may break it.
func distinct(all []config.Broken) []config.Broken {
	var out []config.Broken
	for _, b := range all {
		if !slices.ContainsFunc(out, func(o config.Broken) bool { return o.Entry.At() == b.Entry.At() }) {
			out = append(out, b)
		}
	}
	return out
}

// Nobody gives the words of the tests' entries that stand for nobody on a parent: what such
// an entry says holds, whatever the rules are.
func Nobody(c *config.Config, f facts.Facts) []config.Word {
	var out []config.Word
	for _, t := range c.Tests() {
		for _, entry := range slices.Concat(t.Can, t.Cannot, t.ReachedBy, t.NotReachedBy) {
			for _, e := range entry.Peers {
				if e.Word != "" && e.Word != config.Internet && len(policy.Expand(e, f)) == 0 && !slices.Contains(out, e.Word) {
					out = append(out, e.Word)
				}
			}
		}
	}
	return out
}

// A tester makes the rules of each policy once.
type tester struct {
	config *config.Config
	made   map[string]*subject
}

// policies gives those that a test is of, on a parent.
func (t *tester) policies(test config.Test, f facts.Facts) []config.Policy {
	switch {
	case test.Policy != "":
		p, _ := t.config.Named(test.Policy)
		return []config.Policy{p}
	case test.Device != "":
		return t.config.PossibleDevice(test.Device)
	}
	return t.config.Possible(test.VM, append(slices.Clone(f.Names), f.Parent))
}

// A subject is the rules of an interface with some policy, and what is known of both ends.
type subject struct {
	config *config.Config
	policy config.Policy
	facts  facts.Facts
	table  ruleset.Table
	ends   reach.Ends
	reach  reach.Reach
}

// MAC addresses of nobody's.
var (
	vmMAC     = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	hostMAC   = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xfd}
	routerMAC = facts.MAC{0x02, 0, 0, 0, 0, 0xfe}
)

// subject makes the rules of an interface on a parent. A router whose MAC address the host
// does not know has one: the VM learns it as soon as it asks.
func (t *tester) subject(test config.Test, p config.Policy, f facts.Facts) (*subject, error) {
	key := fmt.Sprintf("%s %d %s %v %s", p.Name, p.Section, test.Device, p.Own, f.Parent)
	if s, ok := t.made[key]; ok {
		return s, nil
	}
	if len(f.GatewayMACs) == 0 {
		f.GatewayMACs = []facts.MAC{routerMAC}
	}
	resolved, _, err := policy.Resolve(p, f)
	if err != nil {
		return nil, err
	}
	d := &domain.Domain{Name: "test", Direct: []domain.Interface{{Number: 1, Parent: f.Parent, Target: "macvtap0", MAC: vmMAC}}}
	d.Complete()
	table, err := filter.Table(d, d.Direct[0], resolved)
	if err != nil {
		return nil, err
	}
	s := &subject{config: t.config, policy: p, facts: f}
	s.table, s.ends = table, reach.Ends{
		VM: vmMAC, Router: net.HardwareAddr(f.GatewayMACs[0]), Host: hostMAC, Gateways: f.Gateway, OnLink: f.OnLink, Broadcast: f.Broadcast,
	}
	if len(p.GatewayMACs) > 0 {
		s.ends.Router = p.GatewayMACs[0]
	}
	for _, one := range documented() {
		a := s.own(one)
		if s.ends.Own = append(s.ends.Own, a); filter.LearnsFamily(table, a) {
			s.table = filter.WithAddress(s.table, a)
		}
	}
	if s.reach, err = reach.Of(s.table, s.ends); err != nil {
		return nil, err
	}
	t.made[key] = s
	return s, nil
}

// documented are addresses that documents use (RFC 5737, RFC 3849): the VM's, where it may learn
// any. A hook call, which has the most often no tests, does not wait for variables to be made.
func documented() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:100::7")}
}

// own gives an address of the VM's of the family of one: the configuration's, or that one.
func (s *subject) own(one netip.Addr) netip.Addr {
	for _, a := range s.policy.Addresses {
		if a.Is4() == one.Is4() {
			return a
		}
	}
	for _, p := range s.policy.Prefixes {
		for a := p.Addr().Next(); a.Is4() == one.Is4() && p.Contains(a); a = a.Next() {
			if !slices.Contains(s.facts.Gateway, a) && !slices.Contains(s.facts.Host, a) && !slices.Contains(s.facts.DNS, a) {
				return a
			}
		}
	}
	return one
}

// asker says of a verdict which line of the configuration it is the work of.
func (s *subject) asker() why.Asker { return why.New(s.config, s.policy, s.facts, nil) }

// everybody is every address of both families.
func everybody() []netipx.IPRange {
	return []netipx.IPRange{netipx.RangeOfPrefix(netip.MustParsePrefix("0.0.0.0/0")), netipx.RangeOfPrefix(netip.MustParsePrefix("::/0"))}
}
