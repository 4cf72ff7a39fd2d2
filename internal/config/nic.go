package config

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
)

// A NIC is a VM's interface as [[vm]] sections know it. What is left out matches no
// section that asks for it.
type NIC struct {
	VM, UUID string
	MAC      net.HardwareAddr // the domain XML's: the guest has no say in it
	Parents  []string         // all names of the NIC that it is on
	Place    int              // among all of the VM's interfaces, from 1
}

// A match says which interfaces a section is for: those that have all of it.
type match struct {
	name, uuid string
	mac        string
	parent     string
	place      int
}

func (m match) matches(n NIC) bool {
	return (m.name == "" || globs(m.name, n.VM)) &&
		(m.uuid == "" || m.uuid == strings.ToLower(n.UUID)) &&
		(m.mac == "" || m.mac == n.MAC.String()) &&
		(m.parent == "" || slices.ContainsFunc(n.Parents, func(name string) bool { return globs(m.parent, name) })) &&
		(m.place == 0 || m.place == n.Place)
}

// globs reports whether a glob matches a name. A name may look like a glob that it does
// not match.
func globs(glob, name string) bool {
	matched, _ := path.Match(glob, name) // the pattern was checked
	return matched || glob == name
}

// String gives a section as it is written.
func (m match) String() string {
	var keys []string
	for _, k := range []struct{ key, value string }{{"name", m.name}, {"uuid", m.uuid}, {"mac", m.mac}, {"parent", m.parent}} {
		if k.value != "" {
			keys = append(keys, fmt.Sprintf("%s = %q", k.key, k.value))
		}
	}
	if m.place != 0 {
		keys = append(keys, fmt.Sprintf("interface = %d", m.place))
	}
	return strings.Join(keys, ", ")
}

// parts gives all that asks for a part of what a section asks, and for nothing else:
// each of them matches whatever the section does.
func (m match) parts() []match {
	out := []match{{}}
	with := func(given bool, add func(*match)) {
		if !given {
			return
		}
		for _, part := range out {
			add(&part)
			out = append(out, part)
		}
	}
	with(m.name != "", func(p *match) { p.name = m.name })
	with(m.uuid != "", func(p *match) { p.uuid = m.uuid })
	with(m.mac != "", func(p *match) { p.mac = m.mac })
	with(m.parent != "", func(p *match) { p.parent = m.parent })
	with(m.place != 0, func(p *match) { p.place = m.place })
	return out[1:]
}

// hasGlob reports whether a section may match what it does not name.
func (m match) hasGlob() bool { return strings.ContainsAny(m.name+m.parent, globSigns) }

// covers reports whether a section matches whatever another does, as far as that is plain
// to see.
func (m match) covers(other match) bool {
	return (m.name == "" || m.name == "*" || other.name != "" && covers(m.name, other.name)) &&
		(m.uuid == "" || m.uuid == other.uuid) &&
		(m.mac == "" || m.mac == other.mac) &&
		(m.parent == "" || m.parent == "*" || other.parent != "" && covers(m.parent, other.parent)) &&
		(m.place == 0 || m.place == other.place)
}

// covers reports whether a glob matches every name that another does, as far as that is
// plain to see.
func covers(glob, other string) bool {
	prefix, star := strings.CutSuffix(glob, "*")
	end := strings.IndexAny(other, globSigns)
	if end < 0 || glob == other {
		return globs(glob, other)
	}
	return star && !strings.ContainsAny(prefix, globSigns) && strings.HasPrefix(other[:end], prefix)
}

// globSigns are what means something in a glob (path.Match).
const globSigns = `*?[\`

// A Section is a [[vm]] section, for messages.
type Section struct {
	Where string // the file and line
	match
}

func (s Section) String() string { return fmt.Sprintf("%s (%s)", s.Where, s.match) }

// OfVM reports whether a VM is one of those that the section asks for, whatever interfaces
// it has.
func (s Section) OfVM(name, uuid string) bool {
	m := match{name: s.name, uuid: s.uuid}
	return m.matches(NIC{VM: name, UUID: uuid})
}

// Parent is the NIC, or glob, that the section asks for, "" for any.
func (s Section) Parent() string { return s.parent }

// Sections gives the [[vm]] sections in their order.
func (c *Config) Sections() []Section {
	if len(c.vms) == 0 {
		return nil
	}
	where := c.where()
	var out []Section
	for i, v := range c.vms {
		out = append(out, Section{where(fmt.Sprintf("vm.%d", i)), v.match})
	}
	return out
}

// Matching gives the places among the Sections, from 0, of all that match an interface: the
// first one counts.
func (c *Config) Matching(n NIC) []int {
	var out []int
	for i, v := range c.vms {
		if v.matches(n) {
			out = append(out, i)
		}
	}
	return out
}

// ByInterface reports whether some [[vm]] asks for what tells a VM's interfaces apart, other
// than the NIC that they are on.
func (c *Config) ByInterface() bool {
	return slices.ContainsFunc(c.vms, func(v vm) bool { return v.mac != "" || v.place != 0 })
}
