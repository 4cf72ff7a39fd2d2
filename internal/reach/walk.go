package reach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/ruleset"
)

// Rules are those of one interface, made ready for sets of frames.
type rules struct {
	judge  *judge.Judge
	bases  map[ruleset.HookType]string
	chains map[string][]rule
	sets   map[string]ruleset.Set
	found  map[string]condition // of lookups, by set and value
}

type rule struct {
	ruleset.Rule
	matches []ruleset.Match // with those that nft adds
}

// newRules reads a table without the rules of its fast paths, which change nothing.
func newRules(t ruleset.Table) *rules {
	r := &rules{judge.New(t), map[ruleset.HookType]string{}, map[string][]rule{}, map[string]ruleset.Set{}, map[string]condition{}}
	for _, s := range t.Sets {
		r.sets[s.Name] = s
	}
	for _, c := range t.Chains {
		if c.Hook != nil {
			r.bases[c.Hook.Type] = c.Name
		}
		for _, one := range c.Rules {
			if !strings.HasPrefix(one.Comment, "fast path") {
				r.chains[c.Name] = append(r.chains[c.Name], rule{one, one.Dependencies()})
			}
		}
	}
	return r
}

// A change is what a frame did to a set.
type change struct {
	set   string
	key   value
	taken bool // out of it
	share ruleset.Share
	spent int
}

// A state is a set of frames on their way through the rules, and what they have changed in
// the sets, the last at the end.
type state struct {
	frames  space
	changes []change
	mark    []byte
}

// A walk takes the frames of a template through the rules.
type walk struct {
	*rules
	*template
	packet *judge.Packet
	family family
	passed []state
}

// pass gives the frames of a template, of those that a state has, that pass.
func (r *rules) pass(t *template, f family, s state) ([]state, error) {
	base, ok := r.bases[t.hook]
	if !ok {
		return nil, fmt.Errorf("no chain at %s", t.hook)
	}
	p, err := r.judge.Parse(t.hook, t.bytes)
	if err != nil {
		return nil, err
	}
	w := &walk{rules: r, template: t, packet: p, family: f}
	s.mark = binary.NativeEndian.AppendUint32(nil, 0)
	err = w.chain(base, 0, s)
	return w.passed, err
}

// chain takes frames through a chain from its nth rule on.
func (w *walk) chain(name string, from int, s state) error {
	for n, r := range w.chains[name][from:] {
		if len(s.frames) == 0 {
			return nil
		}
		met, err := w.matched(r, s)
		if err != nil {
			return fmt.Errorf("rule %q: not understood: %w", r.Rule, err)
		}
		if len(met.frames) == 0 {
			continue
		}
		all := equal(met.frames, s.frames)
		s.frames = minus.combine(s.frames, met.frames)
		changed, err := w.changed(r, met)
		if err != nil {
			return fmt.Errorf("rule %q: not understood: %w", r.Rule, err)
		}
		for _, c := range changed {
			if c.held {
				err = w.decided(r, name, from+n+1, c.state)
			} else {
				err = w.chain(name, from+n+1, c.state)
			}
			if err != nil {
				return err
			}
		}
		if all {
			return nil
		}
	}
	return nil // the base chain's policy: drop
}

// decided does what a rule does with frames for which all of it holds.
func (w *walk) decided(r rule, name string, next int, s state) error {
	if r.Mark != nil {
		s.mark = binary.NativeEndian.AppendUint32(nil, *r.Mark)
	}
	if len(r.Writes) > 0 && r.Verdict != ruleset.Accept {
		return fmt.Errorf("rule %q: not understood: it changes frames that go on", r.Rule)
	}
	var err error
	switch {
	case r.Verdict == ruleset.Accept:
		w.passed = append(w.passed, s)
	case r.Verdict == ruleset.Drop:
	case r.Verdict.Chain() != "":
		err = w.chain(r.Verdict.Chain(), 0, s)
	default:
		err = w.chain(name, next, s)
	}
	return err
}

// matched gives the frames that all matches of a rule hold for.
func (w *walk) matched(r rule, s state) (state, error) {
	var later []*bitsError
	for _, m := range r.matches {
		c, err := w.match(m, s)
		var bits *bitsError
		if errors.As(err, &bits) {
			later = append(later, bits)
			continue
		}
		if err != nil {
			return s, err
		}
		if c.never() {
			s.frames = nil
			return s, nil
		}
		if !c.always {
			s.frames = and.combine(s.frames, c.frames)
		}
		if len(s.frames) == 0 {
			return s, nil
		}
	}
	for _, bits := range later {
		var err error
		if s.frames, err = bits.of(s.frames); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (w *walk) match(m ruleset.Match, s state) (condition, error) {
	var joined value
	fields := ruleset.Fields(m)
	var values []value
	for _, f := range fields {
		if prefix, ok := m.(ruleset.InPrefix); ok && prefix.Prefix.Bits()%8 == 0 {
			f.Size = uint32(prefix.Prefix.Bits() / 8)
		}
		v, ok := w.read(f, s)
		if !ok {
			return condition{}, nil
		}
		values = append(values, v)
		joined = joined.join(v)
	}
	if m, ok := m.(ruleset.Lookup); ok {
		return w.lookup(m, values, joined, s)
	}
	return w.family.holds(m, values[0])
}

// read gives what a field holds; false where the kernel cannot read it.
func (w *walk) read(f ruleset.Field, s state) (value, bool) {
	switch {
	case f.Base == ruleset.Constant:
		return known(f.Value()), true
	case f == ruleset.PacketMark:
		return known(s.mark), true
	case f.Base == ruleset.Meta:
		v, ok := w.packet.Meta(f)
		return known(v), ok
	}
	at, ok := w.packet.Place(f)
	if !ok {
		return value{}, false
	}
	return w.part(at, at+int(f.Size)), true
}

func (w *walk) lookup(m ruleset.Lookup, values []value, joined value, s state) (condition, error) {
	found, err := w.has(m.Set, values, joined)
	if err != nil {
		return found, err
	}
	for _, c := range s.changes {
		if c.set != m.Set {
			continue
		}
		if found, err = w.after(found, c, joined); err != nil {
			return found, err
		}
		if !m.Not && c.share != (ruleset.Share{}) && len(and.combine(s.frames, w.frames(found))) > 0 {
			return found, fmt.Errorf("a share that is looked up")
		}
	}
	if m.Not {
		found = w.family.not(found)
	}
	return found, nil
}

// after is where a set has a key once it was changed.
func (w *walk) after(found condition, c change, key value) (condition, error) {
	same, err := w.family.is(c.key, key)
	switch {
	case err != nil:
		return found, ofPart("set "+c.set, err)
	case c.taken:
		return and2(found, w.family.not(same)), nil
	}
	return or2(found, same), nil
}

func (w *walk) frames(c condition) space {
	if c.always {
		return w.family.all.space()
	}
	return c.frames
}

// has is where values are among a set's elements.
func (w *walk) has(name string, values []value, joined value) (condition, error) {
	key := fmt.Sprint(w.family.bytes, name, " ", joined.key())
	if c, ok := w.found[key]; ok {
		return c, nil
	}
	var boxes []space
	out := condition{}
	for _, e := range w.sets[name].Elements {
		c := condition{always: true}
		for i, v := range values {
			if !v.open() && !within(v.bytes, e.From[i], e.To[i]) {
				c = condition{}
				break
			}
		}
		for i, v := range values {
			if c.never() || !v.open() {
				continue
			}
			d, err := w.family.element(v, e.From[i], e.To[i])
			if err != nil {
				return c, ofPart("set "+name, err)
			}
			c = and2(c, d)
		}
		if c.always {
			out.always = true
			break
		}
		if !c.never() {
			boxes = append(boxes, c.frames)
		}
	}
	if !out.always {
		out.frames = union(boxes)
	}
	w.found[key] = out
	return out, nil
}

func within(b, from, to []byte) bool {
	return slices.Compare(b, from) >= 0 && slices.Compare(b, to) <= 0
}

// An outcome is what became of frames at a rule's updates: held, the rule goes on.
type outcome struct {
	state
	held bool
}

// changed has the frames that a rule's matches hold for change sets. There is room in each.
func (w *walk) changed(r rule, s state) ([]outcome, error) {
	all := []outcome{{s, true}}
	for _, u := range r.Updates {
		var next []outcome
		for _, o := range all {
			if !o.held {
				next = append(next, o)
				continue
			}
			some, err := w.update(u, o.state)
			if err != nil {
				return nil, err
			}
			next = append(next, some...)
		}
		all = next
	}
	return all, nil
}

func (w *walk) update(u ruleset.Update, s state) ([]outcome, error) {
	var key value
	var values []value
	for _, f := range u.Fields {
		v, ok := w.read(f, s)
		if !ok {
			return []outcome{{s, false}}, nil
		}
		values = append(values, v)
		key = key.join(v)
	}
	there, err := w.has(u.Set, values, key)
	if err != nil {
		return nil, err
	}
	shared := slices.ContainsFunc(s.changes, func(c change) bool { return c.set == u.Set && c.share != (ruleset.Share{}) })
	switch {
	case u.Delete:
		return []outcome{{s.changing(change{set: u.Set, key: key, taken: true}), true}}, nil
	case shared && u.Share == (ruleset.Share{}):
		return nil, fmt.Errorf("a share that is updated without")
	case u.Share == (ruleset.Share{}):
		return []outcome{{s.changing(change{set: u.Set, key: key}), true}}, nil
	}
	// Of an element that was there before, nothing is used up.
	fresh := s
	if !there.never() {
		fresh.frames = minus.combine(s.frames, w.frames(there))
		stood := s
		stood.frames = and.combine(s.frames, w.frames(there))
		if len(stood.frames) > 0 && len(fresh.frames) > 0 {
			return nil, fmt.Errorf("a share that some frames have already")
		} else if len(stood.frames) > 0 {
			return []outcome{{stood, true}}, nil
		}
	}
	spent := 0
	for _, c := range s.changes {
		if c.set == u.Set && c.share != (ruleset.Share{}) {
			if same, err := w.family.is(c.key, key); err != nil || !same.always {
				return nil, fmt.Errorf("a share of another key")
			}
			spent = c.spent
		}
	}
	left := spent < u.Share.Burst
	if left {
		spent++
	}
	return []outcome{{fresh.changing(change{u.Set, key, false, u.Share, spent}), left != u.Share.Over}}, nil
}

func (s state) changing(c change) state {
	s.changes = append(s.changes[:len(s.changes):len(s.changes)], c)
	return s
}
