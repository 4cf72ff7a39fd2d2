package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"macvtap-filter/internal/near"
)

// groups are the members of each group, those of the groups in it included: addresses,
// prefixes, ranges and words. A group says who; what of these is meant, its services, says
// the entry that names the group.
type groups map[string][]string

// isGroup gives the name of the group that an entry's first word names.
func isGroup(word string) (name string, ok bool) { return strings.CutPrefix(word, "@") }

// A grouper reads groups, each after those in it.
type grouper struct {
	check checker
	raw   map[string]fileGroup
	done  groups
	under []string // being read, each holding the next
}

// checkGroups gives nil where there are none.
func checkGroups(check checker, raw map[string]fileGroup) groups {
	if len(raw) == 0 {
		return nil
	}
	g := grouper{check: check, raw: raw, done: groups{}}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		g.members(name)
	}
	return g.done
}

func (g *grouper) members(name string) []string {
	if members, ok := g.done[name]; ok {
		return members
	}
	at := "group." + name
	switch {
	case !validPolicyName(name):
		g.check.add(at, "group %q: want a name of at most 32 letters, digits, '-' and '_'", name)
	case len(g.raw[name].Members) == 0:
		g.check.add(at+".members", "group %q: no members: an entry that names it would stand for nothing", name)
	}
	g.under = append(g.under, name)
	var out []string
	for i, text := range g.raw[name].Members {
		members, err := g.member(name, text)
		if err != nil {
			g.check.add(at+".members."+strconv.Itoa(i), "group %q: members: %v", name, err)
		}
		for _, m := range members {
			if !slices.Contains(out, m) {
				out = append(out, m)
			}
		}
	}
	g.under = g.under[:len(g.under)-1]
	g.done[name] = out
	return out
}

// member gives what a member of a group stands for: itself, or the members of another.
func (g *grouper) member(of, text string) ([]string, error) {
	text = strings.TrimSpace(text)
	name, isName := isGroup(text)
	if strings.ContainsFunc(text, unicode.IsSpace) {
		return nil, fmt.Errorf("%q: a member has no services: write them where the group is named, as in \"@%s tcp/22\"", text, of)
	}
	if !isName {
		if _, err := ParseEntry(text); err != nil {
			return nil, err
		}
		return []string{text}, nil
	}
	if _, ok := g.raw[name]; !ok {
		return nil, unknownGroup(name, slices.Sorted(maps.Keys(g.raw)))
	}
	if n := slices.Index(g.under, name); n >= 0 {
		return nil, fmt.Errorf("%q: a group holds itself: %s", text, "@"+strings.ReplaceAll(circle(g.under[n:]), " → ", " → @"))
	}
	return g.members(name), nil
}

func unknownGroup(name string, known []string) error {
	likely := near.Name(name, known)
	if likely != "" {
		likely = "@" + likely
	}
	return fmt.Errorf("%q: nobody defines that group, by a section [group.%s]%s", "@"+name, name, meant(likely))
}

// lookup gives the members of a group.
func (g groups) lookup(name string) ([]string, error) {
	members, ok := g[name]
	if !ok {
		return nil, unknownGroup(name, slices.Sorted(maps.Keys(g)))
	}
	return members, nil
}

// entries appends an entry, or, where its text names a group, as "@admins" or "@admins
// tcp/22", one for each member.
func (g groups) entries(out []Entry, text string) ([]Entry, error) {
	if !strings.HasPrefix(strings.TrimSpace(text), "@") {
		e, err := ParseEntry(text)
		return append(out, e), err
	}
	fields := strings.Fields(text)
	name, _ := isGroup(fields[0])
	members, err := g.lookup(name)
	if err != nil {
		return out, err
	}
	services, err := parseServices(fields[1:])
	if err != nil {
		return out, fmt.Errorf("%q: %w", text, err)
	}
	written := strings.Join(fields, " ")
	for _, m := range members {
		e, err := ParseEntry(m)
		if err != nil {
			return out, err
		}
		e.Group, e.Services = written, services
		out = append(out, e)
	}
	return out, nil
}

// denied does so for an entry of deny.
func (g groups) denied(out []Entry, text string) ([]Entry, error) {
	before := len(out)
	out, err := g.entries(out, text)
	if err != nil {
		return out, err
	}
	for _, e := range out[before:] {
		switch {
		case e.Word == Router:
			return out, fmt.Errorf("%q opens part of what the gateway is, and stands in allow alone; to deny the gateway, write \"gateway\"", e)
		case len(e.Services) > 0:
			return out, fmt.Errorf("%q: ports narrow only allow entries; what is denied is denied whole", cmp.Or(e.Group, e.text))
		}
	}
	return out, nil
}

// own takes in an entry of a VM's addresses, which may name a group of addresses and
// prefixes.
func (g groups) own(o *Own, text string) error {
	name, ok := isGroup(text)
	if !ok {
		return o.add(text)
	}
	members, err := g.lookup(name)
	if err != nil {
		return err
	}
	for _, m := range members {
		if err := o.add(m); err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
	}
	return nil
}
