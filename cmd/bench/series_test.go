package main

import (
	"slices"
	"testing"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values series
		q      float64
		want   float64
	}{
		{nil, 0.5, 0},
		{series{7}, 0.25, 7},
		{series{3, 1, 2}, 0, 1},
		{series{3, 1, 2}, 0.5, 2},
		{series{3, 1, 2}, 1, 3},
		{series{4, 1, 3, 2}, 0.5, 2.5},
		{series{10, 0}, 0.25, 2.5},
	} {
		if got := c.values.quantile(c.q); got != c.want {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, c.values, got, c.want)
		}
	}
}

func TestRoundByRound(t *testing.T) {
	a, b := series{2, 6, 9}, series{1, 2}
	if got, want := a.over(b), (series{2, 3}); !slices.Equal(got, want) {
		t.Errorf("%v over %v is %v, want %v", a, b, got, want)
	}
	if got, want := a.above(b), (series{1, 4}); !slices.Equal(got, want) {
		t.Errorf("%v above %v is %v, want %v", a, b, got, want)
	}
}
