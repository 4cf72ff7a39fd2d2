package kernel

import (
	"context"

	"macvtap-filter/internal/ruleset"
)

// A Tally is what stands, and what it counted.
type Tally struct {
	Standing
	Counters []Counter // in the order in which they come in the rules
	Table    ruleset.Table
}

// A Counter is a counter of what stands.
type Counter struct {
	Name string
	Count
}

// Tallies gives the rules of all interfaces and the guard, and what they counted. Whether
// these are the rules that should stand it does not tell.
func Tallies(ctx context.Context) ([]Tally, error) {
	r, err := dialReader(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var held []Held
	err = retry(ctx, func() error {
		guard, err := r.read([]string{ruleset.GuardTable})
		if err != nil {
			return err
		}
		held, err = r.read(nil)
		held = append(held, guard...)
		return err
	})
	var out []Tally
	for _, h := range held {
		t := Tally{Standing: h.Standing, Table: h.Table}
		for _, name := range h.Table.Counters {
			t.Counters = append(t.Counters, Counter{name, h.Counts[name]})
		}
		out = append(out, t)
	}
	return out, err
}
