package bench

import "slices"

// A Series is what was measured of one thing, one value a round.
type Series []float64

// Quantile gives the value that a part q of the series is not above; the least
// is at 0, the median at 0.5. Of no values it is 0.
func (s Series) Quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// Min gives the least value.
func (s Series) Min() float64 { return s.Quantile(0) }

// Median gives the value in the middle.
func (s Series) Median() float64 { return s.Quantile(0.5) }

// Over divides round by round: what both met in a round cancels out.
func (s Series) Over(base Series) Series {
	return s.with(base, func(a, b float64) float64 { return a / b })
}

// Above subtracts round by round.
func (s Series) Above(base Series) Series {
	return s.with(base, func(a, b float64) float64 { return a - b })
}

func (s Series) with(base Series, f func(a, b float64) float64) Series {
	out := make(Series, min(len(s), len(base)))
	for i := range out {
		out[i] = f(s[i], base[i])
	}
	return out
}
