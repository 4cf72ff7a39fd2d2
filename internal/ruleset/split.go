package ruleset

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Split gives the rules of each interface that a table holds, in the order of their base
// chains: with what its base chains come to, each as it would have to be for Merge to make
// it. What somebody else changed is told as it stands. The names of the parts are Policy.
func Split(t Table) []Table {
	s := newSplitter(t)
	bases := map[string][]Chain{}
	var devices []string
	for _, c := range t.Chains {
		direction, device, ok := baseOf(c)
		if !ok {
			continue
		}
		if bases[device] == nil {
			devices = append(devices, device)
		}
		c.Name = direction
		bases[device] = append(bases[device], c)
	}
	s.own = t.byInterface()
	var out []Table
	for _, device := range devices {
		out = append(out, s.one(device, bases[device]))
	}
	return out
}

// baseOf gives the direction and the device that a base chain of an interface is named after.
func baseOf(c Chain) (direction, device string, ok bool) {
	if c.Hook == nil {
		return "", "", false
	}
	direction, _ = cutDirection(c.Name)
	device, ok = BaseDevice(c.Name)
	return direction, device, ok
}

// BaseDevice gives the device that a chain's name is of, as BaseName gives it.
func BaseDevice(name string) (device string, ok bool) {
	direction, escaped := cutDirection(name)
	device, ok = unescape(escaped)
	return device, ok && direction != "" && device != "" && escape(device) == escaped
}

func newSplitter(t Table) *splitter {
	s := &splitter{table: t, chains: map[string]Chain{}, sets: map[string]Set{}, parts: map[string]Table{}}
	for _, c := range t.Chains {
		s.chains[c.Name] = c
	}
	for _, set := range t.Sets {
		s.sets[set.Name] = set
	}
	return s
}

type splitter struct {
	table  Table
	chains map[string]Chain
	sets   map[string]Set
	own    map[uint32]map[string][]Element // of interfaces, by the names of the sets
	parts  map[string]Table                // what was taken out, by its name
}

// byInterface gives, for each interface index, its elements of the sets of what is
// interfaces' own, by the names of these.
func (t Table) byInterface() map[uint32]map[string][]Element {
	out := map[uint32]map[string][]Element{}
	for _, s := range t.Sets {
		if !s.Own() || IsDrops(s.Name) {
			continue
		}
		for _, e := range s.Elements {
			index := binary.NativeEndian.Uint32(e.From[0])
			if out[index] == nil {
				out[index] = map[string][]Element{}
			}
			out[index][s.Name] = append(out[index][s.Name], e)
		}
	}
	return out
}

// ownSets gives the sets of what is interfaces' own that an interface's rules look into, or
// that have elements of its index, with these.
func (s *splitter) ownSets(index uint32, bound bool, chains []Chain) []Set {
	looked := lookedInto(chains)
	var out []Set
	for _, set := range s.table.Sets {
		if !set.Own() || IsDrops(set.Name) {
			continue
		}
		set.Elements = nil
		if bound {
			set.Elements = s.own[index][set.Name]
		}
		if looked[set.Name] || len(set.Elements) > 0 {
			out = append(out, set)
		}
	}
	return out
}

// Uses reports whether a rule looks into a set of that name or adds to it.
func (t Table) Uses(set string) bool {
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			for used := range r.Sets {
				if used == set {
					return true
				}
			}
		}
	}
	return false
}

// lookedInto gives the names of the sets that the rules of chains look into or add to.
func lookedInto(chains []Chain) map[string]bool {
	out := map[string]bool{}
	for _, c := range chains {
		for _, r := range c.Rules {
			for set := range r.Sets {
				out[set] = true
			}
		}
	}
	return out
}

// one gives the rules of a device.
func (s *splitter) one(device string, bases []Chain) Table {
	out := Table{Name: TableName(device), Unknown: s.table.Unknown, Interfaces: map[uint32]string{}}
	index, bound := uint32(0), false
	for _, c := range bases {
		for _, r := range c.Rules {
			if asksDevice(r) {
				index, bound = binary.NativeEndian.Uint32(r.Matches[0].(Compare).Value), true
				out.Comment = r.Comment
			}
		}
	}
	if bound {
		out.Interfaces[index] = device
	}
	name := partOf(bases)
	part := s.part(name)
	var counters []string
	for _, c := range bases {
		c.Rules = s.short(name, c.Rules, &counters)
		for n, r := range c.Rules {
			if asksDevice(r) && r.Comment == out.Comment {
				c.Rules[n].Comment = StaleComment
			}
		}
		out.Chains = append(out.Chains, c)
	}
	for _, c := range part.Counters {
		if !slices.Contains(counters, c) {
			counters = append(counters, c)
		}
	}
	out.Policy, out.Counters = name, counters
	out.Chains = append(out.Chains, part.Chains...)
	out.Sets = append(s.ownSets(index, bound, out.Chains), part.Sets...)
	return out
}

// StaleComment is the comment of the rule that drops the frames of other devices than that
// which an interface's rules were made for; in the one table it says whose the rules are.
const StaleComment = "not the device that these rules were made for"

// partOf gives the name of the part that base chains go to.
func partOf(bases []Chain) string {
	for _, c := range bases {
		for _, r := range c.Rules {
			if name := PartName(r.Verdict.chain); name != "" {
				return name
			}
		}
	}
	return ""
}

// PartName gives the name of the part that a chain is of, by its name; "" where it is of none.
func PartName(chain string) string {
	if strings.HasPrefix(chain, dropPrefix) {
		return ""
	}
	for _, d := range directions {
		if name, _, ok := strings.Cut(chain, "-"+d+"-"); ok {
			return name
		}
	}
	return ""
}

// part gives the chains that a part of that name has and that its own chains go to, and the
// sets that they look into, with their short names; and the reasons for which they drop.
func (s *splitter) part(name string) Table {
	if known, ok := s.parts[name]; ok || name == "" {
		return known
	}
	var out Table
	var long []Chain
	for _, c := range s.table.Chains {
		short, ok := strings.CutPrefix(c.Name, name+"-")
		direction, _ := cutDirection(short)
		if !ok || direction == "" || c.Hook != nil {
			continue
		}
		long = append(long, c)
		c.Name, c.Rules = short, s.short(name, c.Rules, &out.Counters)
		out.Chains = append(out.Chains, c)
	}
	looked := lookedInto(long)
	for _, set := range s.table.Sets {
		if short, its := strings.CutPrefix(set.Name, name+"-"); its && looked[set.Name] && !set.Own() {
			set.Name = short
			out.Sets = append(out.Sets, set)
		}
	}
	s.parts[name] = out
	return out
}

// PartOf gives what stands in the one table as a part of that name.
func PartOf(t Table, name string) Part {
	s := newSplitter(t)
	return s.part(name).Part()
}

// Sets gives the names of the sets that a rule looks into or adds to.
func (r Rule) Sets(yield func(string) bool) {
	for _, u := range r.Updates {
		if !yield(u.Set) {
			return
		}
	}
	for _, m := range r.Matches {
		if l, ok := m.(Lookup); ok && !yield(l.Set) {
			return
		}
	}
}

// short gives rules with the short names, and adds the reasons for which they drop.
func (s *splitter) short(part string, rules []Rule, counters *[]string) []Rule {
	out := renamed(rules, func(name string) string {
		if known, ok := s.sets[name]; ok && known.Own() {
			return name
		}
		return strings.TrimPrefix(name, part+"-")
	})
	for i, r := range out {
		to := r.Verdict.chain
		if to == "" {
			continue
		}
		if counter, ok := IsReason(s.chains[to]); ok {
			out[i].Counter, out[i].Verdict = counter, Drop
			if !slices.Contains(*counters, counter) {
				*counters = append(*counters, counter)
			}
			continue
		}
		out[i].Verdict = Goto(strings.TrimPrefix(to, part+"-"))
	}
	return out
}

// Index gives the index of the interface whose rules these are; false where they name none.
func (t Table) Index() (uint32, bool) {
	for index := range t.Interfaces {
		return index, index != 0
	}
	return 0, false
}

// ElementOf reports whether an element of a set of what is interfaces' own is that one's.
func (e Element) ElementOf(index uint32) bool {
	return binary.NativeEndian.Uint32(e.From[0]) == index
}
