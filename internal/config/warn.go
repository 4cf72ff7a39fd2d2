package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"macvtap-filter/internal/near"
)

// warn gives what a file that is right says and hardly means: what opens more than it
// seems, or what no VM ever has. What needs the host's facts, internal/policy knows.
func (c *Config) warn(check checker, raw *file) []string {
	check = check.anew()
	c.warnUnused(check, raw)
	c.warnGroups(check, raw)
	c.warnVMs(check)
	c.warnDevices(check)
	for name, p := range raw.Policy {
		if p.Deny != nil && len(*p.Deny) == 0 {
			check.add("policy."+name+".deny", "policy %q: deny = []: the whole LAN is open to its VMs, and they to it; without the key, deny has the default", name)
		}
		if own := p.GatewayMACs; own != nil && len(*own) > 0 && p.NextHop == nil && c.policies[name].AnyNextHop && !c.policies[name].Isolate {
			check.add("policy."+name+".gateway_macs", "policy %q: gateway_macs: they count for nothing: next_hop = \"any\" is inherited", name)
		}
	}
	c.warnOpenings(check, raw)
	return told(check)
}

// warnOpenings finds lists of what may be opened in which one entry opens all.
func (c *Config) warnOpenings(check checker, raw *file) {
	for name, p := range raw.Policy {
		for key, list := range map[string]struct {
			texts  *[]string
			listed bool
		}{"inbound": {p.Inbound, c.policies[name].Inbound.Listed}, "outbound": {p.Outbound, c.policies[name].Outbound.Listed}} {
			if list.texts != nil && len(*list.texts) > 1 && !list.listed {
				check.add("policy."+name+"."+key, "policy %q: %s: %q, written or inherited, opens everything: the other entries count for nothing", name, key, anyService)
			}
		}
	}
}

// told gives what was found, each with its place.
func told(check checker) []string {
	var out []string
	for _, m := range check.all() {
		out = append(out, m.String())
	}
	return out
}

// warnUnused finds policies that no VM can have.
func (c *Config) warnUnused(check checker, raw *file) {
	used := map[string]bool{DefaultPolicy: true}
	for _, v := range c.vms {
		used[v.policy] = true
	}
	for _, p := range raw.Policy {
		if p.Extends != nil {
			used[*p.Extends] = true
		}
	}
	for _, d := range c.devices {
		used[d.policy] = true
	}
	for _, name := range slices.Sorted(maps.Keys(raw.Policy)) {
		if used[name] || c.HonourMetadata {
			continue
		}
		meant := fmt.Sprintf("a [[vm]] section with policy = %q gives it to some", name)
		if near.Name(name, []string{DefaultPolicy}) != "" {
			meant = fmt.Sprintf("did you mean [policy.%s]?", DefaultPolicy)
		}
		check.add("policy."+name, "policy %q: no VM has it: %s", name, meant)
	}
}

// warnGroups finds groups that no list names; where domains choose, theirs may.
func (c *Config) warnGroups(check checker, raw *file) {
	if len(raw.Group) == 0 || c.HonourMetadata {
		return
	}
	used := map[string]bool{}
	for _, text := range everyEntry(raw) {
		for word := range strings.FieldsSeq(text) {
			if name, ok := isGroup(word); ok {
				used[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(raw.Group)) {
		if !used[name] {
			check.add("group."+name, "group %q: no list names it: \"@%s\" in one stands for its members", name, name)
		}
	}
}

// everyEntry gives what stands in the lists of all sections.
func everyEntry(raw *file) []string {
	var out []string
	for _, p := range raw.Policy {
		out = append(out, p.texts()...)
	}
	for _, g := range raw.Group {
		out = append(out, g.Members...)
	}
	for _, v := range raw.VM {
		out = append(out, v.Addresses...)
	}
	for _, d := range raw.Device {
		out = append(out, d.Addresses...)
	}
	for _, t := range raw.Test {
		out = append(slices.Concat(out, t.Can, t.Cannot, t.ReachedBy), t.NotReachedBy...)
	}
	return out
}

// warnVMs finds [[vm]] sections that count for no VM. There may be a thousand, most with a
// plain name: those are looked up.
func (c *Config) warnVMs(check checker) {
	plain := map[match]int{}
	var globs []int
	for i, v := range c.vms {
		at := "vm." + strconv.Itoa(i)
		if strings.ContainsAny(v.name, "/\n") {
			check.add(at+".name", "[[vm]]: name = %q: no VM has such a name: libvirt takes none with '/' or a line break", v.name)
		}
		earlier, covered := 0, false
		for _, part := range v.parts() {
			if n, ok := plain[part]; ok {
				earlier, covered = n, true
			}
		}
		if n := slices.IndexFunc(globs, func(j int) bool { return c.vms[j].covers(v.match) }); n >= 0 {
			earlier, covered = globs[n], true
		}
		if covered {
			check.add(at, "[[vm]]: no VM comes to this section, %v: the one before with %v matches them all, and the first that matches counts: put the narrower one first", v.match, c.vms[earlier].match)
			continue
		}
		if plain[v.match] = i; v.hasGlob() {
			globs = append(globs, i)
		}
	}
}
