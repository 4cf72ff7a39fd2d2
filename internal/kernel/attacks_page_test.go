package kernel_test

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/doc"
)

var update = flag.Bool("update", false, "write the tables of attacks into their page")

// A row is one line of the table: how many of an attack's frames arrived
// with no rules, and under the default policy.
type row struct {
	attack.Case
	without, with int
}

func (r row) String() string {
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", r.Name, r.Way, r.Source, r.count(r.without), r.count(r.with))
}

// count says how many of the frames arrived.
func (r row) count(arrived int) string {
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

const attacksPage = "../doc/attacks.md"

// onPages holds the rows against the page of attacks, and their sums by reason, or writes them there.
func onPages(t *testing.T, rows []row) {
	t.Helper()
	if _, err := os.Stat(attacksPage); errors.Is(err, os.ErrNotExist) {
		return // the test binary runs by itself, on another kernel
	}
	var every strings.Builder
	every.WriteString("| attack | direction | described in | no rules | macvtap-filter |\n| --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		every.WriteString(r.String())
	}
	onPage(t, attacksPage, "attacks", every.String())
	onPage(t, attacksPage, "attacks by reason", byReason(rows))
}

// An impostor is a row of what poses as another: how much of it arrives where addresses are not
// learned, too.
type impostor struct {
	row
	off int
}

func namesOnPage(t *testing.T, rows []impostor) {
	t.Helper()
	if _, err := os.Stat(attacksPage); errors.Is(err, os.ErrNotExist) {
		return // as with the others
	}
	var b strings.Builder
	b.WriteString("| attack | described in | no rules | `learn = \"off\"` | macvtap-filter |\n| --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.Name, r.Source, r.count(r.without), r.count(r.off), r.count(r.with))
	}
	onPage(t, attacksPage, "in another's name", b.String())
}

func onPage(t *testing.T, page, block, table string) {
	t.Helper()
	old, err := doc.Block(page, block)
	if err != nil {
		t.Fatal(err)
	}
	if old == table {
		return
	}
	if !*update {
		t.Errorf("%s: the table of %s is not what the kernel does; run the test with -update and look at the difference", page, block)
		return
	}
	if err := doc.SetBlock(page, block, table); err != nil {
		t.Fatal(err)
	}
}

// A sum is of the rows that the default policy counts under one reason.
type sum struct {
	attacks, frames, without, with int
	example                        string // the first one's name
}

func byReason(rows []row) string {
	sums := map[string]sum{}
	for _, r := range rows {
		s := sums[r.Reason]
		s.attacks++
		s.example = cmp.Or(s.example, r.Name)
		s.frames += len(r.Frames)
		s.without += r.without
		s.with += r.with
		sums[r.Reason] = s
	}
	reasons := slices.SortedFunc(maps.Keys(sums), func(a, b string) int {
		return cmp.Or(cmp.Compare(sums[b].frames, sums[a].frames), cmp.Compare(a, b))
	})
	var b strings.Builder
	b.WriteString("| for example | counted as | attacks | frames | arrive with no rules | with macvtap-filter |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, reason := range reasons {
		s := sums[reason]
		name := "`" + reason + "`"
		if reason == "" {
			name = "no attack: must pass"
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d |\n", s.example, name, s.attacks, s.frames, s.without, s.with)
	}
	return b.String()
}
