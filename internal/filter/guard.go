package filter

import (
	"bytes"
	"slices"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/ruleset"
)

// Marks that a device's rules give a frame for the guard to see that it was
// judged. There is one for each direction: a frame from one VM to another on the
// same host crosses the sender's rules, then the receiver's, and neither may
// answer for the other. From what leaves a VM the guard takes the mark off again, so
// that nobody behind it finds one; behind the other there is only the VM.
const (
	markFromVM uint32 = 0x6d766601
	markToVM   uint32 = 0x6d766602
)

// guardPriority lets the guard see what the devices' own tables, at 0, accept; as
// near as can be, so that hardly anybody changes the mark between.
const guardPriority = 1

// Guard gives the table that keeps every macvtap device closed whose name begins
// with one of the prefixes, until rules of its own mark its frames: those that are
// made later, too, from their first frame on. A device of another kind that
// happens to have such a name is let alone.
func Guard(prefixes []string) ruleset.Table {
	t := ruleset.Table{Name: ruleset.GuardTable, Comment: "closes macvtap devices without rules"}
	for _, v := range []view{fromVM, toVM} {
		counter := v.prefix + "-no-rules"
		judged := ruleset.Rule{Matches: []ruleset.Match{ruleset.Number(ruleset.PacketMark, ruleset.Equal, v.mark())}, Verdict: ruleset.Accept}
		if v.out {
			judged.Mark = new(uint32(0))
		}
		t.Counters = append(t.Counters, counter)
		t.Chains = append(t.Chains, ruleset.Chain{
			Name: v.prefix,
			Hook: &ruleset.Hook{Type: v.hook, Prefixes: slices.Clone(prefixes), Priority: guardPriority},
			Rules: []ruleset.Rule{
				judged,
				{Matches: []ruleset.Match{ruleset.Kind(v.deviceKind(), ruleset.NotEqual, "macvtap")}, Verdict: ruleset.Accept, Comment: "not a VM's"},
				{Counter: counter, Verdict: ruleset.Drop, Comment: "guard: no rules for this device"},
			},
		})
	}
	return t
}

// Mark has a table mark the frames that it accepts, so that the guard lets them
// pass. What a table drops never comes to the guard, so all are marked, at once.
func Mark(t ruleset.Table) ruleset.Table {
	t.Chains = slices.Clone(t.Chains)
	for i, c := range t.Chains {
		if c.Hook == nil {
			continue
		}
		v := toVM
		if c.Hook.Type == fromVM.hook {
			v = fromVM
		}
		t.Chains[i].Rules = slices.Insert(slices.Clone(c.Rules), 1, ruleset.Rule{Mark: new(v.mark())})
	}
	return t
}

func (v view) mark() uint32 {
	if v.out {
		return markFromVM
	}
	return markToVM
}

// index and deviceKind are the fields of the device that a frame passes.
func (v view) index() ruleset.Field {
	if v.out {
		return ruleset.OutputIndex
	}
	return ruleset.InputIndex
}

func (v view) deviceKind() ruleset.Field {
	if v.out {
		return ruleset.OutputKind
	}
	return ruleset.InputKind
}

// Open gives the table of an interface that no policy is for, one on a parent that
// is not configured: it accepts all. Only beside the guard is it needed.
func Open(d *domain.Domain, i domain.Interface) (ruleset.Table, error) {
	if err := identified(d, i); err != nil {
		return ruleset.Table{}, err
	}
	b := builder{vm: d.Name, device: i.Target, table: interfaceTable(d, i)}
	for _, v := range []view{fromVM, toVM} {
		c := side{view: v, builder: &b}.baseChain(i.Target)
		c.Rules = append(c.Rules, ruleset.Rule{Verdict: ruleset.Accept, Comment: ruleset.Comment("open: the parent " + i.Parent + " is not configured")})
		c.done()
	}
	return b.table, nil
}

// Marks reports whether a table marks what it accepts.
func Marks(t ruleset.Table) bool {
	return !slices.ContainsFunc(t.Chains, func(c ruleset.Chain) bool {
		return c.Hook != nil && !slices.ContainsFunc(c.Rules, func(r ruleset.Rule) bool { return r.Mark != nil })
	})
}

// Bound reports whether a table begins, in both directions, with what Bind puts there
// for the device of that interface index: whether it still is that device's rules. It
// is not when it was made for a device that had the name before, when its chains went
// with that device (before Linux 6.16), or when somebody else emptied it.
func Bound(t ruleset.Table, index int) bool {
	for _, v := range []view{fromVM, toVM} {
		want := ruleset.Number(v.index(), ruleset.NotEqual, uint32(index))
		begins := func(c ruleset.Chain) bool {
			if c.Hook == nil || c.Hook.Type != v.hook || len(c.Rules) == 0 {
				return false
			}
			first := c.Rules[0]
			if first.Verdict != ruleset.Drop || len(first.Matches) != 1 {
				return false
			}
			m, ok := first.Matches[0].(ruleset.Compare)
			return ok && m.Field == want.Field && m.Op == want.Op && bytes.Equal(m.Value, want.Value)
		}
		if !slices.ContainsFunc(t.Chains, begins) {
			return false
		}
	}
	return true
}
