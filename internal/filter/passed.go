package filter

import (
	"time"

	"macvtap-filter/internal/ruleset"
)

// What is found of a connection that stands is remembered for some seconds: that its peer is not
// closed. Meanwhile, its segments need one lookup in place of that of the flow, a compare with each
// closed prefix, and an update. Whose frame it is, and for which router, is asked of each.
//
// The set is the policy's part's, and not the NICs': other rules, by which a peer is closed, have
// another set, empty, from the very frame on that they judge. It holds no connection that the NICs'
// sets do not, since what ends one there ends it here.

// passed is the kind of the set.
const passed = ruleset.PassedKind

// passedFor is how long what was found counts. The connection itself stands for as much longer, since its
// time does not begin anew with each segment.
const passedFor = 5 * time.Second

// passedFields are those of a flow, the NIC last: a set whose keys begin with it would be all policies'.
func (s side) passedFields(f family) []ruleset.Field {
	fields := s.flow(f, tcpFlows, f.header())
	return append(fields[1:], fields[0])
}

// passedSet gives the set.
func (b *builder) passedSet(f family) ruleset.Set {
	s := ruleset.Set{Name: f.set(passed), Dynamic: maxFlows, Expires: true}
	s.Typeof = side{view: fromVM, builder: b}.passedFields(f)
	for _, field := range s.Typeof {
		s.Key = append(s.Key, field.Type)
	}
	return s
}

// remembersPassed reports whether the fast path from the VM fills the set.
func (b *builder) remembersPassed(f family) bool {
	if !b.policy.Tracks() {
		return false
	}
	_, inSet, any := side{view: fromVM, builder: b}.fastOpen(f)
	return any && len(inSet) == 0
}

// forgets ends what is remembered of a connection.
func (s side) forgets(f family) []ruleset.Update {
	if !s.remembersPassed(f) {
		return nil
	}
	return []ruleset.Update{{Set: f.set(passed), Fields: s.passedFields(f), Delete: true}}
}
