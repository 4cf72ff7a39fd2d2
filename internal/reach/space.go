package reach

import (
	"math/bits"
	"sort"
)

// A point is a value of an open field: an address, or a port.
type point struct{ hi, lo uint64 }

func (p point) less(q point) bool { return p.hi < q.hi || p.hi == q.hi && p.lo < q.lo }

func (p point) next() point {
	lo, carry := bits.Add64(p.lo, 1, 0)
	return point{p.hi + carry, lo}
}

func (p point) prev() point {
	lo, borrow := bits.Sub64(p.lo, 1, 0)
	return point{p.hi - borrow, lo}
}

// A space is a set of frames of one kind: ranges of the first open value, sorted and apart, each
// with the space of the others, nil behind the last one. Two neighbours differ in that.
// Nothing is the nil space. No space changes once it is made: parts are shared.
type space []span

type span struct {
	from, to point
	in       *space
}

// An operation says whether what is in one, the other or both of two spaces is in the result.
type operation struct{ a, b, both bool }

var (
	and   = operation{both: true}
	minus = operation{a: true}
	or    = operation{true, true, true}
)

// A pair remembers what became of two spaces: neighbours often share theirs.
type pair struct{ a, b *space }

// combine makes a space of two of the same dimensions.
func (o operation) combine(a, b space) space {
	switch {
	case len(a) == 0 && len(b) == 0:
		return nil
	case len(b) == 0 && o.a:
		return a
	case len(a) == 0 && o.b:
		return b
	case len(a) == 0 || len(b) == 0:
		return nil
	}
	var out space
	var known map[pair]*space
	deep := a[0].in != nil
	i, j := 0, 0
	at := a[0].from
	if b[0].from.less(at) {
		at = b[0].from
	}
	for i < len(a) || j < len(b) {
		// Up to the next place where either begins or ends.
		inA := i < len(a) && !at.less(a[i].from)
		inB := j < len(b) && !at.less(b[j].from)
		var end point
		switch {
		case inA && inB:
			end = least(a[i].to, b[j].to)
		case inA && j < len(b):
			end = least(a[i].to, b[j].from.prev())
		case inA:
			end = a[i].to
		case inB && i < len(a):
			end = least(b[j].to, a[i].from.prev())
		case inB:
			end = b[j].to
		case i < len(a) && (j == len(b) || a[i].from.less(b[j].from)):
			at = a[i].from
			continue
		default:
			at = b[j].from
			continue
		}
		there, in := o.of(inA, inB), (*space)(nil)
		switch {
		case !deep:
		case inA && inB:
			p := pair{a[i].in, b[j].in}
			done := false
			if in, done = known[p]; !done {
				if made := o.combine(*p.a, *p.b); len(made) > 0 {
					in = &made
				}
				if known == nil {
					known = map[pair]*space{}
				}
				known[p] = in
			}
			there = in != nil
		case inA:
			in = a[i].in
		default:
			in = b[j].in
		}
		if there {
			out = out.with(span{at, end, in})
		}
		if inA && end == a[i].to {
			i++
		}
		if inB && end == b[j].to {
			j++
		}
		at = end.next()
	}
	return out
}

func (o operation) of(a, b bool) bool {
	switch {
	case a && b:
		return o.both
	case a:
		return o.a
	}
	return o.b
}

func least(p, q point) point {
	if q.less(p) {
		return q
	}
	return p
}

// with adds a range behind all others of a space that is being made.
func (s space) with(r span) space {
	if n := len(s) - 1; n >= 0 && s[n].to.next() == r.from && same(s[n].in, r.in) {
		s[n].to = r.to
		return s
	}
	return append(s, r)
}

func same(a, b *space) bool {
	return a == b || a != nil && b != nil && equal(*a, *b)
}

func equal(a, b space) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].from != b[i].from || a[i].to != b[i].to || !same(a[i].in, b[i].in) {
			return false
		}
	}
	return true
}

// at gives what a space has at one value of its first field.
func (s space) at(p point) space {
	i := sort.Search(len(s), func(i int) bool { return !s[i].to.less(p) })
	if i == len(s) || p.less(s[i].from) {
		return nil
	}
	return *s[i].in
}

// A box is a range of each open value.
type box [dimensions]struct{ from, to point }

func (b box) space() space {
	var in *space
	for d := dimensions - 1; d > 0; d-- {
		in = &space{{b[d].from, b[d].to, in}}
	}
	return space{{b[0].from, b[0].to, in}}
}

// union is all that is in one of many spaces.
func union(all []space) space {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	half := len(all) / 2
	return or.combine(union(all[:half]), union(all[half:]))
}
