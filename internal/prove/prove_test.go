package prove_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crillab/gophersat/solver"

	"macvtap-filter/internal/prove"
	"macvtap-filter/internal/ruleset"
)

var directions = []ruleset.HookType{ruleset.Egress, ruleset.Ingress}

// TestProperties proves for all frames, and whatever is in the sets that change, what the
// configuration promises.
func TestProperties(t *testing.T) {
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for _, hook := range directions {
				c := prove.NewCircuit()
				sets := prove.NewSets(c)
				j := prove.Judge(prove.NewFrame(c, hook), s.table, sets)
				spec := prove.Spec{Policy: s.policy, Facts: s.facts, MAC: s.mac}
				holds(t, j, sets, spec.Kept(j), slices.Concat(spec.Properties(j), spec.Filled(j), spec.Remembered(j), spec.Live(j)))
			}
		})
	}
}

// TestFastPathChangesNothing proves that rules without their fast path let the same frames pass,
// but for datagrams that the VM's kernel cannot read either.
func TestFastPathChangesNothing(t *testing.T) {
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for _, hook := range directions {
				c := prove.NewCircuit()
				sets := prove.NewSets(c)
				f := prove.NewFrame(c, hook)
				with, without := prove.Judge(f, s.table, sets), prove.Judge(f, withoutFastPath(s.table), sets)
				kept := prove.Spec{Policy: s.policy, Facts: s.facts, MAC: s.mac}.Kept(with)
				if v, broken := solve(with, sets, kept, c.Xor(with.Passes, without.Passes), c.Or(f.Valid, c.Is(f.Type(), uint64(ruleset.EtherTypeARP)))); broken {
					t.Errorf("%s: %s\nwith the fast path: %s\nwithout: %s", hook, f.Line(v, 0), decided(with, v), decided(without, v))
				}
			}
		})
	}
}

func withoutFastPath(t ruleset.Table) ruleset.Table {
	t.Chains = slices.Clone(t.Chains)
	for i := range t.Chains {
		t.Chains[i].Rules = slices.DeleteFunc(slices.Clone(t.Chains[i].Rules), func(r ruleset.Rule) bool {
			return strings.HasPrefix(r.Comment, "fast path")
		})
	}
	return t
}

// holds proves properties: all at once, and where one is broken each by itself.
func holds(t *testing.T, j *prove.Judgement, sets *prove.Sets, given prove.Bit, all []prove.Property) {
	t.Helper()
	all = append(all, prove.Property{Name: "the formula knows all frames", Broken: j.Strange})
	begun := time.Now()
	any := prove.False
	for _, p := range all {
		any = j.Or(any, p.Broken)
	}
	_, broken := solve(j, sets, any, given)
	t.Logf("%s: %d properties, %v", j.Hook, len(all), time.Since(begun))
	if !broken {
		return
	}
	for _, p := range all {
		if v, broken := solve(j, sets, p.Broken, given); broken {
			t.Errorf("%s: %s\n%s\n%s", j.Hook, p.Name, j.Line(v, 0), decided(j, v))
		}
	}
}

// one has solvers run one after the other: those of gophersat share memory, and two at once
// give wrong answers.
var one sync.Mutex

// solve looks for a frame for which a formula holds.
func solve(j *prove.Judgement, sets *prove.Sets, what ...prove.Bit) (prove.Values, bool) {
	f := j.CNF(j.And(what...), j.Legal, sets.Consistent())
	one.Lock()
	defer one.Unlock()
	s := solver.New(solver.ParseSliceNb(f.Clauses, f.Vars))
	if s.Solve() != solver.Sat {
		return nil, false
	}
	return j.Model(f, s.Model()), true
}

// decided names the rule that decides about the frame that was found.
func decided(j *prove.Judgement, v prove.Values) string {
	var out []string
	for _, x := range j.Verdicts {
		if v.Is(x.When, 0) {
			out = append(out, x.Chain+": "+x.Rule.String())
		}
	}
	return strings.Join(out, "\n")
}
