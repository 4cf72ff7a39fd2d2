//go:build e2e

package e2e

import (
	"maps"
	"strings"
	"testing"
)

// tablePrefix begins the names of the tables that are macvtap-filter's.
const tablePrefix = "macvtap-filter"

// rules returns the text of each of macvtap-filter's tables by name: without counts, which every frame changes, and with
// handles, which tell a rule from one that was put in its place.
func (m *machine) rules(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for line := range strings.Lines(m.run(t, "nft", "list", "tables")) {
		name, ours := strings.CutPrefix(strings.TrimSpace(line), "table netdev ")
		if ours && strings.HasPrefix(name, tablePrefix) {
			texts[name] = m.run(t, "nft", "--stateless", "--handle", "list", "table", "netdev", name)
		}
	}
	return texts
}

// expectRules fails unless these tables, and if only is set no others, stand as they stood.
func (m *machine) expectRules(t *testing.T, want map[string]string, only bool) {
	t.Helper()
	if len(want) == 0 {
		t.Error("there were no rules to begin with")
	}
	got := m.rules(t)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("table %s was:\n%s\nand is:\n%s", name, text, got[name])
		}
	}
	if only && len(got) != len(want) {
		t.Errorf("tables: %v, want %v", names(got), names(want))
	}
}

// expectNoRules fails if any of macvtap-filter's tables is left.
func (m *machine) expectNoRules(t *testing.T) {
	t.Helper()
	if left := m.rules(t); len(left) > 0 {
		t.Errorf("tables left: %v", names(left))
	}
}

func names(rules map[string]string) []string {
	var all []string
	for name := range maps.Keys(rules) {
		all = append(all, name)
	}
	return all
}
