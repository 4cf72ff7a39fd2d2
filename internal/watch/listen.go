package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
)

// queue is how many events wait for the loop before the sources do. What the
// kernel cannot deliver then, it tells as lost.
const queue = 1024

// listen starts the sources of events. What changes after its return is told. ended
// gives why one of them can tell no more.
func (w *watcher) listen(ctx context.Context, first text) (told <-chan event, ended <-chan error, err error) {
	events := make(chan event, queue)
	ends := make(chan error, 1)
	tell := func(e event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	w.tell = tell
	network, err := host.Subscribe(ctx, func(e host.Event) { tell(func(w *watcher) { w.noteNetwork(e) }) })
	if err != nil {
		return nil, nil, err
	}
	rules, err := kernel.Subscribe(ctx, func(c kernel.Change) { tell(func(w *watcher) { w.noteRules(c) }) })
	if err != nil {
		return nil, nil, err
	}
	if err := listenFiles(ctx, w.ConfigFile, first, w.Reload, tell); err != nil {
		return nil, nil, err
	}
	for _, serves := range []func(context.Context, func(event)) error{serve, serveTrials} {
		if err := serves(ctx, tell); err != nil {
			return nil, nil, err
		}
	}
	go followVMs(ctx, w.Connect, tell)
	go w.signals(ctx, tell)
	go func() {
		err := errors.New("the kernel tells no more of nftables")
		select {
		case <-network:
			err = errors.New("the kernel tells no more of the network")
		case <-rules:
		}
		if ctx.Err() == nil {
			ends <- err
		}
	}()
	return events, ends, nil
}

// signals tells that the process is alive, by way of the loop: one that hangs is not.
func (w *watcher) signals(ctx context.Context, tell func(event)) {
	var beat <-chan time.Time
	if w.Heartbeat > 0 {
		ticker := time.NewTicker(w.Heartbeat)
		defer ticker.Stop()
		beat = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat:
			tell(func(w *watcher) { w.Alive() })
		}
	}
}

// index notes a device to look at.
func (l *look) index(index int) {
	if l.indexes == nil {
		l.indexes = map[int]bool{}
	}
	l.indexes[index] = true
}

func (w *watcher) noteNetwork(e host.Event) {
	switch {
	case e.Lost:
		w.look.devices, w.look.tables, w.look.facts = true, true, true
	case e.Facts || e.Neighbour.IsValid() && w.mayRoute(e):
		w.look.facts = true
	case e.Neighbour.IsValid():
	default:
		w.look.index(e.Index)
	}
}

// mayRoute reports whether a neighbour that changed is a router of a parent, or may be
// the same router by another address. Others come and go all the time.
func (w *watcher) mayRoute(e host.Event) bool {
	for _, f := range w.facts {
		if slices.Contains(f.Gateway, e.Neighbour) {
			return true
		}
	}
	return e.Router
}

// noteRules notes the devices whose rules somebody touched.
func (w *watcher) noteRules(c kernel.Change) {
	switch {
	case c.Lost:
		w.noteTouched("somebody", func(*device) bool { return true })
	case isOwnThread(c.Task):
	default:
		touched := func(d *device) bool {
			return c.All || slices.Contains(c.Tables, d.table()) || slices.Contains(c.Indexes, uint32(d.Index))
		}
		by := fmt.Sprintf("%s (%d)", c.Process, c.Task)
		if c.Process != program {
			w.noteTouched(by, touched)
			return
		}
		// A hook or command of ours. When it removed the rules of a VM that
		// stopped, the device goes next, and nothing is to be put back.
		time.AfterFunc(grace, func() {
			w.tell(func(w *watcher) {
				w.noteTouched(by, touched)
				w.noteSaid(touched)
			})
		})
	}
}

// program is our processes' name as the kernel has it, and grace is how long what
// they do is left alone.
const (
	program = "macvtap-filter"
	grace   = 200 * time.Millisecond
)

func (w *watcher) noteTouched(by string, touched func(*device) bool) {
	w.look.tables = true
	for _, d := range w.devices {
		if touched(d) {
			d.planned, d.culprit = false, by
		}
	}
}

// noteSaid notes that rules which a command of ours removed are none to keep: somebody
// said so. What stands was seen to be the device's own, and says its MAC address.
func (w *watcher) noteSaid(touched func(*device) bool) {
	for _, d := range w.devices {
		if touched(d) {
			d.ruled, d.asked = false, true
		}
	}
}

// isOwnThread reports whether a task is a thread of this process.
func isOwnThread(task int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", task))
	return err == nil
}
