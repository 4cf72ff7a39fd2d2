package kernel_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"macvtap-filter/internal/attack"
)

var update = flag.Bool("update", false, "write the table of attacks into the README")

// A row is one line of the README's table: how many of an attack's frames arrived
// with no rules, and under the default policy.
type row struct {
	attack.Case
	without, with int
}

func (r row) String() string {
	count := func(arrived int) string {
		switch {
		case arrived == 0:
			return "dropped"
		case arrived < len(r.Frames):
			return fmt.Sprintf("%d of %d arrive", arrived, len(r.Frames))
		case len(r.Frames) == 1:
			return "arrives"
		}
		return fmt.Sprintf("all %d arrive", len(r.Frames))
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", r.Name, r.Way, r.Source, count(r.without), count(r.with))
}

const (
	tableBegin = "<!-- attacks -->\n"
	tableEnd   = "<!-- /attacks -->"
)

// inREADME holds the rows against the README's table, or writes them there.
func inREADME(t *testing.T, rows []row) {
	t.Helper()
	const path = "../../README.md"
	readme, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return // the test binary runs by itself, on another kernel
	}
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begins := strings.Cut(string(readme), tableBegin)
	old, tail, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		return // the README has no place for it
	}
	var table strings.Builder
	table.WriteString("| attack | direction | described in | no rules | macvtap-filter |\n| --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		table.WriteString(r.String())
	}
	if old == table.String() {
		return
	}
	if !*update {
		t.Error("the README's table of attacks is not what the kernel does; run the test with -update and look at the difference")
		return
	}
	if err := os.WriteFile(path, []byte(head+tableBegin+table.String()+tableEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
