package prove

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"

	"macvtap-filter/internal/ruleset"
)

// Sets are the sets that change, with whatever they hold: whether they hold what a frame is
// looked up by is a variable, the same for the same key. So is whether a set has room, and
// whether anything is left of a share.
type Sets struct {
	*Circuit
	asked   []*asked
	known   map[string]*asked
	chances map[string]Bit
	usual   map[Bit]bool

	held map[string][]ruleset.Element // instead of what is declared
}

type asked struct {
	set ruleset.Set
	key Word
	is  Bit
}

// NewSets gives sets of which nothing was asked yet.
func NewSets(c *Circuit) *Sets {
	return &Sets{Circuit: c, known: map[string]*asked{}, chances: map[string]Bit{}, usual: map[Bit]bool{}}
}

func (s *Sets) has(c *Circuit, set ruleset.Set, key Word) Bit {
	name := fmt.Sprint(set.Name, key)
	if s.known[name] == nil {
		s.known[name] = &asked{set, key, c.Var()}
		s.asked = append(s.asked, s.known[name])
	}
	return s.known[name].is
}

// chance gives a variable of a name, and notes what it is where nothing was done yet.
func (s *Sets) chance(name string, usual bool) Bit {
	if _, ok := s.chances[name]; !ok {
		s.chances[name] = s.Var()
		s.usual[s.chances[name]] = usual
	}
	return s.chances[name]
}

// Consistent gives that the same key is there or not, however it is asked for.
func (s *Sets) Consistent() Bit {
	out := True
	for i, a := range s.asked {
		for _, b := range s.asked[:i] {
			if a.set.Name == b.set.Name && len(a.key) == len(b.key) {
				out = s.And(out, s.Implies(s.Equal(a.key, b.key), s.Xor(a.is, b.is).Not()))
			}
		}
	}
	return out
}

// first gives the value of a variable of the sets as they are declared; ok is false for others.
func (s *Sets) first(v Bit, before Values) (value uint64, ok bool) {
	if usual, ok := s.usual[v]; ok {
		if usual {
			return ^uint64(0), true
		}
		return 0, true
	}
	for _, a := range s.asked {
		if a.is != v {
			continue
		}
		for lane := range Lanes {
			key := before.Bytes(a.key, lane)
			for _, e := range s.elements(a.set) {
				if bytes.Equal(bytes.Join(e.From, nil), key) {
					value |= 1 << lane
				}
			}
		}
		return value, true
	}
	return 0, false
}

// elements gives what a set holds at first.
func (s *Sets) elements(set ruleset.Set) []ruleset.Element {
	if all, ok := s.held[set.Name]; ok {
		return all
	}
	return set.Elements
}

// Lived gives the same sets as they may be after a while: each holds about half of what it is
// asked for some frames, but for those that count shares, which begin anew.
func (s *Sets) Lived(r *rand.Rand, j *Judgement, frames [][]byte) *Sets {
	out := *s
	out.held = map[string][]ruleset.Element{}
	v := j.Values(s, frames...)
	for _, a := range s.asked {
		if j.shares(a.set.Name) || r.IntN(4) == 0 {
			continue
		}
		for lane := range frames {
			if r.IntN(2) > 0 {
				continue
			}
			key := v.Bytes(a.key, lane)
			e := ruleset.Element{From: [][]byte{key}, To: [][]byte{key}}
			if !slices.ContainsFunc(out.held[a.set.Name], func(o ruleset.Element) bool { return ruleset.SameElement(o, e) }) {
				out.held[a.set.Name] = append(out.held[a.set.Name], e)
			}
		}
	}
	return &out
}

// Table gives the judgement's table with what the sets hold.
func (s *Sets) Table(j *Judgement) ruleset.Table {
	t := j.table
	t.Sets = slices.Clone(t.Sets)
	for i, set := range t.Sets {
		t.Sets[i].Elements = s.elements(set)
	}
	return t
}
