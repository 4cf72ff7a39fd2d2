// Package filter is the heart: it says which rules make a policy true for one
// interface of a VM. It is pure; the same interface and policy give the same
// table, byte for byte.
//
// In each direction the base chain of a NIC binds the policy to its device and MAC address
// and hands each frame to the chain of its protocol. There, one rule lets pass what goes to
// or comes from a peer that is not denied; the rules behind it judge the rest, each drop
// under its reason. Nearly all frames come no further than the fast path, at the head of
// that chain.
package filter

import (
	"errors"
	"fmt"
	"slices"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// Table gives the table of one interface. The interface must have a device
// (Target) that nft can write and a MAC address, and the domain a UUID, by which
// the table is found again when the VM is gone.
func Table(d *domain.Domain, i domain.Interface, p policy.Policy) (ruleset.Table, error) {
	b, err := newBuilder(d, i, p)
	if err != nil {
		return ruleset.Table{}, err
	}
	b.table.Sets = slices.Concat(b.ownSets(), b.sets())
	for _, v := range []view{fromVM, toVM} {
		s := side{view: v, builder: b}
		s.ip(family4)
		s.flowChains(family4)
		if !p.DropIPv6 {
			s.ip(family6)
			s.icmpv6()
			s.translated()
			s.flowChains(family6)
		}
		s.arp()
		s.other()
		s.limitChains()
		s.base(i.Target)
	}
	// By the MAC addresses' set, which has each interface, a start sees whether an index was another's.
	b.table.Sets = slices.DeleteFunc(b.table.Sets, func(s ruleset.Set) bool { return s.Name != ownMACSet && !b.table.Uses(s.Name) })
	return b.table, nil
}

// Like gives the table of an interface whose policy is that of another, of which the table
// is made: what is not the interface's own is the other's. Of a policy that logs there is
// none, for logs name the VM; then it is made anew.
func Like(other ruleset.Table, d *domain.Domain, i domain.Interface, p policy.Policy) (ruleset.Table, error) {
	if p.Log {
		return Table(d, i, p)
	}
	b, err := newBuilder(d, i, p)
	if err != nil {
		return ruleset.Table{}, err
	}
	for _, v := range []view{fromVM, toVM} {
		side{view: v, builder: b}.base(i.Target)
	}
	bases := b.table.Chains
	b.table.Chains, b.table.Counters = nil, other.Counters
	for _, c := range other.Chains {
		if c.Hook != nil {
			c, bases = bases[0], bases[1:]
		}
		b.table.Chains = append(b.table.Chains, c)
	}
	own := append(b.ownSets(), b.routers(family4), b.routers(family6))
	for _, s := range other.Sets {
		if n := slices.IndexFunc(own, func(o ruleset.Set) bool { return o.Name == s.Name }); n >= 0 {
			s = own[n]
		}
		b.table.Sets = append(b.table.Sets, s)
	}
	return b.table, nil
}

// interfaceTable gives the rules of an interface without any, for a device that nobody looked
// at (see Bind).
func interfaceTable(d *domain.Domain, i domain.Interface) ruleset.Table {
	return ruleset.Table{
		Name: ruleset.TableName(i.Target), Comment: Owner{UUID: d.UUID, Name: d.Name}.Comment(),
		Interfaces: map[uint32]string{0: i.Target},
	}
}

// newBuilder begins the table of an interface.
func newBuilder(d *domain.Domain, i domain.Interface, p policy.Policy) (*builder, error) {
	if err := identified(d, i); err != nil {
		return nil, err
	}
	if len(i.MAC) != 6 {
		return nil, &domain.Error{Err: errors.New("there is no <mac address='…'/>")}
	}
	b := &builder{vm: d.Name, device: i.Target, mac: i.MAC, policy: p, table: interfaceTable(d, i)}
	b.table.Policy, b.table.Parent = p.Name, i.Parent
	b.table.CheckOffload = !p.PassOffload
	return b, nil
}

// identified reports what keeps the table of an interface from being told from all
// others.
func identified(d *domain.Domain, i domain.Interface) error {
	if d.UUID == "" {
		return &domain.Error{Err: errors.New("there is no <uuid>")}
	}
	if !ruleset.ValidDevice(i.Target) {
		return fmt.Errorf("nft cannot write the device name %q; give the interface a <target dev='…'> of at most 15 letters and digits", i.Target)
	}
	return nil
}

// Closed gives the table of an interface for which no rules can be made: nothing
// passes.
func Closed(d *domain.Domain, i domain.Interface) (ruleset.Table, error) {
	if err := identified(d, i); err != nil {
		return ruleset.Table{}, err
	}
	b := builder{vm: d.Name, device: i.Target, table: interfaceTable(d, i)}
	for _, v := range []view{fromVM, toVM} {
		c := side{view: v, builder: &b}.baseChain(i.Target)
		c.drop("closed", "no rules could be made")
		c.done()
	}
	return b.table, nil
}
