package reach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"macvtap-filter/internal/ruleset"
)

// The open values of a frame, in the order in which a space has them.
const (
	client     = iota // the port of who opens
	service           // the port of whom it is opened on
	peer              // the address that is not the VM's
	dimensions = 3
)

// A tag says what a byte of a frame is: given, or one of an open value's.
type tag uint8

const (
	given   tag = 0
	unknown tag = 0xff // follows from an open value, and is none of its bytes
)

func open(dimension, i int) tag { return tag(1 + dimension<<4 + i) }

func (t tag) dimension() int { return int(t-1) >> 4 }
func (t tag) place() int     { return int(t-1) & 0xf }

// A value is what a field holds. The bytes that are open are 0.
type value struct {
	bytes []byte
	tags  []tag
}

func (v value) open() bool {
	for _, t := range v.tags {
		if t != given {
			return true
		}
	}
	return false
}

func known(b []byte) value { return value{b, make([]tag, len(b))} }

func (v value) part(from, to int) value { return value{v.bytes[from:to], v.tags[from:to]} }

func (v value) join(w value) value {
	return value{append(v.bytes[:len(v.bytes):len(v.bytes)], w.bytes...), append(v.tags[:len(v.tags):len(v.tags)], w.tags...)}
}

// key tells values apart.
func (v value) key() string {
	out := append([]byte(nil), v.bytes...)
	for _, t := range v.tags {
		out = append(out, byte(t))
	}
	return string(out)
}

// A condition is when something holds: always, never, or for some frames.
type condition struct {
	always bool
	frames space // where not always
}

func (c condition) never() bool { return !c.always && len(c.frames) == 0 }

// A family has what a frame's open values can be.
type family struct {
	bytes int // of an address
	all   box

	// own is the interface identifier of the VM's MAC address (RFC 4291, appendix A). What
	// has it is the VM's own in some network, and no peer's.
	own uint64
}

var (
	family4 = newFamily(4)
	family6 = newFamily(16)
)

func newFamily(size int) family {
	f := family{bytes: size}
	for d := range f.all {
		f.all[d].to = ones(8 * f.width(d))
	}
	return f
}

// width is how many bytes an open value has.
func (f family) width(dimension int) int {
	if dimension == peer {
		return f.bytes
	}
	return 2
}

// ones is the number of n ones.
func ones(n int) point {
	switch {
	case n == 0:
		return point{}
	case n <= 64:
		return point{lo: ^uint64(0) >> (64 - n)}
	}
	return point{^uint64(0) >> (128 - n), ^uint64(0)}
}

func number(b []byte) point {
	var all [16]byte
	copy(all[16-len(b):], b)
	return point{binary.BigEndian.Uint64(all[:8]), binary.BigEndian.Uint64(all[8:])}
}

func (p point) shifted(n int) point {
	if n >= 64 {
		return point{hi: p.lo << (n - 64)}
	}
	return point{p.hi<<n | p.lo>>(64-n), p.lo << n}
}

func (p point) with(q point) point { return point{p.hi | q.hi, p.lo | q.lo} }

// within is where the open value lies in a range.
func (f family) within(dimension int, from, to point) condition {
	b := f.all
	b[dimension].from, b[dimension].to = from, to
	return condition{frames: b.space()}
}

func (f family) not(c condition) condition {
	switch {
	case c.always:
		return condition{}
	case c.never():
		return condition{always: true}
	}
	return condition{frames: minus.combine(f.all.space(), c.frames)}
}

func and2(c, d condition) condition {
	switch {
	case c.always:
		return d
	case d.always:
		return c
	}
	return condition{frames: and.combine(c.frames, d.frames)}
}

func or2(c, d condition) condition {
	if c.always || d.always {
		return condition{always: true}
	}
	return condition{frames: or.combine(c.frames, d.frames)}
}

// ofPart is an error of a part, as one of the whole: what a bitsError says of the part is not true of it.
func ofPart(whole string, err error) error { return errors.New(whole + ": " + err.Error()) }

// negated is where a condition does not hold.
func (f family) negated(c condition, err error) (condition, error) {
	var bits *bitsError
	if errors.As(err, &bits) {
		return c, &bitsError{bits.dimension, bits.mask, bits.want, !bits.not}
	}
	return f.not(c), err
}

// masked is where the bits of a value under a mask are those wanted.
func (f family) masked(v value, mask, want []byte) (condition, error) {
	var masks, wants [dimensions][16]byte
	asked := map[int]bool{}
	for i, m := range mask {
		w := want[i]
		switch t := v.tags[i]; {
		case w&^m != 0:
			return condition{}, nil
		case m == 0:
		case t == unknown:
			return condition{}, fmt.Errorf("bytes that follow from the peer's address")
		case t == given && v.bytes[i]&m != w:
			return condition{}, nil
		case t != given:
			d, at := t.dimension(), 16-f.width(t.dimension())+t.place()
			if both := masks[d][at] & m; both&(wants[d][at]^w) != 0 {
				return condition{}, nil
			}
			masks[d][at] |= m
			wants[d][at] |= w
			asked[d] = true
		}
	}
	out := condition{always: true}
	if len(asked) == 0 {
		return out, nil
	}
	for d := range dimensions {
		mask, want := number(masks[d][:]), number(wants[d][:])
		if mask == (point{}) {
			continue
		}
		if d == peer && len(asked) == 1 && f.own != 0 && mask == (point{lo: ^uint64(0)}) && want.lo == f.own {
			return condition{}, nil
		}
		ranges := bitRanges(mask, want, 8*f.width(d))
		if ranges == nil && len(asked) > 1 {
			return condition{}, fmt.Errorf("bits in the middle of several open values")
		}
		if ranges == nil {
			return condition{}, &bitsError{d, mask, want, false}
		}
		some := condition{}
		for _, r := range ranges {
			some = or2(some, f.within(d, r[0], r[1]))
		}
		out = and2(out, some)
	}
	return out, nil
}

// maxRanges is how many ranges a mask's bits may make.
const maxRanges = 1 << 8

// bitRanges gives the ranges of numbers of some bits whose bits under a mask are those wanted,
// none where they are too many.
func bitRanges(mask, want point, width int) [][2]point {
	low := bits.TrailingZeros64(mask.lo)
	if mask.lo == 0 {
		low = 64 + bits.TrailingZeros64(mask.hi)
	}
	all := [][2]point{{want, want.with(ones(low))}}
	for i := low + 1; i < width; i++ {
		bit := point{lo: 1}.shifted(i)
		if mask.hi&bit.hi|mask.lo&bit.lo != 0 {
			continue
		}
		for _, r := range all {
			all = append(all, [2]point{r[0].with(bit), r[1].with(bit)})
		}
		if len(all) > maxRanges {
			return nil
		}
	}
	return all
}

// A bitsError is a condition on bits in the middle of an open value, which too many ranges
// have. Of few frames it can be told all the same.
type bitsError struct {
	dimension  int
	mask, want point
	not        bool
}

func (e *bitsError) Error() string { return "bits in the middle of an open value" }

// of gives those of some frames that have the bits, or, with not, that do not.
func (e *bitsError) of(frames space) (space, error) { return e.among(frames, 0) }

func (e *bitsError) among(frames space, dimension int) (space, error) {
	var out space
	for _, s := range frames {
		if dimension < e.dimension {
			in, err := e.among(*s.in, dimension+1)
			if err != nil {
				return nil, err
			}
			if len(in) > 0 {
				out = out.with(span{s.from, s.to, &in})
			}
			continue
		}
		// What both ends have in common, all between them have.
		differ := point{s.from.hi ^ s.to.hi, s.from.lo ^ s.to.lo}
		varies := ones(bits.Len64(differ.lo))
		if differ.hi != 0 {
			varies = ones(64 + bits.Len64(differ.hi))
		}
		fixed := point{e.mask.hi &^ varies.hi, e.mask.lo &^ varies.lo}
		has := s.from.hi&fixed.hi == e.want.hi&fixed.hi && s.from.lo&fixed.lo == e.want.lo&fixed.lo
		if has && fixed != e.mask {
			return nil, e
		}
		if has != e.not {
			out = out.with(s)
		}
	}
	return out, nil
}

// between is where a value lies between two others, both included.
func (f family) between(v value, from, to []byte) (condition, error) {
	tightLow, tightHigh := true, true
	i := 0
	for ; i < len(from) && v.tags[i] == given; i++ {
		if tightLow && v.bytes[i] < from[i] || tightHigh && v.bytes[i] > to[i] {
			return condition{}, nil
		}
		tightLow = tightLow && v.bytes[i] == from[i]
		tightHigh = tightHigh && v.bytes[i] == to[i]
		if !tightLow && !tightHigh {
			break
		}
	}
	if i == len(from) || !tightLow && !tightHigh {
		return condition{always: true}, nil
	}
	first := v.tags[i]
	if first == unknown {
		return condition{}, fmt.Errorf("bytes that follow from the peer's address")
	}
	end := i + 1
	for end < len(from) && v.tags[end] == first+tag(end-i) {
		end++
	}
	rest := v.part(end, len(from))
	low, high := point{}, ones(8*(end-i))
	empty := false
	if tightLow {
		low = number(from[i:end])
		below, err := f.restBelow(rest, from[end:], 0)
		if err != nil {
			return condition{}, err
		}
		if below {
			empty = empty || low == ones(8*(end-i))
			low = low.next()
		}
	}
	if tightHigh {
		high = number(to[i:end])
		above, err := f.restBelow(rest, to[end:], 0xff)
		if err != nil {
			return condition{}, err
		}
		if above {
			empty = empty || high == (point{})
			high = high.prev()
		}
	}
	if empty || high.less(low) {
		return condition{}, nil
	}
	d := first.dimension()
	right := f.width(d) - first.place() - (end - i) // bytes of the open value behind
	switch {
	case first.place() == 0:
		return f.within(d, low.shifted(8*right), high.shifted(8*right).with(ones(8*right))), nil
	case low == (point{}) && high == ones(8*(end-i)):
		return condition{always: true}, nil
	}
	return condition{}, fmt.Errorf("a range of bytes in the middle of an address")
}

// restBelow reports whether what is behind an open value is below a bound, of zeros for the
// lowest, or, where the bound is an upper one (limit 0xff), above it.
func (f family) restBelow(rest value, bound []byte, limit byte) (bool, error) {
	for i, b := range bound {
		switch {
		case rest.tags[i] != given:
			for _, b := range bound[i:] {
				if b != limit {
					return false, fmt.Errorf("a range over several open values")
				}
			}
			return false, nil
		case rest.bytes[i] != b:
			return (rest.bytes[i] < b) == (limit == 0), nil
		}
	}
	return false, nil
}

// holds is where a match of one field holds.
func (f family) holds(m ruleset.Match, v value) (condition, error) {
	if !v.open() {
		return condition{always: ruleset.Holds(m, v.bytes)}, nil
	}
	switch m := m.(type) {
	case ruleset.Compare:
		return f.compared(m.Op, v, full(len(m.Value)), m.Value)
	case ruleset.Masked:
		return f.compared(m.Op, v, m.Mask, m.Value)
	case ruleset.InPrefix:
		size := (m.Prefix.Bits() + 7) / 8
		mask := make([]byte, size)
		for bit := range m.Prefix.Bits() {
			mask[bit/8] |= 0x80 >> (bit % 8)
		}
		c, err := f.masked(v, mask, m.Prefix.Masked().Addr().AsSlice()[:size])
		if m.Not {
			return f.negated(c, err)
		}
		return c, err
	case ruleset.Between:
		return f.between(v, m.From, m.To)
	case ruleset.OneOf:
		var out condition
		var all []space
		for _, e := range m.Elements {
			c, err := f.element(v, e.From[0], e.To[0])
			if err != nil {
				return c, ofPart("one of several", err)
			}
			out.always = out.always || c.always
			all = append(all, c.frames)
		}
		if !out.always {
			out.frames = union(all)
		}
		if m.Not {
			out = f.not(out)
		}
		return out, nil
	}
	return condition{}, fmt.Errorf("a match of the kind %T", m)
}

func full(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = 0xff
	}
	return out
}

func (f family) compared(op ruleset.Op, v value, mask, want []byte) (condition, error) {
	switch op {
	case ruleset.Equal:
		return f.masked(v, mask, want)
	case ruleset.NotEqual:
		return f.negated(f.masked(v, mask, want))
	}
	hidden := value{append([]byte(nil), v.bytes[:len(mask)]...), append([]tag(nil), v.tags[:len(mask)]...)}
	for i, m := range mask {
		switch {
		case m == 0:
			hidden.bytes[i], hidden.tags[i] = 0, given
		case m != 0xff && hidden.tags[i] != given:
			return condition{}, fmt.Errorf("some bits of an open value that are compared by size")
		default:
			hidden.bytes[i] &= m
		}
	}
	atLeast, err := f.between(hidden, want, full(len(want)))
	switch op {
	case ruleset.Less:
		return f.not(atLeast), err
	case ruleset.GreaterEqual:
		return atLeast, err
	}
	return condition{}, fmt.Errorf("the operator %q", op)
}

// element is where a value is, or lies within, an element of a set.
func (f family) element(v value, from, to []byte) (condition, error) {
	if string(from) == string(to) {
		return f.masked(v, full(len(from)), from)
	}
	return f.between(v, from, to)
}

// is is where two values are the same.
func (f family) is(v, w value) (condition, error) {
	if len(v.bytes) != len(w.bytes) {
		return condition{}, fmt.Errorf("keys of %d and %d bytes", len(v.bytes), len(w.bytes))
	}
	mask, want, of := make([]byte, len(v.bytes)), make([]byte, len(v.bytes)), value{make([]byte, len(v.bytes)), make([]tag, len(v.bytes))}
	for i := range v.bytes {
		a, b := v.tags[i], w.tags[i]
		switch {
		case a == b && a != given:
			if a == unknown {
				return condition{}, fmt.Errorf("bytes that follow from the peer's address")
			}
		case a != given && b != given:
			return condition{}, fmt.Errorf("two open values that are compared")
		case b != given:
			of.tags[i], want[i], mask[i] = b, v.bytes[i], 0xff
		default:
			of.bytes[i], of.tags[i], want[i], mask[i] = v.bytes[i], a, w.bytes[i], 0xff
		}
	}
	return f.masked(of, mask, want)
}
