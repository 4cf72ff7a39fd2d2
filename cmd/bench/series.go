package main

import "slices"

// A series is what was measured of one thing, one value a round.
type series []float64

// quantile gives the value that a part q of the series is not above; the least
// is at 0, the median at 0.5.
func (s series) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

func (s series) min() float64    { return s.quantile(0) }
func (s series) median() float64 { return s.quantile(0.5) }

// over divides round by round: what both met in a round cancels out.
func (s series) over(base series) series {
	return s.with(base, func(a, b float64) float64 { return a / b })
}

// above subtracts round by round.
func (s series) above(base series) series {
	return s.with(base, func(a, b float64) float64 { return a - b })
}

func (s series) with(base series, f func(a, b float64) float64) series {
	out := make(series, min(len(s), len(base)))
	for i := range out {
		out[i] = f(s[i], base[i])
	}
	return out
}
