package prove

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"macvtap-filter/internal/ruleset"
)

// A Verdict is a rule that decides, and for which frames.
type Verdict struct {
	Chain  string
	Number int
	Rule   ruleset.Rule
	When   Bit
}

// Passes reports whether it lets pass.
func (v Verdict) Passes() bool { return v.Rule.Verdict == ruleset.Accept }

// A Judgement is what a table does with a frame.
type Judgement struct {
	*Frame
	Passes   Bit
	Verdicts []Verdict
	Fires    map[string][]Bit // of each chain's rules, those without a verdict included, for which frames it does what it says

	// Strange are frames of which the formula does not know what rules do with them: they read
	// a transport header behind a rule that wrote into the frame. It is to be shown that there
	// are none.
	Strange Bit

	table  ruleset.Table
	sets   *Sets
	device []byte
	events map[string][]event
	writes []write
	mark   Word
	reach  map[string]Bit
}

// An event is what a rule does to a set.
type event struct {
	when Bit
	key  Word
	is   bool
}

type write struct {
	when Bit
	at   int
	to   Word
}

// Judge gives what a table does with a frame, whatever is in the sets that change.
func Judge(f *Frame, t ruleset.Table, sets *Sets) *Judgement {
	j := &Judgement{Frame: f, Passes: False, Strange: False, Fires: map[string][]Bit{}, table: t, sets: sets, events: map[string][]event{}, mark: Constant(0, 32), reach: map[string]Bit{}}
	for index := range t.Interfaces {
		j.device = binary.NativeEndian.AppendUint32(nil, index)
	}
	chains := map[string]ruleset.Chain{}
	var base string
	for _, c := range t.Chains {
		if chains[c.Name] = c; c.Hook != nil && c.Hook.Type == f.Hook {
			base = c.Name
		}
	}
	j.reach[base] = True
	for _, name := range order(chains, base) {
		j.chain(chains[name])
	}
	return j
}

// order gives the chains that can be reached, each behind all that go to it.
func order(chains map[string]ruleset.Chain, base string) []string {
	var out []string
	seen := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, r := range chains[name].Rules {
			if to := r.Verdict.Chain(); to != "" {
				visit(to)
			}
		}
		out = append([]string{name}, out...)
	}
	visit(base)
	return out
}

func (j *Judgement) chain(c ruleset.Chain) {
	here := j.reach[c.Name]
	for n, r := range c.Rules {
		fires := j.rule(c.Name, r, here)
		j.Fires[c.Name] = append(j.Fires[c.Name], fires)
		switch to := r.Verdict.Chain(); {
		case to != "":
			j.reach[to] = j.Or(j.reach[to], fires)
		case r.Verdict == ruleset.Accept, r.Verdict == ruleset.Drop:
			j.Verdicts = append(j.Verdicts, Verdict{c.Name, n + 1, r, fires})
			if r.Verdict == ruleset.Accept {
				j.Passes = j.Or(j.Passes, fires)
			}
		default:
			continue
		}
		here = j.And(here, fires.Not())
	}
}

// rule gives for which of the frames that come to a rule it does all that it says.
func (j *Judgement) rule(chain string, r ruleset.Rule, here Bit) Bit {
	for _, m := range r.Dependencies() {
		here = j.And(here, j.match(m))
	}
	for n, u := range r.Updates {
		here = j.update(fmt.Sprintf("%s %s %d", chain, r, n), u, here)
	}
	if r.Limit > 0 && r.Verdict != (ruleset.Verdict{}) {
		here = j.And(here, j.sets.chance(chain+r.String(), true))
	}
	for _, w := range r.Writes {
		here = j.write(w, here)
	}
	if r.Mark != nil {
		j.mark = j.IfWord(here, Bytes(binary.NativeEndian.AppendUint32(nil, *r.Mark)), j.mark)
	}
	return here
}

// value gives a field as it is after what rules have written.
func (j *Judgement) value(f ruleset.Field) (Word, Bit) {
	if f.Base == ruleset.Meta && f.Name == "mark" {
		return j.mark, True
	}
	value, ok := j.read(f, j.device)
	for _, w := range j.writes {
		if f.Base == ruleset.TransportHeader {
			j.Strange = j.Or(j.Strange, j.And(w.when, ok))
			continue
		}
		if f.Base != ruleset.NetworkHeader {
			continue
		}
		for i := range w.to {
			if at := w.at*8 + i - int(f.Offset)*8; at >= 0 && at < len(value) {
				changed := append(Word(nil), value...)
				changed[at] = j.If(w.when, w.to[i], value[at])
				value = changed
			}
		}
	}
	return value, ok
}

func (j *Judgement) write(w ruleset.Write, here Bit) Bit {
	value, ok := Bytes(w.Value), True
	if w.Value == nil {
		value, ok = j.value(w.From)
	}
	if w.To.Base != ruleset.NetworkHeader {
		panic("a rule writes to " + w.To.String())
	}
	_, there := j.value(w.To)
	here = j.And(here, ok, there)
	j.writes = append(j.writes, write{here, int(w.To.Offset), value})
	return here
}

// Sent gives bytes from the network header on as they leave.
func (j *Judgement) Sent(from, size int) Word {
	value, _ := j.value(ruleset.Raw(ruleset.NetworkHeader, uint32(from), uint32(size)))
	return value
}

func (j *Judgement) match(m ruleset.Match) Bit {
	if l, ok := m.(ruleset.Lookup); ok {
		return j.lookup(l)
	}
	f := ruleset.Fields(m)[0]
	if p, ok := m.(ruleset.InPrefix); ok && p.Prefix.Bits()%8 == 0 {
		f.Size = uint32(p.Prefix.Bits() / 8)
	}
	value, ok := j.value(f)
	return j.And(ok, j.holds(m, value))
}

func (j *Judgement) holds(m ruleset.Match, value Word) Bit {
	switch m := m.(type) {
	case ruleset.Compare:
		return j.compare(value, m.Op, Bytes(m.Value))
	case ruleset.Masked:
		masked := make(Word, len(value))
		for i, bit := range Bytes(m.Mask) {
			masked[i] = j.And(value[i], bit)
		}
		return j.compare(masked, m.Op, Bytes(m.Value))
	case ruleset.InPrefix:
		bits := m.Prefix.Bits()
		return j.Equal(value[:bits], Bytes(m.Prefix.Masked().Addr().AsSlice())[:bits]) ^ negated(m.Not)
	case ruleset.Between:
		return j.Within(value, Bytes(m.From), Bytes(m.To))
	case ruleset.OneOf:
		return j.element(value, m.Elements) ^ negated(m.Not)
	}
	panic(fmt.Sprintf("a match of %T", m))
}

func negated(is bool) Bit {
	if is {
		return True
	}
	return False
}

func (j *Judgement) compare(value Word, op ruleset.Op, with Word) Bit {
	switch op {
	case ruleset.Equal:
		return j.Equal(value, with)
	case ruleset.NotEqual:
		return j.Equal(value, with).Not()
	case ruleset.Less:
		return j.Less(value, with)
	case ruleset.GreaterEqual:
		return j.Less(value, with).Not()
	}
	panic("an operator " + string(op))
}

// element gives whether joined fields are one of some elements.
func (j *Judgement) element(value Word, all []ruleset.Element) Bit {
	out := False
	for _, e := range all {
		is, at := True, 0
		for i := range e.From {
			part := value[at : at+len(e.From[i])*8]
			at += len(part)
			if bytes.Equal(e.From[i], e.To[i]) {
				is = j.And(is, j.Equal(part, Bytes(e.From[i])))
			} else {
				is = j.And(is, j.Within(part, Bytes(e.From[i]), Bytes(e.To[i])))
			}
		}
		out = j.Or(out, is)
	}
	return out
}

func (j *Judgement) joined(fields []ruleset.Field) (Word, Bit) {
	var out Word
	all := True
	for _, f := range fields {
		value, ok := j.value(f)
		out, all = append(out, value...), j.And(all, ok)
	}
	return out, all
}

func (j *Judgement) set(name string) ruleset.Set {
	for _, s := range j.table.Sets {
		if s.Name == name {
			return s
		}
	}
	panic("no set " + name)
}

func (j *Judgement) lookup(m ruleset.Lookup) Bit {
	key, ok := j.joined(m.Fields)
	s := j.set(m.Set)
	if !s.Changes() {
		return j.And(ok, j.element(key, s.Elements)^negated(m.Not))
	}
	found := j.Holds(m.Set, key)
	if !m.Not && j.shares(m.Set) {
		found = j.And(found, j.sets.chance("look-up "+m.Set+fmt.Sprint(key), true))
	}
	return j.And(ok, found^negated(m.Not))
}

// shares reports whether elements of a set count what is done with them.
func (j *Judgement) shares(set string) bool {
	for _, c := range j.table.Chains {
		for _, r := range c.Rules {
			for _, u := range r.Updates {
				if u.Set == set && u.Share != (ruleset.Share{}) {
					return true
				}
			}
		}
	}
	return false
}

// Holds gives whether a set has an element by then: at first whatever it has, and then what
// the frame did to it.
func (j *Judgement) Holds(set string, key Word) Bit {
	is := j.sets.has(j.Circuit, j.set(set), key)
	for _, e := range j.events[set] {
		is = j.If(j.And(e.when, j.Equal(e.key, key)), negated(e.is), is)
	}
	return is
}

func (j *Judgement) update(name string, u ruleset.Update, here Bit) Bit {
	key, ok := j.joined(u.Fields)
	here = j.And(here, ok)
	if u.Delete {
		j.events[u.Set] = append(j.events[u.Set], event{here, key, false})
		return here
	}
	here = j.And(here, j.Or(j.Holds(u.Set, key), j.sets.chance(name+" room", true)))
	j.events[u.Set] = append(j.events[u.Set], event{here, key, true})
	if j.shares(u.Set) {
		here = j.And(here, j.sets.chance(name+" share", !u.Share.Over))
	}
	return here
}
