package status

import "time"

// Rates are what went through an interface in a second, between two looks. One that
// cannot be told is nil: a counter went back, since it wrapped or began anew, or nobody
// read it in one of the looks.
type Rates struct {
	FromVM, ToVM *Rate    // what passed
	Dropped      *float64 // frames, both ways
}

// A Rate is frames and bytes a second.
type Rate struct {
	Packets, Bytes float64
}

// RatesBetween gives the rates of the interfaces that were there in both looks, by
// their devices' indexes, and after which time. An index is never used twice while the
// host runs.
func RatesBetween(before, after Status) map[int]Rates {
	seconds := after.Time.Sub(before.Time).Seconds()
	if seconds < shortest.Seconds() {
		return nil
	}
	old := map[int]Interface{}
	for _, i := range before.Interfaces {
		old[i.Index] = i
	}
	out := map[int]Rates{}
	for _, i := range after.Interfaces {
		if was, ok := old[i.Index]; ok && i.Index != 0 {
			out[i.Index] = ratesOf(was, i, seconds)
		}
	}
	return out
}

// shortest is the time between two looks from which on a rate says anything.
const shortest = 10 * time.Millisecond

func ratesOf(was, is Interface, seconds float64) Rates {
	var r Rates
	r.FromVM = rate(was.FromVM.Passed, is.FromVM.Passed, seconds)
	if was.Rules != is.Rules {
		return r // other counters
	}
	// What passed to the VM goes by the counters, too.
	r.ToVM = rate(was.ToVM.Passed, is.ToVM.Passed, seconds)
	from, ok := dropsSince(was.FromVM, is.FromVM)
	to, okTo := dropsSince(was.ToVM, is.ToVM)
	if ok && okTo {
		r.Dropped = new(float64(from+to) / seconds)
	}
	return r
}

func rate(was, is *Count, seconds float64) *Rate {
	if was == nil || is == nil || is.Packets < was.Packets || is.Bytes < was.Bytes {
		return nil
	}
	return &Rate{float64(is.Packets-was.Packets) / seconds, float64(is.Bytes-was.Bytes) / seconds}
}

// dropsSince gives how many frames more were dropped, reason by reason.
func dropsSince(was, is Flow) (uint64, bool) {
	if was.Drops == nil || is.Drops == nil {
		return 0, false
	}
	old := map[string]uint64{}
	for _, d := range was.Drops {
		old[d.Reason] = d.Packets
	}
	var sum uint64
	for _, d := range is.Drops {
		if d.Packets < old[d.Reason] {
			return 0, false
		}
		sum += d.Packets - old[d.Reason]
	}
	return sum, true
}
