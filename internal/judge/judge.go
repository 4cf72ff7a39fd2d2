// Package judge says what the kernel does with a frame under a ruleset, without a
// kernel: the same table that is printed and programmed is evaluated here, rule
// by rule, as nftables does (net/netfilter/nf_tables_core.c, nft_do_chain).
package judge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"macvtap-filter/internal/ruleset"
)

// A Judge evaluates one table. As in the kernel, a frame that it judges may add to a
// dynamic set, and so change what becomes of later ones; such a set begins with the
// elements that it is declared with.
type Judge struct {
	table  ruleset.Table
	chains map[string]ruleset.Chain
	sets   map[string]set
	room   map[string]int // how many elements a dynamic set can hold
	device []byte         // see packet

	buckets map[string]map[string]*bucket // of a set's elements, by their keys
	now     time.Duration
}

// Elapse has time pass: elements of dynamic sets expire, as a rule that added them said.
func (j *Judge) Elapse(d time.Duration) { j.now += d }

// New prepares a table that Validate finds right.
func New(t ruleset.Table) *Judge {
	j := &Judge{table: t, chains: map[string]ruleset.Chain{}, sets: map[string]set{}, room: map[string]int{}, buckets: map[string]map[string]*bucket{}}
	for _, c := range t.Chains {
		j.chains[c.Name] = c
	}
	for index := range t.Interfaces {
		j.device = binary.NativeEndian.AppendUint32(nil, index)
	}
	for _, s := range t.Sets {
		j.sets[s.Name] = newSet(s.Elements)
		j.room[s.Name] = s.Dynamic
		j.buckets[s.Name] = map[string]*bucket{}
	}
	return j
}

// A Decision is what becomes of a frame, and why.
type Decision struct {
	Passes bool
	Chain  string       // the chain that decided
	Rule   ruleset.Rule // the rule that decided; empty when it was the chain's policy
	Number int          // the rule's place in its chain, from 1; 0 for the policy
	Path   []string     // the chains the frame went through, the deciding one last
	Came   ruleset.Rule // the rule that led to the deciding chain
	Frame  []byte       // what leaves, where it passes: rules may change it

	Cost Cost // what the frame cost the kernel until then
}

// A Cost counts what nftables evaluates of a frame, on any machine the same.
type Cost struct {
	Expressions int // those included that nft adds
	Lookups     int // those of them that look into a set, which costs several times a compare
}

// add adds what a match costs: each field is loaded, bits are masked, and what is left is
// compared, with both ends of a range, or looked up.
func (c *Cost) add(m ruleset.Match) {
	c.Expressions += len(ruleset.Fields(m)) + 1
	switch m := m.(type) {
	case ruleset.Masked, ruleset.Between:
		c.Expressions++
	case ruleset.InPrefix:
		if m.Prefix.Bits()%8 != 0 {
			c.Expressions++
		}
	case ruleset.OneOf, ruleset.Lookup:
		c.Lookups++
	}
}

// addStatements adds what a rule does when its matches hold, but for its update.
func (c *Cost) addStatements(r ruleset.Rule) {
	if r.Counter != "" {
		c.Expressions++
	}
	if r.Mark != nil {
		c.Expressions += 2 // a number is loaded, and set
	}
	c.Expressions += 2 * len(r.Writes) // what is written is loaded
	if r.Verdict != (ruleset.Verdict{}) {
		c.Expressions++
	}
}

// Frame judges a frame that passes the table's own device and has no mark yet, as it is on the wire, from its destination MAC address on
// and without its checksum. Egress is from the VM, ingress towards it. A frame
// that the kernel itself refuses before any rule sees it is an error.
func (j *Judge) Frame(hook ruleset.HookType, frame []byte) (Decision, error) {
	p, err := parse(hook, frame)
	if err != nil {
		return Decision{}, err
	}
	p.device = j.device
	i := slices.IndexFunc(j.table.Chains, func(c ruleset.Chain) bool { return c.Hook != nil && c.Hook.Type == hook })
	if i < 0 {
		return Decision{}, fmt.Errorf("table %q has no chain at %s", j.table.Name, hook)
	}
	c := j.table.Chains[i]
	d := Decision{Chain: c.Name, Path: []string{c.Name}}
	for n := 0; n < len(c.Rules); n++ {
		r := c.Rules[n]
		if !j.holds(p, r, &d.Cost) {
			continue
		}
		if r.Mark != nil {
			p.mark = *r.Mark
		}
		switch {
		case r.Verdict == ruleset.Accept, r.Verdict == ruleset.Drop:
			d.Passes, d.Chain, d.Rule, d.Number, d.Frame = r.Verdict == ruleset.Accept, c.Name, r, n+1, p.frame
			return d, nil
		case r.Verdict.Chain() != "":
			// goto: the rest of this chain is never looked at.
			c, n, d.Came = j.chains[r.Verdict.Chain()], -1, r
			d.Path = append(d.Path, c.Name)
		}
	}
	return d, nil // the base chain's policy: drop
}

// holds reports whether all of a rule's matches hold, those included that nft adds, and
// its updates, and adds what that cost. A limit is taken for not reached.
func (j *Judge) holds(p *packet, r ruleset.Rule, cost *Cost) bool {
	for _, m := range r.Dependencies() {
		cost.add(m)
		if !j.match(p, m) {
			return false
		}
	}
	for _, u := range r.Updates {
		cost.Expressions += len(u.Fields) + 1 // each field is loaded, and all are added
		if !j.update(p, u) {
			return false
		}
	}
	cost.addStatements(r)
	return !slices.ContainsFunc(r.Writes, func(w ruleset.Write) bool { return !p.write(w) })
}

// update adds fields to a dynamic set, or takes them out of it, and reports whether the
// rule goes on (net/netfilter/nft_dynset.c, nft_dynset_eval).
func (j *Judge) update(p *packet, u ruleset.Update) bool {
	var joined []byte
	for _, f := range u.Fields {
		value, ok := p.read(f)
		if !ok {
			return false
		}
		joined = append(joined, value...)
	}
	elements := j.sets[u.Set] // a dynamic set has no ranges
	single := elements.single
	if u.Delete {
		delete(single, string(joined))
		delete(j.buckets[u.Set], string(joined))
		return true
	}
	stood := elements.stands(joined, j.now)
	lasts := stood && single[string(joined)] == 0 // one that never expires stays so
	switch {
	case !stood && len(single) >= j.room[u.Set]:
		return false
	case u.Timeout > 0 && !lasts:
		single[string(joined)] = j.now + u.Timeout
	case !stood:
		single[string(joined)] = 0
	}
	switch {
	case stood:
	case u.Share == (ruleset.Share{}):
		delete(j.buckets[u.Set], string(joined))
	default:
		j.buckets[u.Set][string(joined)] = full(u.Share, j.now)
	}
	return j.spend(u.Set, joined)
}

// match reports whether a match holds. One whose field cannot be read does not,
// whatever it compares: the kernel breaks off the rule.
func (j *Judge) match(p *packet, m ruleset.Match) bool {
	var values [][]byte
	for _, f := range ruleset.Fields(m) {
		if prefix, ok := m.(ruleset.InPrefix); ok && prefix.Prefix.Bits()%8 == 0 {
			f.Size = uint32(prefix.Prefix.Bits() / 8) // no more is loaded
		}
		v, ok := p.read(f)
		if !ok {
			return false
		}
		values = append(values, v)
	}
	if m, ok := m.(ruleset.Lookup); ok {
		return j.lookup(m, values)
	}
	return ruleset.Holds(m, values[0])
}

// lookup looks for values in a set. What an element does, as it counts on its share, it does when
// it is found, too, and the rule ends where it says so (net/netfilter/nft_lookup.c,
// nft_lookup_eval).
func (j *Judge) lookup(m ruleset.Lookup, values [][]byte) bool {
	found := j.sets[m.Set].has(values, j.now)
	return found != m.Not && (m.Not || j.spend(m.Set, bytes.Join(values, nil)))
}
