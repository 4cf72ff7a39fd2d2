package judge_test

import (
	"slices"
	"testing"
	"time"

	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/ruleset"
)

// TestLoopedClaim has the VM hear its own request again, as from a link that sends frames back
// or on a macvtap device in mode private: nobody objects to its address. Another host's, for
// the same address, is an objection.
func TestLoopedClaim(t *testing.T) {
	j := judge.New(table(t, ""))
	its := firstFrame(t)
	others := slices.Clone(its)
	others[6+5]++ // its MAC address, in the Ethernet header and inside
	others[14+8+5]++
	passes := func(hook ruleset.HookType, frame []byte) bool {
		t.Helper()
		d, err := j.Frame(hook, frame)
		if err != nil {
			t.Fatal(err)
		}
		return d.Passes
	}
	if !passes(ruleset.Egress, its) {
		t.Fatal("the VM's first request does not pass")
	}
	passes(ruleset.Ingress, its)
	j.Elapse(time.Second)
	if !passes(ruleset.Egress, its) {
		t.Error("its own request, heard again, took its address away")
	}
	passes(ruleset.Ingress, others)
	if passes(ruleset.Egress, its) {
		t.Error("another host's request for its address did not")
	}
}
