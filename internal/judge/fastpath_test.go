package judge_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/ruleset"
)

// TestFastPathOnlySavesTime judges random and mutated frames with the rules of the
// fast path and without them: the verdict is the same, and so is the rule that
// drops.
func TestFastPathOnlySavesTime(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := table(t, policy)
			with, without := judge.New(made), judge.New(withoutFastPath(made))
			for _, j := range []*judge.Judge{with, without} {
				begins(t, j, nil)
			}
			for _, hook := range []ruleset.HookType{ruleset.Egress, ruleset.Ingress} {
				maker := attack.NewMaker(rand.New(rand.NewPCG(seed, 2)), vmMAC)
				fast, total := 0, frames(t)
				if !olderKernel() { // and so slow a machine
					total *= 5
				}
				var f []byte
				// Few random frames are of a flow that stands: without one it goes on for longer.
				for n := 0; n < total || fast == 0 && n < 10*total; n++ {
					if n%2 == 0 || !filter.TracksFlows(made) { // else again: its flow stands now
						f = maker.Frame(hook)
					}
					a, errA := with.Frame(hook, f)
					b, errB := without.Frame(hook, f)
					if (errA == nil) != (errB == nil) {
						t.Fatalf("judged: %v and %v\n%s", errA, errB, line(hook, f))
					}
					if isFast(a.Rule) {
						fast++
					} else if a.Chain != b.Chain || a.Rule.String() != b.Rule.String() {
						t.Errorf("%s %q, without the fast path %s %q\n%s", a.Chain, a.Rule, b.Chain, b.Rule, line(hook, f))
					}
					if a.Passes != b.Passes {
						t.Errorf("passes %v by %s %q, without the fast path %v by %s %q\n%s", a.Passes, a.Chain, a.Rule, b.Passes, b.Chain, b.Rule, line(hook, f))
					}
				}
				t.Logf("%s: %d of %d frames took the fast path", hook, fast, total)
				if fast == 0 {
					t.Errorf("%s: no frame took the fast path: the frames are no test", hook)
				}
			}
		})
	}
}

func isFast(r ruleset.Rule) bool { return strings.HasPrefix(r.Comment, "fast path") }

func withoutFastPath(t ruleset.Table) ruleset.Table {
	t.Chains = slices.Clone(t.Chains)
	for i := range t.Chains {
		t.Chains[i].Rules = slices.DeleteFunc(slices.Clone(t.Chains[i].Rules), isFast)
	}
	return t
}
