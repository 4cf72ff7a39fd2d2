package prove_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// A story is one interface of testdata/cases.
type story struct {
	name   string
	mac    net.HardwareAddr
	policy config.Policy
	facts  facts.Facts
	table  ruleset.Table
}

// stories gives the interfaces of all golden policies; of those with the same rules, one.
func stories(t *testing.T) []story {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join("..", "..", "testdata", "cases", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	var out []story
	known := map[string]bool{}
	for _, dir := range dirs {
		for _, s := range load(t, dir) {
			if digest := s.table.Part().Digest(); !known[digest] {
				known[digest] = true
				out = append(out, s)
			}
		}
	}
	return out
}

func load(t *testing.T, dir string) []story {
	t.Helper()
	open := func(name string) *os.File {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	d, err := domain.Parse(open("domain.xml"))
	if err != nil {
		t.Fatal(err)
	}
	d.Complete()
	c, err := config.Load(filepath.Join(dir, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	known, err := facts.Read(open("facts.json"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := plan.Make(d, c, plan.Recorded(known))
	if err != nil {
		t.Fatal(err)
	}
	var out []story
	for _, i := range d.Direct {
		for _, table := range made.Tables {
			if table.Name != ruleset.TableName(i.Target) || len(table.Chains) < 3 {
				continue
			}
			s := story{name: filepath.Base(dir) + " " + i.Target, mac: i.MAC, table: table}
			for _, f := range known {
				if f.Parent == i.Parent || slices.Contains(f.Names, i.Parent) {
					s.facts = f
				}
			}
			if s.policy, err = plan.Configured(d, i, append([]string{s.facts.Parent}, s.facts.Names...), c); err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
	}
	return out
}
