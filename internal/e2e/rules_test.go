//go:build e2e

package e2e

import (
	"maps"
	"regexp"
	"testing"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// learned is what a table holds of the routers' MAC addresses: rules add to it.
var learned = regexp.MustCompile(`(?s)(set routers-ipv[46] \{[^}]*?)elements = \{[^}]*\}`)

// rules returns the text of each device's table by name: without counts, which every frame changes, and with handles,
// which tell a rule from one that was put in its place. The kernel is asked for the names: nft 1.0.6 never ends to list
// tables when the guard's is among them.
func (m *machine) rules(t *testing.T) map[string]string {
	t.Helper()
	var standing []kernel.Standing
	err := m.ns.Do(func() (err error) {
		standing, err = kernel.Tables(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, table := range standing {
		if _, ours := ruleset.TableDevice(table.Name); !ours {
			continue
		}
		text, err := m.hv.Run(t.Context(), "nft", "--stateless", "--handle", "list", "table", "netdev", table.Name)
		if err == nil { // or it has just gone
			texts[table.Name] = learned.ReplaceAllString(text, "$1")
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
