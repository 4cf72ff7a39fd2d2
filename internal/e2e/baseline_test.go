//go:build e2e

package e2e

import (
	"testing"
	"time"
)

// Without the hook, a guest reaches everything and is reached by everything. That is what the other tests could miss.
func TestBaseline(t *testing.T) {
	s := newSite(t)
	began := time.Now()
	vm := s.start(t, "open", s.nics(2)...)
	t.Logf("the guest answers %s after its start", time.Since(began).Round(time.Millisecond))
	s.expectOpen(t, vm)
	s.expectKinds(t, vm, true)
	t.Logf("probed after %s", time.Since(began).Round(time.Millisecond))
}
