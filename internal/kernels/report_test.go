//go:build kernels

package kernels

import (
	"bytes"
	"os/exec"
	"path"
	"testing"
)

// reportSuite reports the tests of one suite as subtests of t, and gives what those said that
// failed in the guest.
func reportSuite(t *testing.T, s suite, dir string) (failed []string) {
	if s.dir == "" {
		t.Fatal("never began")
	}
	// test2json knows how a test binary tells its results from a test's own
	// output.
	cmd := exec.CommandContext(t.Context(), "go", "tool", "test2json", "-t")
	cmd.Stdin = bytes.NewReader(s.output)
	events, err := cmd.Output()
	must(t, err)
	results, err := readResults(bytes.NewReader(events))
	must(t, err)

	if len(results) == 0 {
		t.Error("ran no test")
	}
	for _, r := range results {
		failed = append(failed, reportResult(t, r, path.Join(dir, r.name))...)
	}
	switch {
	case !s.ended:
		t.Errorf("never ended; the end of its output:\n%s", tail(s.output, 60))
	case s.code == 1 && t.Failed():
		// What a failed test makes of the exit code.
	case s.code != 0:
		t.Errorf("exit code %d; the end of its output:\n%s", s.code, tail(s.output, 60))
	}
	return failed
}

// reportResult reports one test, and those within it, as a subtest of t. Its
// full name is what the list of permitted skips goes by.
func reportResult(t *testing.T, r *result, name string) (failed []string) {
	t.Run(r.name, func(t *testing.T) {
		for _, sub := range r.sub {
			failed = append(failed, reportResult(t, sub, path.Join(name, sub.name))...)
		}
		if r.output != "" {
			t.Logf("in the guest, after %v:\n%s", r.elapsed, r.output)
		}
		reason, permitted := permitted(name)
		switch {
		case r.outcome == "pass":
		case r.outcome == "skip" && permitted:
			t.Skip(reason)
		case r.outcome == "skip":
			t.Error("skipped in the guest, without being on the list of permitted skips")
		case r.outcome == "":
			t.Error("never ended")
		case !t.Failed(): // a subtest's failure is this test's too
			t.Error("failed in the guest")
			failed = append(failed, name+":\n"+r.output)
		}
	})
	return failed
}
