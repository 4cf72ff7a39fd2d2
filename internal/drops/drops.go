// Package drops sums up what is dropped as it happens: the rules' counters say how often, and frames that
// were traced say of whom. Not every frame can be traced, so that the counters alone are right.
package drops

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// A Counter is one of an interface's rules: a direction and a reason.
type Counter struct {
	Device string
	Out    bool // from the VM
	Reason string
}

// A Cause is what was dropped: whose, and of which service. Both are "" for all that is of no other cause.
type Cause struct {
	Counter
	Peer, Service string
}

// A Report tells of drops that no report told of before.
type Report struct {
	Cause
	Packets uint64
	First   bool // the cause is new
	AtLeast bool // of the counter's frames some were not seen, which may be of this cause
}

// The bounds of what is told apart: a scan of ports is one line, and not 65535.
const (
	mostNew    = 10   // causes that a counter may begin between two looks
	mostCauses = 1000 // that it may have
	forgotten  = 5 * time.Minute
)

// A Log sums up. Its zero value is ready.
type Log struct {
	begun    bool
	counters map[Counter]*counter
}

type counter struct {
	known   bool   // somebody counts
	value   uint64 // at the last look
	counted uint64 // in all, at the last look
	before  uint64 // and at the one before
	seen    uint64 // frames that were traced
	unseen  uint64 // that were told of as such
	others  uint64 // traced, of causes that are not told apart, and not told of yet
	began   int    // causes since the last look
	causes  map[Cause]*seen
}

type seen struct {
	untold uint64
	last   time.Time
}

func (l *Log) counter(of Counter) *counter {
	if l.counters == nil {
		l.counters = map[Counter]*counter{}
	}
	c := l.counters[of]
	if c == nil {
		c = &counter{causes: map[Cause]*seen{}}
		l.counters[of] = c
	}
	return c
}

// Saw takes in a frame that was traced, and gives what there is to tell of it at once.
func (l *Log) Saw(of Cause, at time.Time) (r Report, tell bool) {
	c := l.counter(of.Counter)
	c.seen++
	switch s := c.causes[of]; {
	case s != nil:
		s.untold++
		s.last = at
	case c.began == mostNew || len(c.causes) == mostCauses:
		c.others++
	default:
		c.began++
		c.causes[of] = &seen{last: at}
		return Report{Cause: of, Packets: 1, First: true}, true
	}
	return Report{}, false
}

// Counted takes in what all counters say. The first time that is where they begin; later, one that was
// not there, or is less than it was, began at 0.
func (l *Log) Counted(values map[Counter]uint64) {
	for of, value := range values {
		c := l.counter(of)
		switch c.known = true; {
		case !l.begun:
		case value < c.value:
			c.counted += value
		default:
			c.counted += value - c.value
		}
		c.value = value
	}
	for of, c := range l.counters {
		if _, stands := values[of]; !stands {
			c.value = 0
		}
	}
	l.begun = true
}

// Look gives what there is to tell since the last look. A frame that was counted may be told of by the
// kernel a little later, so that only at the next look, or at the end, it is one that was not seen.
func (l *Log) Look(at time.Time, end bool) []Report {
	var out []Report
	for of, c := range l.counters {
		atLeast := !c.known || c.counted > c.seen+c.unseen
		for cause, s := range c.causes {
			if s.untold > 0 {
				out = append(out, Report{Cause: cause, Packets: s.untold, AtLeast: atLeast})
			}
			s.untold = 0
		}
		if end {
			c.before = c.counted
		}
		others := c.others
		if c.before > c.seen+c.unseen {
			more := c.before - c.seen - c.unseen
			c.unseen, others = c.unseen+more, others+more
		}
		if others > 0 {
			out = append(out, Report{Cause: Cause{Counter: of}, Packets: others, AtLeast: !c.known})
		}
		c.before, c.others, c.began = c.counted, 0, 0
		maps.DeleteFunc(c.causes, func(_ Cause, s *seen) bool { return at.Sub(s.last) >= forgotten })
	}
	slices.SortFunc(out, func(a, b Report) int {
		from := func(r Report) int { return map[bool]int{true: 0, false: 1}[r.Out] }
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(from(a), from(b)), cmp.Compare(a.Reason, b.Reason),
			cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Service, b.Service))
	})
	return out
}
