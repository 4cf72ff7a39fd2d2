package ruleset

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/rogpeppe/go-internal/diff"
)

// Same reports whether the kernel judges every frame by the one table as by the
// other, and counts and logs the same: whether all is the same but the order of
// counters, sets and chains, and the way in which rules are told (see
// Rule.Normal). What is not understood equals nothing.
func Same(a, b Table) bool {
	return a.Name == b.Name && a.Comment == b.Comment && a.CheckOffload == b.CheckOffload &&
		a.Unknown == "" && b.Unknown == "" &&
		slices.Equal(byName(a.Counters, itself), byName(b.Counters, itself)) &&
		slices.EqualFunc(byName(a.decisive(), setName), byName(b.decisive(), setName), SameSet) &&
		slices.EqualFunc(byName(a.Chains, chainName), byName(b.Chains, chainName), sameChain)
}

// Stands reports whether a table stands as it should: whether it is the same, and its
// dynamic sets hold what they should begin with. Same does not ask for that: a host that has
// learned something since has not made rules wrong.
func Stands(should, stands Table) bool {
	if !Same(should, stands) {
		return false
	}
	has := func(set string, e Element) bool {
		return contains(stands.Sets, func(s Set) bool {
			return s.Name == set && contains(s.Elements, func(o Element) bool { return SameElement(o, e) })
		})
	}
	return !contains(should.Sets, func(s Set) bool {
		return s.Changes() && contains(s.Elements, func(e Element) bool { return !has(s.Name, e) })
	})
}

// Diff gives what differs in the table that stands from the one that should, as a
// unified diff of their text: lines that begin with "-" are missing, with "+" too
// many. What is the same is told in the words of the table that should stand,
// in its order. It is "" for tables that are the same, and for no others. The names
// head the two sides.
func Diff(shouldName string, should Table, standsName string, stands Table) string {
	if Same(should, stands) {
		return ""
	}
	told := retold(stands, should)
	told.Policy, told.Parent = should.Policy, should.Parent
	d := diff.Diff(shouldName, []byte(Text([]Table{should})), standsName, []byte(Text([]Table{told})))
	if len(d) == 0 {
		return fmt.Sprintf("--- %s\n+++ %s\n# they differ in what the text does not show\n", shouldName, standsName)
	}
	_, unified, _ := bytes.Cut(d, []byte("\n")) // less the line "diff a b"
	return string(unified)
}

// retold gives table t in the order and the words of another, as far as they mean
// the same.
func retold(t, words Table) Table {
	t.Counters = arranged(t.Counters, words.Counters, itself)
	t.Sets = arranged(t.Sets, words.Sets, setName)
	filled := words.Filled()
	for i, s := range t.Sets {
		if w := slices.IndexFunc(words.Sets, func(w Set) bool { return SameSet(w.settled(filled), s.settled(filled)) }); w >= 0 {
			t.Sets[i] = words.Sets[w] // a dynamic one may hold others
		}
	}
	t.Chains = arranged(t.Chains, words.Chains, chainName)
	said := map[string]Chain{}
	for _, c := range words.Chains {
		said[c.Name] = c
	}
	for i, c := range t.Chains {
		known := map[string]Rule{}
		for _, r := range said[c.Name].Rules {
			known[r.Normal().String()] = r
		}
		t.Chains[i].Rules = slices.Clone(c.Rules)
		for j, r := range c.Rules {
			if w, ok := known[r.Normal().String()]; ok && sameRule(w, r) {
				t.Chains[i].Rules[j] = w
			}
		}
	}
	return t
}

// arranged gives the parts in the order of others of the same name, and those that
// are in no order after them.
func arranged[P any](parts, order []P, name func(P) string) []P {
	place := map[string]int{}
	for i, p := range order {
		place[name(p)] = i + 1
	}
	out := slices.Clone(parts)
	slices.SortStableFunc(out, func(a, b P) int {
		i, j := place[name(a)], place[name(b)]
		if i == 0 || j == 0 {
			return j - i // 0 comes last
		}
		return i - j
	})
	return out
}

func byName[P any](parts []P, name func(P) string) []P {
	compare := func(a, b P) int { return bytes.Compare([]byte(name(a)), []byte(name(b))) }
	if slices.IsSortedFunc(parts, compare) {
		return parts
	}
	out := slices.Clone(parts)
	slices.SortFunc(out, compare)
	return out
}

// decisive leaves out the sets of what is interfaces' own in which there is nothing of this
// one, or only what comes and goes while the rules stand: they are there for others, too.
func (t Table) decisive() []Set {
	filled := t.Filled()
	var out []Set
	for _, s := range t.Sets {
		if s = s.settled(filled); !s.Own() || s.Unknown != "" || len(s.Elements) > 0 && !s.Changes() {
			out = append(out, s)
		}
	}
	return out
}

// settled gives a set of what is interfaces' own as one whose elements count, where only the
// rules of others fill it. The sets of drops are filled by chains that are no interface's.
func (s Set) settled(filled map[string]bool) Set {
	if s.Own() && s.Dynamic > 0 && !filled[s.Name] && !IsDrops(s.Name) {
		s.Dynamic, s.Expires = 0, false
	}
	return s
}

func itself(s string) string   { return s }
func setName(s Set) string     { return s.Name }
func chainName(c Chain) string { return c.Name }

// SameSet reports whether two sets are declared alike and, where no rules add to them, hold
// the same.
func SameSet(a, b Set) bool {
	return a.Name == b.Name && slices.Equal(a.Key, b.Key) && slices.Equal(a.Typeof, b.Typeof) && a.Interval == b.Interval && a.Dynamic == b.Dynamic && a.Expires == b.Expires && a.Unknown == "" && b.Unknown == "" &&
		(a.Changes() || slices.EqualFunc(ordered(a.Elements), ordered(b.Elements), SameElement))
}

// SameElement reports whether two elements are the same.
func SameElement(a, b Element) bool {
	return slices.EqualFunc(a.From, b.From, bytes.Equal) && slices.EqualFunc(a.To, b.To, bytes.Equal)
}

func sameChain(a, b Chain) bool {
	return a.Name == b.Name && a.Unknown == "" && b.Unknown == "" && SameHook(a.Hook, b.Hook) &&
		slices.EqualFunc(a.Rules, b.Rules, sameRule)
}

// SameHook reports whether two hooks see the same frames.
func SameHook(a, b *Hook) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Type == b.Type && a.Device == b.Device && a.Priority == b.Priority && a.policy() == b.policy() &&
		slices.Equal(byName(a.Names, itself), byName(b.Names, itself)) && slices.Equal(byName(a.Prefixes, itself), byName(b.Prefixes, itself))
}

func sameRule(a, b Rule) bool {
	return a.Unknown == "" && b.Unknown == "" && a.Limit == b.Limit && a.Log == b.Log && a.Counter == b.Counter &&
		same(a.Mark, b.Mark) && slices.EqualFunc(a.Writes, b.Writes, sameWrite) && a.Verdict == b.Verdict && a.Comment == b.Comment &&
		// Most rules are in normal form, which is dearer to make than to compare.
		(sameFields(a, b) || sameFields(a.Normal(), b.Normal()))
}

// same compares what there may be none of.
func same[V comparable](a, b *V) bool { return a == b || a != nil && b != nil && *a == *b }

func sameFields(a, b Rule) bool {
	return slices.EqualFunc(a.Updates, b.Updates, sameUpdate) && slices.EqualFunc(a.Matches, b.Matches, sameMatch)
}

func sameUpdate(a, b Update) bool {
	return a.Set == b.Set && a.Delete == b.Delete && a.Count == b.Count && a.Timeout == b.Timeout && a.Share == b.Share && slices.Equal(a.Fields, b.Fields)
}

func sameWrite(a, b Write) bool {
	return a.To == b.To && a.From == b.From && bytes.Equal(a.Value, b.Value)
}

func sameMatch(a, b Match) bool {
	switch a := a.(type) {
	case Compare:
		b, ok := b.(Compare)
		return ok && a.Field == b.Field && a.Op == b.Op && bytes.Equal(a.Value, b.Value)
	case InPrefix:
		b, ok := b.(InPrefix)
		return ok && a == b
	case Masked:
		b, ok := b.(Masked)
		return ok && a.Field == b.Field && a.Op == b.Op && bytes.Equal(a.Mask, b.Mask) && bytes.Equal(a.Value, b.Value)
	case Between:
		b, ok := b.(Between)
		return ok && a.Field == b.Field && bytes.Equal(a.From, b.From) && bytes.Equal(a.To, b.To)
	case OneOf:
		b, ok := b.(OneOf)
		return ok && a.Field == b.Field && a.Not == b.Not && slices.EqualFunc(a.Elements, b.Elements, SameElement)
	case Lookup:
		b, ok := b.(Lookup)
		return ok && a.Set == b.Set && a.Not == b.Not && slices.Equal(a.Fields, b.Fields)
	}
	return false
}
