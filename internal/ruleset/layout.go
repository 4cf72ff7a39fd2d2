package ruleset

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// One table holds the rules of all interfaces, and what is the same for several stands in
// it once. Of each interface this package knows them apart, as a Table whose chains and
// sets have short names; Merge puts many into the one, and Split takes them apart again.
//
//	of the interface itself   its base chains, "from-vm-macvtap0"
//	                          its elements, by its interface index, in sets of all
//	of its policy             chains and sets, "web-from-vm-ipv4", once for each content
//	of all                    a chain for each reason to drop, "drop-from-vm-vlan", which counts
//
// The policy's part never changes once it stands: another content is a part of another name.

// Directions are the prefixes of the names of chains: frames from the VM, and to it.
var directions = []string{"from-vm", "to-vm"}

// A Part is what a policy's rules are, without anything of an interface: chains and sets by
// their short names.
type Part struct {
	Chains []Chain
	Sets   []Set
}

// Part gives the policy's part of an interface's rules.
func (t Table) Part() Part {
	var p Part
	for _, c := range t.Chains {
		if c.Hook == nil {
			p.Chains = append(p.Chains, c)
		}
	}
	for _, s := range t.Sets {
		if !s.Own() {
			p.Sets = append(p.Sets, s)
		}
	}
	return p
}

// Same reports whether two parts judge alike, as Same does of tables.
func (p Part) Same(o Part) bool {
	return Same(Table{Chains: p.Chains, Sets: p.Sets}, Table{Chains: o.Chains, Sets: o.Sets})
}

// Memory tells parts that were made or read once, for several interfaces: it is the same for
// all of them. Nil is that of none.
func (p Part) Memory() *Rule {
	if len(p.Chains) == 0 || len(p.Chains[0].Rules) == 0 {
		return nil
	}
	return &p.Chains[0].Rules[0]
}

// Alone gives an interface's rules without its policy's part.
func (t Table) Alone() Table {
	t.filled = t.Filled()
	t.Chains = slices.DeleteFunc(slices.Clone(t.Chains), func(c Chain) bool { return c.Hook == nil })
	t.Sets = slices.DeleteFunc(slices.Clone(t.Sets), func(s Set) bool { return !s.Own() })
	t.Counters = nil // they are those of the rules
	return t
}

// Own reports whether the set's elements are each of one interface, by its index.
func (s Set) Own() bool { return s.Key[0] == TypeInterface }

// Names gives the names that the part of an interface's rules may have, the likeliest first:
// the policy's, with the parent's where that stands for other rules, with a number then.
func (t Table) Names(yield func(string) bool) {
	policy := label(t.Policy)
	if !yield(policy) {
		return
	}
	parent := withoutDirections(policy + "-" + label(t.Parent))
	for n := 1; ; n++ {
		name := parent
		if n > 1 {
			name = fmt.Sprintf("%s-%d", parent, n)
		}
		if !yield(name) {
			return
		}
	}
}

// label makes a name the beginning of an identifier, which no direction's name is in.
func label(name string) string {
	const longest = 40
	clean := strings.Map(func(r rune) rune {
		if r < 0x80 && (letter(byte(r)) || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') {
			return r
		}
		return '_'
	}, name)
	clean = withoutDirections(clean)
	if clean == "" || !letter(clean[0]) || strings.HasPrefix(clean+"-", OwnPrefix) || strings.HasPrefix(clean+"-", dropPrefix) {
		clean = "policy-" + clean
	}
	return clean[:min(len(clean), longest)]
}

// withoutDirections spells the names of directions in another way.
func withoutDirections(name string) string {
	for _, d := range directions {
		name = strings.ReplaceAll(name, d, strings.ReplaceAll(d, "-", "_"))
	}
	return name
}

// unknownIndexes are interface indexes that stand for devices which nobody looked at.
const unknownIndexes = 1 << 30

// Merge gives the table of the rules of interfaces. Those whose parts are the same share one.
func Merge(interfaces []Table) Table {
	out := Table{Name: RulesTable}
	if len(interfaces) == 1 {
		out.Unknown = interfaces[0].Unknown
	}
	parts := map[string]Part{}
	var reasons []string
	for n, t := range interfaces {
		if _, known := t.Index(); !known {
			t = t.Bind(unknownIndexes + n) // apart from the others: their names are written
		}
		part := t.Part()
		var name string
		for name = range t.Names {
			known, taken := parts[name]
			if taken && !known.Same(part) {
				continue
			}
			if !taken {
				parts[name] = part
				named := t.Named(name)
				out.Chains, out.Sets = append(out.Chains, named.Chains...), append(out.Sets, named.Sets...)
			}
			break
		}
		for _, c := range t.Counters {
			if !slices.Contains(reasons, c) {
				reasons = append(reasons, c)
			}
		}
		out = out.with(t, name)
	}
	for _, r := range reasons {
		out.Chains = append(out.Chains, ReasonChain(r))
		if s := DropSet(r); !contains(out.Sets, func(o Set) bool { return o.Name == s.Name }) {
			out.Sets = append(out.Sets, s)
		}
	}
	return out.Ordered()
}

// Ordered gives the table with its chains in the order in which a frame comes to them, and
// with the sets of what is interfaces' own first.
func (t Table) Ordered() Table {
	slices.SortStableFunc(t.Chains, func(a, b Chain) int { return place(a) - place(b) })
	slices.SortStableFunc(t.Sets, func(a, b Set) int { return kind(a) - kind(b) })
	return t
}

// place puts base chains first, and what counts last.
func place(c Chain) int {
	switch {
	case c.Hook != nil:
		return 0
	case strings.HasPrefix(c.Name, dropPrefix):
		return 2
	}
	return 1
}

// kind puts what is the interfaces' own first.
func kind(s Set) int {
	if s.Own() {
		return 0
	}
	return 1
}

// with gives the table with what is an interface's own.
func (t Table) with(i Table, part string) Table {
	t.CheckOffload = t.CheckOffload || i.CheckOffload
	interfaces := map[uint32]string{}
	for _, known := range []map[uint32]string{t.Interfaces, i.Interfaces} {
		for index, name := range known {
			interfaces[index] = name
		}
	}
	t.Interfaces = interfaces
	t.Chains = append(t.Chains, i.Bases(part)...)
	for _, s := range i.Sets {
		if !s.Own() {
			continue
		}
		n := slices.IndexFunc(t.Sets, func(known Set) bool { return known.Name == s.Name })
		if n < 0 {
			s.Elements = slices.Clone(s.Elements)
			t.Sets = append(t.Sets, s)
			continue
		}
		t.Sets[n].Elements = append(t.Sets[n].Elements, s.Elements...)
	}
	return t
}

// Bases gives the base chains of an interface's rules as they stand in the one table, where
// their part has that name. The first rule's comment says whose they are.
func (t Table) Bases(part string) []Chain {
	device, _ := TableDevice(t.Name)
	var out []Chain
	for _, c := range t.Chains {
		if c.Hook == nil {
			continue
		}
		c.Name = BaseName(c.Name, device)
		c.Rules = t.long(part, c.Rules)
		for n, r := range c.Rules {
			if asksDevice(r) {
				c.Rules[n].Comment = t.Comment
			}
		}
		out = append(out, c)
	}
	return out
}

// BaseName names the base chain of a device, in a direction.
func BaseName(direction, device string) string { return direction + "-" + escape(device) }

// asksDevice reports whether a rule is that which drops the frames of other devices.
func asksDevice(r Rule) bool {
	if len(r.Matches) != 1 {
		return false
	}
	m, ok := r.Matches[0].(Compare)
	return ok && m.Op == NotEqual && m.Field.Type == TypeInterface
}

// AsksDevice reports whether a rule drops the frames of other devices than that of the index.
func (r Rule) AsksDevice(index uint32) bool {
	return asksDevice(r) && binary.NativeEndian.Uint32(r.Matches[0].(Compare).Value) == index
}

// Named gives the part of an interface's rules with the names that it has in the one table.
func (t Table) Named(name string) Part {
	out := t.Part()
	for i, c := range out.Chains {
		out.Chains[i].Name, out.Chains[i].Rules = name+"-"+c.Name, t.long(name, c.Rules)
	}
	for i, s := range out.Sets {
		out.Sets[i].Name = name + "-" + s.Name
	}
	return out
}

// long gives rules with the names of the one table.
func (t Table) long(part string, rules []Rule) []Rule {
	set := func(name string) string {
		if contains(t.Sets, func(s Set) bool { return s.Name == name && s.Own() }) {
			return name
		}
		return part + "-" + name
	}
	out := renamed(rules, set)
	for i, r := range out {
		switch {
		case r.Counter != "" && r.Verdict == Drop:
			out[i].Counter, out[i].Verdict = "", Goto(dropPrefix+r.Counter)
		case r.Verdict.chain != "":
			out[i].Verdict = Goto(part + "-" + r.Verdict.chain)
		}
	}
	return out
}

// renamed gives rules with other names of sets.
func renamed(rules []Rule, set func(string) string) []Rule {
	out := slices.Clone(rules)
	for i, r := range out {
		out[i].Updates = slices.Clone(r.Updates)
		for j, u := range r.Updates {
			out[i].Updates[j].Set = set(u.Set)
		}
		if !slices.ContainsFunc(r.Matches, func(m Match) bool { _, ok := m.(Lookup); return ok }) {
			continue
		}
		out[i].Matches = slices.Clone(r.Matches)
		for j, m := range r.Matches {
			if l, ok := m.(Lookup); ok {
				l.Set = set(l.Set)
				out[i].Matches[j] = l
			}
		}
	}
	return out
}

// OwnPrefix begins the names of sets of what is interfaces' own, and dropPrefix those of the
// chains that drop and count.
const (
	OwnPrefix  = "nic-"
	dropPrefix = "drop-"
)

// FlowPrefix begins the names of sets of flows that stand. There may be hundreds of thousands, and
// no NIC's rules are other ones for them: nobody reads them but who takes a NIC's away.
const FlowPrefix = OwnPrefix + "flows-"

// IsFlows reports whether a set of that name is one of these.
func IsFlows(set string) bool { return strings.HasPrefix(set, FlowPrefix) }

// PassedKind begins the short name of a part's sets of connections that passed just now. There may be as many.
const PassedKind = "passed"

// PassedSets gives the names of those that a part of a name may have.
func PassedSets(part string) []string {
	return []string{part + "-" + PassedKind + "-ipv4", part + "-" + PassedKind + "-ipv6"}
}

// IsPassed reports whether a set of that name, or short name, is one of these.
func IsPassed(set string) bool {
	for _, short := range []string{PassedKind + "-ipv4", PassedKind + "-ipv6"} {
		if set == short || strings.HasSuffix(set, "-"+short) {
			return true
		}
	}
	return false
}

// Anchor is the set that has an element of each interface whose rules stand, its MAC address.
const Anchor = OwnPrefix + "mac"

// IsOwn reports whether a set of that name holds what is interfaces' own, and IsDrops whether
// it is one in which drops are counted.
func IsOwn(set string) bool { return strings.HasPrefix(set, OwnPrefix) || IsDrops(set) }

// IsDropChain reports whether a chain of that name is one that drops and counts.
func IsDropChain(name string) bool { return strings.HasPrefix(name, dropPrefix) }

// IsDrops reports whether drops are counted in a set of that name.
func IsDrops(set string) bool {
	direction, ok := strings.CutSuffix(set, drops)
	return ok && slices.Contains(directions, direction)
}

// DropSets gives the names of the sets in which drops are counted.
func DropSets() []string {
	var out []string
	for _, d := range directions {
		out = append(out, d+drops)
	}
	return out
}

// drops ends the names of the sets in which drops are counted.
const drops = "-drops"

// maxDrops is how many interfaces and reasons such a set can count. What it has no room for
// is dropped all the same: the base chain's policy drops what no rule decides.
const maxDrops = 65535

// ReasonChain is the chain that drops and counts for a reason, of a counter "from-vm-vlan".
func ReasonChain(counter string) Chain {
	direction, reason := cutDirection(counter)
	index := OutputIndex
	if direction != directions[0] {
		index = InputIndex
	}
	return Chain{Name: dropPrefix + counter, Rules: []Rule{{
		Updates: []Update{{Set: direction + drops, Fields: []Field{index, Word(shortReason(reason))}, Count: true}},
		Verdict: Drop,
	}}}
}

// IsReason reports whether a chain is one that drops for a reason, as it should be, and gives
// the counter.
func IsReason(c Chain) (counter string, is bool) {
	counter, is = strings.CutPrefix(c.Name, dropPrefix)
	return counter, is && c.Hook == nil && len(c.Rules) == 1 && sameChain(c, ReasonChain(counter))
}

// DropSet gives the set that the chain of a reason counts in.
func DropSet(counter string) Set {
	direction, _ := cutDirection(counter)
	return Set{Name: direction + drops, Key: []Type{TypeInterface, TypeKind}, Dynamic: maxDrops}
}

func cutDirection(counter string) (direction, reason string) {
	for _, d := range directions {
		if reason, ok := strings.CutPrefix(counter, d+"-"); ok {
			return d, reason
		}
	}
	return "", counter
}

// A reason is text in a set, of as many bytes as a device's name may have. nft's JSON takes
// redirect for a type of ICMP, and some names of protocols, tcp and icmp among them, for
// protocols: no reason may be such a word (src/parser_json.c, json_parse_immediate).
var shortReasons = map[string]string{"router-advertisement": "router-advert", "redirect": "icmp-redirect"}

func shortReason(reason string) string { return cmp.Or(shortReasons[reason], reason) }

// Counter gives the name of the counter that an element of a set of drops is, and the index
// of its interface; ok is false for an element of another set.
func Counter(set string, e Element) (index uint32, counter string, ok bool) {
	direction, ok := strings.CutSuffix(set, drops)
	if !ok || !slices.Contains(directions, direction) || len(e.From) != 2 || len(e.From[0]) != 4 {
		return 0, "", false
	}
	reason := string(bytes.TrimRight(e.From[1], "\x00"))
	for long, short := range shortReasons {
		if reason == short {
			reason = long
		}
	}
	return binary.NativeEndian.Uint32(e.From[0]), direction + "-" + reason, true
}
