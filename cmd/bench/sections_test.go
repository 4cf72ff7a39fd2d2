package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/bench"
)

// The test is what the program is besides, when it is called so.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && servants[os.Args[1]] != nil {
		if err := servants[os.Args[1]](os.Stdin, os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// tiny is as much as shows that a section measures what it says.
var tiny = sizes{hosts: []int{10}, slice: time.Millisecond, besides: []int{0, 3}, atOnce: 4, atOnceShell: 2, held: 64, listed: []int{1, 3}, listTime: 60, transfer: []string{"--bytes", "50K"}, echoes: 5}

// measured are one name of each section's results, and the unit.
var measured = map[string][2]string{
	"start":  {bench.HookCall(bench.NextStart, bench.Before, 1), bench.Time},
	"frames": {bench.PerFrame(bench.Frames[0], bench.Rules{Kind: bench.TrafficControl, Hosts: 10}), bench.Time},
	"memory": {bench.Held(bench.Rules{Kind: bench.Before}), bench.Memory},
	"flows":  {bench.PerFlowFrame(bench.FlowFrames(bench.ToVM)[4], bench.BridgedConntrack), bench.Time},
	"guests": {bench.Guest(bench.UDP, bench.FromVM, bench.Rules{Kind: bench.Ours}), bench.Datagrams},
	"scale":  {bench.Command(bench.ApplyAnew, bench.Before, 3), bench.Time},

	"listing": {bench.Sent(bench.Before), bench.Changes},
}

// program builds the program.
func program(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "macvtap-filter")
	build := exec.Command("go", "build", "-o", binary, "macvtap-filter/cmd/macvtap-filter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return binary
}

// Each section measures something, under rules that do what they should, in one round.
func TestSections(t *testing.T) {
	needRoot(t)
	binary := program(t)
	for _, s := range sections {
		if s.name == "guests" && !withGuests {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			if err := needPrograms(s.needs); err != nil {
				if os.Getenv("CI") != "" {
					t.Fatalf("NOT RUN: %v, and CI must not skip", err)
				}
				t.Skipf("NOT RUN: %v", err)
			}
			// The build before is the same once more.
			o := options{binary: binary, before: binary, only: []string{s.name}, rounds: 1, sizes: tiny, out: filepath.Join(t.TempDir(), "results")}
			results, err := o.measure(t.Context(), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			want := measured[s.name]
			// Others free the kernel's memory, too, meanwhile.
			if got := results.Of(want[0], want[1]); len(got) != 1 || got[0] <= 0 && want[1] != bench.Memory {
				t.Errorf("%s %s: %v, want one value", want[0], want[1], got)
			}
			again, err := options{from: o.out}.results(t.Context(), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := again.Markdown(), results.Markdown(); got != want {
				t.Errorf("from its file it shows\n%s\nand before it was\n%s", got, want)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, s := range sections {
		if !strings.Contains(sectionUsage(), s.name) {
			t.Errorf("--help does not tell of %s", s.name)
		}
	}
	for _, args := range [][]string{{"--only", "nothing"}, {"--rounds", "-1"}, {"more"}, {"--from", "x", "--rounds", "2"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
