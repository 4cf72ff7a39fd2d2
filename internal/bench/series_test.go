package bench

import (
	"slices"
	"testing"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values Series
		q      float64
		want   float64
	}{
		{nil, 0.5, 0},
		{Series{7}, 0.25, 7},
		{Series{3, 1, 2}, 0, 1},
		{Series{3, 1, 2}, 0.5, 2},
		{Series{3, 1, 2}, 1, 3},
		{Series{4, 1, 3, 2}, 0.5, 2.5},
		{Series{10, 0}, 0.25, 2.5},
	} {
		if got := c.values.Quantile(c.q); got != c.want {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, c.values, got, c.want)
		}
	}
}

func TestRoundByRound(t *testing.T) {
	a, b := Series{2, 6, 9}, Series{1, 2}
	if got, want := a.Over(b), (Series{2, 3}); !slices.Equal(got, want) {
		t.Errorf("%v over %v is %v, want %v", a, b, got, want)
	}
	if got, want := a.Above(b), (Series{1, 4}); !slices.Equal(got, want) {
		t.Errorf("%v above %v is %v, want %v", a, b, got, want)
	}
}
