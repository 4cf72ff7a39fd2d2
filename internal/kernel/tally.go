package kernel

import (
	"context"

	"macvtap-filter/internal/ruleset"
)

// A Tally is a table that stands, and what it counted.
type Tally struct {
	Standing
	Counters []Counter // in the kernel's order, which is that in which they were made
}

// A Counter is a named counter of a table.
type Counter struct {
	Name string
	Count
}

// Tallies gives the tables whose names begin with ruleset.Prefix, the guard's, and their
// named counters. It reads no rules, and so tells in a hundredth of the time that Read
// takes what was dropped; whether these are the rules that should stand it does not
// tell.
func Tallies(ctx context.Context) ([]Tally, error) {
	readers, err := dialReaders(ctx, 1)
	if err != nil {
		return nil, err
	}
	r := readers[0]
	defer r.close()
	var tallies []Tally
	err = retry(ctx, func() (err error) {
		tallies, err = r.tallies()
		return err
	})
	return tallies, err
}

// tallies reads what stands. Tables that come twice were replaced meanwhile: the
// later one stands.
func (r *reader) tallies() ([]Tally, error) {
	drafts, err := r.tables(nil, func(name string) bool { return name == ruleset.GuardTable || isDevices(name) })
	if err != nil {
		return nil, err
	}
	byName := map[string]*draft{}
	for _, d := range drafts {
		byName[d.Name] = d
	}
	if err := r.objects(nil, byName); err != nil {
		return nil, err
	}
	var out []Tally
	for _, d := range drafts {
		if byName[d.Name] != d {
			continue
		}
		t := Tally{Standing: d.Standing}
		for _, name := range d.Table.Counters {
			t.Counters = append(t.Counters, Counter{name, d.Counts[name]})
		}
		out = append(out, t)
	}
	return out, nil
}
