package config

import "testing"

// A test of a glob is of the sections that may be for the same VMs, and of no others.
func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		section, vm string
		want        bool
	}{
		{"", "web-1", true}, {"web-*", "web-1", true}, {"web-1", "web-*", true}, {"web-*", "we*", true}, {"we*", "web-*", true}, {"*", "web-?", true},
		{"*-1", "web-*", true}, {"db-*", "web-*", false}, {"db-1", "web-*", false}, {"db-*", "web-1", false}, {"[odd] web", "[odd] web", true},
	} {
		if got := overlap(c.section, c.vm); got != c.want {
			t.Errorf("overlap(%q, %q) = %t, want %t", c.section, c.vm, got, c.want)
		}
	}
}
