package watch

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// rememberEvery is how often it is read what rules have learned: nftables tells nobody when a
// frame adds to a set. What was learned since is lost with the rules.
const rememberEvery = 5 * time.Second

// A memory is what rules had learned of a device's VM.
type memory struct {
	sets  map[string][]ruleset.Element
	at    time.Time
	since map[netip.Addr]time.Time // when each address was first read
}

// A ticker ticks only while there is something to remember: nothing else wakes watch.
type ticker struct {
	*time.Ticker
	ticks <-chan time.Time
}

// run has it tick, or stop.
func (t *ticker) run(on bool) {
	switch {
	case on && t.Ticker == nil:
		t.Ticker = time.NewTicker(rememberEvery)
		t.ticks = t.C
	case !on && t.Ticker != nil:
		t.Stop()
		*t = ticker{}
	}
}

// lasting gives the names of the sets in which rules keep what they learn.
func lasting(t ruleset.Table) []string {
	filled := t.Filled()
	var out []string
	for _, s := range t.Sets {
		if s.Lasts && filled[s.Name] {
			out = append(out, s.Name)
		}
	}
	return out
}

// learns reports whether rules of any device learn.
func (w *watcher) learns() bool {
	for _, d := range w.devices {
		if len(d.lasting) > 0 {
			return true
		}
	}
	return false
}

// readLearned takes in what the rules of all devices have learned, to put it back with them.
func (w *watcher) readLearned(ctx context.Context) error {
	names := []string{ruleset.Anchor}
	for _, d := range w.devices {
		for _, name := range d.lasting {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	learned, err := kernel.Learned(ctx, names...)
	if err != nil {
		return err
	}
	seen, now := map[int]memory{}, time.Now()
	for index, m := range w.learned {
		if w.devices[index] != nil {
			seen[index] = m
		}
	}
	for _, e := range learned[ruleset.Anchor] { // whose rules stand
		if d := w.devices[indexOf(e)]; d != nil {
			seen[d.Index] = memory{at: now}
		}
	}
	for name, elements := range learned {
		for _, e := range elements {
			if m, known := seen[indexOf(e)]; known && name != ruleset.Anchor {
				seen[indexOf(e)] = m.with(name, e, w.learned[indexOf(e)])
			}
		}
	}
	w.learned = seen
	return nil
}

// with takes in an element of a set, and since when its address is known, if it has one:
// nftables does not tell when an element came.
func (m memory) with(set string, e ruleset.Element, before memory) memory {
	if m.sets == nil {
		m.sets, m.since = map[string][]ruleset.Element{}, map[netip.Addr]time.Time{}
	}
	m.sets[set] = append(m.sets[set], e)
	if len(e.From) < 2 {
		return m
	}
	if a, ok := netip.AddrFromSlice(e.From[1]); ok {
		m.since[a] = m.at
		if since, known := before.since[a]; known {
			m.since[a] = since
		}
	}
	return m
}

// known gives the addresses that rules have learned, sorted.
func (m memory) known() []Known {
	var out []Known
	for a, since := range m.since {
		out = append(out, Known{a, since})
	}
	slices.SortFunc(out, func(a, b Known) int { return a.Address.Compare(b.Address) })
	return out
}

func indexOf(e ruleset.Element) int { return int(binary.NativeEndian.Uint32(e.From[0])) }

// remembering gives rules that do not stand any more with what they had learned.
func (w *watcher) remembering(t ruleset.Table, index int) ruleset.Table {
	m, known := w.learned[index]
	if !known {
		return t
	}
	t.Sets = slices.Clone(t.Sets)
	for i, s := range t.Sets {
		if !s.Lasts {
			continue
		}
		s.Elements = slices.Clone(s.Elements)
		for _, e := range m.sets[s.Name] {
			expired := false
			if e.Left > 0 {
				e.Left -= time.Since(m.at)
				expired = e.Left <= 0
			}
			if !expired && !slices.ContainsFunc(s.Elements, func(o ruleset.Element) bool { return ruleset.SameElement(o, e) }) {
				s.Elements = append(s.Elements, e)
			}
		}
		t.Sets[i] = s
	}
	return t
}
