// Package bench holds what cmd/bench measured, and shows it: as a file in Go's
// benchmark format, as tables, as plots. It measures nothing itself, and all that
// it shows it can show again of a file of another day.
package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Results are the single values of a run, by the name of what was measured and the
// unit. The zero value is empty.
type Results struct {
	// About says where it was measured, by keys as benchstat shows them (goos, cpu).
	About []Fact

	names  []string // in the order of their first values
	values map[string]map[string]Series
}

// A Fact is one thing about the machine of a run.
type Fact struct{ Key, Value string }

// Units of values. Those of time are nanoseconds, as everywhere in this format.
const (
	Time       = "ns/op"
	CPU        = "cpu-ns/op"
	Memory     = "B/NIC"
	PerFlow    = "B/flow"
	Failures   = "failures/op"
	Ended      = "ended/op" // too long, and the time is until then
	Lines      = "lines/op"
	Messages   = "messages/op"
	Changes    = "changes/op" // those of the messages that change rules
	Throughput = "bits/s"
	Datagrams  = "datagrams/s"
	Median     = "p50-ns/op"
	Tail       = "p99-ns/op"
)

// Name gives the name of what was measured: a base as Go's tests have it, and what it
// was measured of in pairs of keys and values. Blanks and slashes, which would end a
// part, become hyphens and colons.
func Name(base string, pairs ...any) string {
	var b strings.Builder
	b.WriteString(base)
	clean := strings.NewReplacer(" ", "-", "/", ":", "\t", "-", "\n", "-")
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&b, "/%v=%s", pairs[i], clean.Replace(fmt.Sprint(pairs[i+1])))
	}
	return b.String()
}

// Add adds the value of one more round.
func (r *Results) Add(name, unit string, value float64) {
	if r.values == nil {
		r.values = map[string]map[string]Series{}
	}
	if r.values[name] == nil {
		r.values[name] = map[string]Series{}
		r.names = append(r.names, name)
	}
	r.values[name][unit] = append(r.values[name][unit], value)
}

// Of gives all rounds' values of one thing, in the order of the rounds; none where it
// was not measured.
func (r *Results) Of(name, unit string) Series { return r.values[name][unit] }

// Has reports whether anything of the base was measured.
func (r *Results) Has(base string) bool {
	for _, name := range r.names {
		if first, _, _ := strings.Cut(name, "/"); first == base {
			return true
		}
	}
	return false
}

// bases are what the names of each section's results begin with.
var bases = []string{"HookCall", "Frame", "Beside", "Command", "Held", "Flow", "Listing", "Guest"}

// Missing names what a whole run measures and these results have nothing of.
func (r *Results) Missing() []string {
	return slices.DeleteFunc(slices.Clone(bases), r.Has)
}

// Fact gives what is known about the run's machine, "" for nothing.
func (r *Results) Fact(key string) string {
	for _, f := range r.About {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}
