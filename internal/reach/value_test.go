package reach

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"macvtap-filter/internal/ruleset"
)

// Where a match holds of a field that is open in part is where it holds of the bytes.
func TestHolds(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	f := family4
	few := func(n int) []byte { // bytes that often are the same
		out := make([]byte, n)
		for i := range out {
			out[i] = []byte{0, 1, 2, 0x80, 0xfe, 0xff}[r.IntN(6)]
		}
		return out
	}
	frame := text(few(3)).join(f.openValue(service)).join(text(few(1))).join(f.openValue(peer)).join(text(few(2)))
	judged := 0
	for range 10_000 {
		size := 1 + r.IntN(5)
		from := r.IntN(len(frame.bytes) - size + 1)
		field := ruleset.Raw(ruleset.NetworkHeader, uint32(from), uint32(size))
		low, high := few(size), few(size)
		m := []ruleset.Match{
			ruleset.Compare{Field: field, Op: ruleset.Equal, Value: low}, ruleset.Compare{Field: field, Op: ruleset.NotEqual, Value: low},
			ruleset.Compare{Field: field, Op: ruleset.Less, Value: low}, ruleset.Compare{Field: field, Op: ruleset.GreaterEqual, Value: low},
			ruleset.Masked{Field: field, Mask: few(size), Op: ruleset.Equal, Value: low}, ruleset.Masked{Field: field, Mask: few(size), Op: ruleset.NotEqual, Value: low},
			ruleset.Between{Field: field, From: low, To: high},
			ruleset.OneOf{Field: field, Not: r.IntN(2) == 0, Elements: []ruleset.Element{{From: [][]byte{low}, To: [][]byte{low}}, {From: [][]byte{low}, To: [][]byte{high}}}},
		}[r.IntN(8)]
		c, err := f.holds(m, frame.part(from, from+size))
		var at [dimensions]point
		at[service], at[peer] = number(few(2)), number(few(4))
		holds := c.always || c.frames.has(at)
		var bits *bitsError
		if errors.As(err, &bits) {
			one := f.all
			for d := range one {
				one[d].from, one[d].to = at[d], at[d]
			}
			found, err := bits.of(one.space())
			if err != nil {
				t.Fatal(err)
			}
			holds = len(found) > 0
		} else if err != nil {
			continue // not understood, which Of says
		}
		judged++
		bytes := (&template{value: frame}).filled(f, at)[from : from+size]
		if want := ruleset.Holds(m, bytes); holds != want {
			t.Fatalf("%#v of %x at %d: %v, want %v", m, bytes, from, holds, want)
		}
	}
	if judged < 2_500 {
		t.Errorf("%d matches were understood", judged)
	}
}
