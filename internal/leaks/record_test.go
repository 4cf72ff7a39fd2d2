package leaks

import (
	"slices"
	"time"
)

// A record is what is known of each slot of a session: when it was, and which of
// its frames arrived.
type record struct {
	at      []time.Duration
	arrived [][kinds]bool

	up, passes uint32 // from when on frames may, and allowed ones must arrive
}

// A tally is what came of an event, over all its rounds.
type tally struct {
	rounds  int
	sent    int // denied frames, by VMs whose devices were up and to them
	leaked  int
	windows []time.Duration // in which something was wrong
	never   int             // rounds that ended with something wrong
	pause   time.Duration   // the longest in which no allowed frame arrived
}

// add takes a round: a session in which something happened once.
func (t *tally) add(r *record) {
	windows, never := r.windows(r.isWrong)
	t.count(r, 1, never)
	if !never {
		t.windows = append(t.windows, slices.Max(append(windows, 0)))
	}
}

// addAll takes a session in which something happened so often that its rounds
// cannot be told apart.
func (t *tally) addAll(r *record, rounds int) {
	windows, never := r.windows(r.isWrong)
	t.count(r, rounds, never)
	t.windows = append(t.windows, windows...)
}

func (t *tally) count(r *record, rounds int, never bool) {
	t.rounds += rounds
	if never {
		t.never++
	}
	t.sent += r.denied()
	t.leaked += r.leaked()
	pauses, _ := r.windows(r.isMissing)
	t.pause = max(t.pause, slices.Max(append(pauses, 0)))
}

// denied counts the denied frames that were sent.
func (r *record) denied() int { return 2 * (len(r.at) - int(r.up)) }

// leaked counts the denied frames that arrived.
func (r *record) leaked() (n int) {
	for _, a := range r.arrived {
		for k, arrived := range a {
			if arrived && kind(k).denied() {
				n++
			}
		}
	}
	return n
}

// windows gives the times in which slots were wrong, and whether the last ended
// with the session.
func (r *record) windows(wrong func(slot int) bool) (ended []time.Duration, never bool) {
	first := -1
	for slot := range r.at {
		switch {
		case first < 0 && wrong(slot):
			first = slot
		case first >= 0 && r.calm(slot, wrong):
			ended = append(ended, r.at[slot]-r.at[first])
			first = -1
		}
	}
	return ended, first >= 0
}

// calm reports whether no slot is wrong for a while: two windows that follow each
// other at once are one.
func (r *record) calm(slot int, wrong func(int) bool) bool {
	const while = 8
	for i := range min(while, len(r.at)-slot) {
		if wrong(slot + i) {
			return false
		}
	}
	return true
}

func (r *record) isWrong(slot int) bool {
	a := r.arrived[slot]
	return a[deniedOut] || a[deniedIn] || r.isMissing(slot)
}

func (r *record) isMissing(slot int) bool {
	a := r.arrived[slot]
	return slot >= int(r.passes) && (!a[allowedOut] || !a[allowedIn])
}

// times gives the median and the worst of the times in which what an event did was
// repaired.
func (t *tally) times() (median, worst time.Duration) {
	if len(t.windows) == 0 {
		return 0, 0
	}
	slices.Sort(t.windows)
	return t.windows[len(t.windows)/2], t.windows[len(t.windows)-1]
}
