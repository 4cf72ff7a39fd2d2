package kernels

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A result is one test that ran in the guest.
type result struct {
	name    string // the last element, as -test.run would name it
	outcome string // "pass", "fail", "skip", or "" if it never ended
	output  string // what it printed, without the lines about its course
	elapsed time.Duration
	sub     []*result
}

// readResults reads the events that go tool test2json prints for one test
// binary, and returns its tests in the order in which they began.
func readResults(events io.Reader) ([]*result, error) {
	root := &result{}
	known := map[string]*result{"": root}
	for dec := json.NewDecoder(events); ; {
		var event struct {
			Action, Test, Output string
			Elapsed              float64 // seconds
		}
		if err := dec.Decode(&event); errors.Is(err, io.EOF) {
			return root.sub, nil
		} else if err != nil {
			return nil, fmt.Errorf("test events: %w", err)
		}
		if event.Test == "" {
			continue // about the binary as a whole: its exit code says that
		}
		r := find(known, event.Test)
		switch event.Action {
		case "pass", "fail", "skip":
			r.outcome = event.Action
			r.elapsed = time.Duration(event.Elapsed * float64(time.Second))
		case "output":
			if !isCourse(event.Output) {
				r.output += event.Output
			}
		}
	}
}

// find returns the result of a test, which it adds to that of the test around
// it when it is new. A subtest's own name may have slashes in it too, so the
// longest test that is known is the one around it.
func find(known map[string]*result, name string) *result {
	if r := known[name]; r != nil {
		return r
	}
	parent, own := "", name
	for i, c := range name {
		if c == '/' && known[name[:i]] != nil {
			parent, own = name[:i], name[i+1:]
		}
	}
	r := &result{name: own}
	known[parent].sub = append(known[parent].sub, r)
	known[name] = r
	return r
}

// isCourse reports whether a line only tells how a test goes on, as
// "=== RUN" and "--- PASS" do.
func isCourse(line string) bool {
	line = strings.TrimSpace(line)
	for _, prefix := range []string{"=== ", "--- PASS", "--- FAIL", "--- SKIP"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return line == "PASS" || line == "FAIL"
}
