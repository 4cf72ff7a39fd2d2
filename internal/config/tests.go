package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"macvtap-filter/internal/near"
)

// Internet is a word of [[test]] entries alone: all addresses that are neither private nor on
// the parent's link, nor kept for a special use (RFC 6890).
const Internet Word = "internet"

// A Test is a [[test]] section: what the rules of a VM, of a device or of a policy let pass,
// and what not. A configuration that breaks one is wrong.
type Test struct {
	Name               string // "" for none
	VM, Device, Policy string // whose rules: one of them

	// Can and Cannot are what the VM can open; ReachedBy and NotReachedBy, what others can
	// open on it. The former of each are exceptions to the latter.
	Can, Cannot, ReachedBy, NotReachedBy []TestEntry

	at string // see places
}

// A TestEntry is an entry of a [[test]]'s list: services, of some peers or of all.
type TestEntry struct {
	Opening
	at string
}

// At gives the entry's path in the configuration, which no other entry has.
func (e TestEntry) At() string { return e.at }

// String names the test: by its name, or by whose it is.
func (t Test) String() string {
	switch {
	case t.Name != "":
		return strconv.Quote(t.Name)
	case t.VM != "":
		return fmt.Sprintf("of VM %q", t.VM)
	case t.Device != "":
		return fmt.Sprintf("of device %q", t.Device)
	}
	return fmt.Sprintf("of policy %q", t.Policy)
}

// Tests gives the [[test]] sections in their order.
func (c *Config) Tests() []Test { return c.tests }

// Sum is Text.Hash's of what was read.
func (c *Config) Sum() string { return c.text.Hash() }

// Where gives the file and line of a test.
func (c *Config) Where(t Test) string { return c.where()(t.at) }

// A Broken entry is one of a test that the rules do not keep, and why.
type Broken struct {
	Test  Test
	Entry TestEntry
	Text  string
}

// Broken gives the *Error of a configuration that breaks its own tests, nil for none.
func (c *Config) Broken(all []Broken) error {
	if len(all) == 0 {
		return nil
	}
	check := c.checker.anew()
	for _, b := range all {
		check.add(b.Entry.at, "[[test]] %v: %s", b.Test, b.Text)
	}
	return check.err()
}

// Named gives a policy by its name.
func (c *Config) Named(policy string) (p Policy, ok bool) {
	p, ok = c.policies[policy]
	return p, ok
}

// Only gives the configuration in which every VM has one policy.
func (c *Config) Only(policy string) (*Config, error) {
	p, ok := c.policies[policy]
	if !ok {
		return nil, fmt.Errorf("nobody defines the policy %q in %s%s", policy, c.File, meant(near.Name(policy, slices.Sorted(maps.Keys(c.policies)))))
	}
	one := *c
	one.policies, one.vms, one.devices = map[string]Policy{DefaultPolicy: p}, nil, nil
	return &one, nil
}

// Possible gives the policies that interfaces of VMs of some name, or glob, may have on a NIC
// with those names: that of the first [[vm]] that is for all of them, and of those before it that
// may be for some. What is for a UUID or a MAC address and no name may be anybody's, and is
// left out.
func (c *Config) Possible(vm string, parents []string) []Policy {
	var out []Policy
	for i, v := range c.vms {
		others := match{parent: v.parent}
		if !others.matches(NIC{Parents: parents}) || v.name == "" && (v.uuid != "" || v.mac != "") || !overlap(v.name, vm) {
			continue
		}
		p := c.policies[v.policy]
		p.Own, p.Section = v.own, i+1
		out = append(out, p)
		if all := (match{name: v.name, parent: v.parent}); all == v.match && (v.name == "" || covers(v.name, vm)) {
			return out
		}
	}
	return append(out, c.policies[DefaultPolicy])
}

// overlap reports whether a section of some name, or glob, may be for VMs of another.
func overlap(section, vm string) bool {
	if section == "" || globs(section, vm) || globs(vm, section) {
		return true
	}
	a, b := strings.IndexAny(section, globSigns), strings.IndexAny(vm, globSigns)
	return a >= 0 && b >= 0 && (strings.HasPrefix(section[:a], vm[:b]) || strings.HasPrefix(vm[:b], section[:a]))
}

// PossibleDevice gives the policies that a device of some name may have, with whatever MAC
// address: as Possible does.
func (c *Config) PossibleDevice(name string) []Policy {
	var out []Policy
	for _, d := range c.devices {
		if d.name == "" || !globs(d.name, name) {
			continue
		}
		p := c.policies[d.policy]
		p.Own = d.own
		if out = append(out, p); d.mac == "" {
			break
		}
	}
	return out
}

func (c *Config) checkTest(check checker, at string, raw fileTest) Test {
	const section = "[[test]]"
	t := Test{at: at, Name: said(raw.Name, ""), VM: said(raw.VM, ""), Device: said(raw.Device, ""), Policy: said(raw.Policy, "")}
	whose := 0
	for _, given := range []*string{raw.VM, raw.Device, raw.Policy} {
		if given != nil {
			whose++
		}
	}
	if whose != 1 {
		check.add(at, section+": whose rules? want one of vm, device and policy")
	}
	for _, one := range []struct {
		key   string
		given *string
	}{{"vm", raw.VM}, {"device", raw.Device}} {
		if one.given != nil && *one.given == "" {
			check.add(at+"."+one.key, section+": %s = \"\": want a name", one.key)
		}
	}
	if raw.Device != nil && len(c.PossibleDevice(t.Device)) == 0 {
		check.add(at+".device", section+": device = %q: no [[device]] section is for a device of that name", t.Device)
	}
	if raw.Policy != nil {
		c.checkChosen(check, at, section, raw.Policy)
	}
	lists := 0
	for _, l := range []struct {
		key  string
		from []string
		to   *[]TestEntry
	}{{"can", raw.Can, &t.Can}, {"cannot", raw.Cannot, &t.Cannot}, {"reached_by", raw.ReachedBy, &t.ReachedBy}, {"not_reached_by", raw.NotReachedBy, &t.NotReachedBy}} {
		lists += len(l.from)
		for i, text := range l.from {
			where := at + "." + l.key + "." + strconv.Itoa(i)
			opening, err := c.groups.tested(text)
			if err == nil && strings.HasSuffix(l.key, "reached_by") {
				err = sends(opening)
			}
			if err != nil {
				check.add(where, section+": %s: %v", l.key, err)
			}
			*l.to = append(*l.to, TestEntry{opening, where})
		}
	}
	if lists == 0 {
		check.add(at, section+": it tests nothing: want can, cannot, reached_by or not_reached_by")
	}
	return t
}

// dnsServices are what "dns" alone means in a test: that names can be asked for (RFC 1035, 4.2).
var dnsServices = []Service{{Proto: protos["udp"], From: 53, To: 53}, {Proto: protos["tcp"], From: 53, To: 53}}

// tested reads an entry of a test: as of inbound and outbound, with a word more.
func (g groups) tested(text string) (Opening, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 || fields[0] != string(Internet) {
		all, err := g.opening(nil, text)
		if err != nil {
			return Opening{}, err
		}
		o := all[0]
		if o.text == string(DNS) {
			o.Any, o.Services = false, dnsServices
		}
		return o, nil
	}
	all, err := g.opening(nil, strings.Join(append([]string{anyService}, fields[1:]...), " "))
	if err != nil {
		return Opening{}, err
	}
	o := all[0]
	o.Any = len(fields) == 1 || slices.Contains(fields[1:], anyService)
	o.Peers, o.text = []Entry{{Word: Internet, text: string(Internet)}}, strings.Join(fields, " ")
	return o, nil
}

// sends says of an entry that nobody sends from an address of it.
func sends(o Opening) error {
	for _, e := range o.Peers {
		if e.Word == Broadcast || e.Word == "" && (e.Range.From().IsMulticast() || e.Range.From() == limitedBroadcast) {
			return fmt.Errorf("%q: nobody sends from a group's or a broadcast address", e)
		}
	}
	return nil
}
