package policytest

import (
	"cmp"
	"fmt"

	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/reach"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/why"
)

// explained says of a flow which frame of it passes, or does not, by which rule and line, and
// how to ask for more.
func (s *subject) explained(out bool, flow reach.Flow, passes bool) string {
	step, d := s.deciding(out, flow, passes)
	if step.Frame == nil { // never, as far as is known
		return fmt.Sprintf("policy %q on %q: protocol %d, port %d, %v", s.policy.Name, s.facts.Parent, flow.Proto, flow.Service, flow.Peer)
	}
	rule := why.Deciding(d)
	what := map[bool]string{true: "passes", false: "is dropped"}[d.Passes]
	text := fmt.Sprintf("policy %q on %q: %s (%s) %s by %q", s.policy.Name, s.facts.Parent, step.What, frame.Words(step.Frame), what, cmp.Or(rule.Comment, "the end of "+d.Chain))
	if reason := s.asker().Reason(why.Verdict{Out: step.Hook == ruleset.Egress, Frame: step.Frame, Passes: d.Passes, Rule: rule}); reason != "" {
		text += ": " + reason
	}
	way := map[bool]string{true: "--out", false: "--in"}[step.Hook == ruleset.Egress]
	return fmt.Sprintf("%s; more says: macvtap-filter explain %s --policy %s --hex %x", text, way, s.policy.Name, step.Frame)
}

// deciding gives the frame of a flow that decides whether it is opened. Where it passes that is the
// first, with whatever MAC address it does; else the one that is dropped, with the usual one: the
// first, if it is, which says most.
func (s *subject) deciding(out bool, flow reach.Flow, passes bool) (step reach.Step, decision judge.Decision) {
	usual, others := s.ends.Exchanges(out, flow)
	if passes {
		usual = append(usual, others...)
	}
	for _, exchange := range usual {
		j := judge.New(s.table)
		for _, one := range exchange {
			d, err := j.Frame(one.Hook, one.Frame)
			if err == nil && d.Passes == passes && (one.Opens || !passes && decision.Chain == "") {
				step, decision = one, d
			}
		}
		if decision.Chain != "" {
			break
		}
	}
	return step, decision
}
