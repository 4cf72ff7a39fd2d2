package judge

import (
	"bytes"
	"slices"
	"time"

	"macvtap-filter/internal/ruleset"
)

// A set finds a value among elements: in a map where all are single values, by
// bisection among ranges of one field, one after the other among ranges of
// joined fields, of which there are few.
type set struct {
	single map[string]time.Duration // when each expires, 0 for never
	ranges []ruleset.Element        // sorted by From, none within another
	joined []ruleset.Element
}

func newSet(elements []ruleset.Element) set {
	s := set{single: map[string]time.Duration{}}
	for _, e := range elements {
		switch from := bytes.Join(e.From, nil); {
		case bytes.Equal(from, bytes.Join(e.To, nil)):
			s.single[string(from)] = 0
		case len(e.From) == 1:
			s.ranges = append(s.ranges, e)
		default:
			s.joined = append(s.joined, e)
		}
	}
	slices.SortFunc(s.ranges, func(a, b ruleset.Element) int { return bytes.Compare(a.From[0], b.From[0]) })
	return s
}

// has reports whether values are among the elements at a time.
func (s set) has(values [][]byte, now time.Duration) bool {
	if s.stands(bytes.Join(values, nil), now) {
		return true
	}
	if len(values) == 1 {
		after, _ := slices.BinarySearchFunc(s.ranges, values[0], func(e ruleset.Element, v []byte) int {
			if bytes.Compare(e.From[0], v) > 0 {
				return 1
			}
			return -1
		})
		return after > 0 && within(s.ranges[after-1], values)
	}
	return slices.ContainsFunc(s.joined, func(e ruleset.Element) bool { return within(e, values) })
}

// stands reports whether a single value is there, and has not expired.
func (s set) stands(value []byte, now time.Duration) bool {
	expires, known := s.single[string(value)]
	return known && (expires == 0 || now < expires)
}

func within(e ruleset.Element, values [][]byte) bool {
	for i, v := range values {
		if bytes.Compare(v, e.From[i]) < 0 || bytes.Compare(v, e.To[i]) > 0 {
			return false
		}
	}
	return true
}
