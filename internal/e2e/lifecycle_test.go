//go:build e2e

package e2e

import "testing"

// One VM's start and stop leave another's rules alone; `virsh destroy` leaves nothing of a VM's own.
func TestTwoVMs(t *testing.T) {
	s := shieldedSite(t, "")
	first := s.start(t, "first", s.nics(2)...)
	rules := s.rules(t)

	second := s.start(t, "second", s.nics(1)...)
	s.expectRules(t, rules, false)
	if len(s.rules(t)) == len(rules) {
		t.Error("the second VM has no table of its own")
	}
	s.expectShielded(t, first)
	s.expectShielded(t, second)

	if err := second.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expectRules(t, rules, true)
	s.expectShielded(t, first)

	if err := first.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expectNoRules(t)
}
