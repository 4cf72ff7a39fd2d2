package bench

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/perf/benchfmt"
)

// Write writes results in Go's benchmark format, one line a round, for benchstat
// (https://go.dev/design/14313-benchmark-format).
func (r *Results) Write(w io.Writer) error {
	out := benchfmt.NewWriter(w)
	var about []benchfmt.Config
	for _, f := range r.About {
		about = append(about, benchfmt.Config{Key: f.Key, Value: []byte(f.Value), File: true})
	}
	for _, name := range r.names {
		units := slices.Sorted(maps.Keys(r.values[name]))
		for round := range r.rounds(name) {
			record := &benchfmt.Result{Config: about, Name: benchfmt.Name(name), Iters: 1}
			for _, unit := range units {
				if s := r.values[name][unit]; round < len(s) {
					record.Values = append(record.Values, benchfmt.Value{Value: s[round], Unit: unit})
				}
			}
			if err := out.Write(record); err != nil {
				return fmt.Errorf("write the results: %w", err)
			}
		}
	}
	return nil
}

// rounds gives how often a thing was measured.
func (r *Results) rounds(name string) int {
	most := 0
	for _, s := range r.values[name] {
		most = max(most, len(s))
	}
	return most
}

// Read reads what Write wrote. The file's name is for errors alone.
func Read(in io.Reader, file string) (*Results, error) {
	r := new(Results)
	from := benchfmt.NewReader(in, file)
	for from.Scan() {
		switch record := from.Result().(type) {
		case *benchfmt.Result:
			r.take(record)
		case *benchfmt.SyntaxError:
			return nil, fmt.Errorf("%s: %w", file, record)
		}
	}
	if err := from.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(r.names) == 0 {
		return nil, errors.New(file + ": no results in it")
	}
	return r, nil
}

func (r *Results) take(record *benchfmt.Result) {
	if r.About == nil {
		for _, c := range record.Config {
			r.About = append(r.About, Fact{c.Key, string(c.Value)})
		}
	}
	for _, v := range record.Values {
		if v.OrigUnit != "" { // the reader likes seconds
			v.Value, v.Unit = v.OrigValue, v.OrigUnit
		}
		r.Add(string(record.Name), v.Unit, v.Value)
	}
}
