package kernel_test

import (
	"regexp"
	"strings"
	"testing"

	"macvtap-filter/internal/attack"
)

// TestKeys sends every attack, and everything ordinary, under policies that each
// have one key other than the default: it opens what it says, and closes what it
// says, and nothing else.
func TestKeys(t *testing.T) {
	for _, test := range keys {
		t.Run(test.policy, func(t *testing.T) {
			n, tap := network(t)
			create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned+test.policy))
			for _, c := range attacks(t) {
				arrived, opened := arrivals(t, n, tap, c), matches(test.opens, c)
				if arrived > 0 != opened {
					t.Errorf("attack: %s, %s: %d of %d frames arrived, want it open: %v", c.Name, c.Way, arrived, len(c.Frames), opened)
				}
			}
			for _, c := range ordinary(t) {
				arrived, closed := arrivals(t, n, tap, c), matches(test.closes, c)
				if (arrived < len(c.Frames)) != closed {
					t.Errorf("ordinary: %s, %s: %d of %d frames arrived, want it closed: %v", c.Name, c.Way, arrived, len(c.Frames), closed)
				}
			}
		})
	}
}

// matches reports whether one of the patterns is all of a case's name and way.
func matches(patterns []string, c attack.Case) bool {
	if len(patterns) == 0 {
		return false
	}
	return regexp.MustCompile(`^(` + strings.Join(patterns, "|") + `)$`).MatchString(c.Name + ", " + string(c.Way))
}
