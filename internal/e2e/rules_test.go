//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"testing"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// rules returns each device's rules as text, by their name: without counts and routers' MAC addresses, which frames
// change, and with their handle, which tells them from others in their place.
func (m *machine) rules(t *testing.T) map[string]string {
	t.Helper()
	var standing []kernel.Held
	err := m.ns.Do(func() (err error) {
		standing, err = kernel.Read(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, h := range standing {
		for i, s := range h.Table.Sets {
			if s.Dynamic > 0 {
				h.Table.Sets[i].Elements = nil
			}
		}
		texts[h.Name] = fmt.Sprintf("# handle %d\n%s", h.Handle, ruleset.Text([]ruleset.Table{h.Table}))
	}
	return texts
}

// expectRules fails unless these rules, and if only is set no others, stand as they stood.
func (m *machine) expectRules(t *testing.T, want map[string]string, only bool) {
	t.Helper()
	if len(want) == 0 {
		t.Error("there were no rules to begin with")
	}
	got := m.rules(t)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s was:\n%s\nand is:\n%s", name, text, got[name])
		}
	}
	if only && len(got) != len(want) {
		t.Errorf("rules of: %v, want %v", names(got), names(want))
	}
}

// expectNoRules fails if any rules of macvtap-filter are left.
func (m *machine) expectNoRules(t *testing.T) {
	t.Helper()
	if left := m.rules(t); len(left) > 0 {
		t.Errorf("rules left: %v", names(left))
	}
}

func names(rules map[string]string) []string {
	var all []string
	for name := range maps.Keys(rules) {
		all = append(all, name)
	}
	return all
}
