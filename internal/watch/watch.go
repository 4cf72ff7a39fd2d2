// Package watch keeps standing what should stand: for every macvtap device on a
// configured parent the rules of the VM that it belongs to. libvirt calls no hook
// when a NIC is plugged into a running VM; others flush nftables; the LAN's router
// changes. The kernel and libvirt tell of all of these, and each is mended when it
// is told.
//
// There is one way to do it, a pass: look at what was told to have changed, work
// out what should stand, compare it with what does, and program the difference. An
// event says only where to look. So events may come late, twice or, where the
// kernel lost some, not at all, and the end is the same.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/patience"
)

// Options say how to watch.
type Options struct {
	// ConfigFile is read at the start, when it changes, and on Reload.
	ConfigFile string
	Reload     <-chan struct{}

	// Connect opens a connection to libvirt.
	Connect func(patience time.Duration) (Libvirt, error)

	// Keep has a VM's live metadata hold an element of the addresses' namespace, "" for none;
	// nil for nowhere to keep what rules learned. The error is libvirt.ErrGone when it does not
	// run.
	Keep func(ctx context.Context, uuid, element string) error

	// Log takes what happened, what is wrong and what to do about it.
	Log func(level slog.Level, message string, fields journal.Fields)

	// Configured is called with the configuration that is in force, at the start and
	// whenever another one is; nil for nobody who wants to know.
	Configured func(*config.Config)

	// Take says why a configuration that was read is not to be taken, as of one that breaks its
	// own tests; nil takes any.
	Take func(*config.Config) error

	// Ready is called once: what runs is protected from then on, but for what
	// the kernel refused again and again, and Log was told.
	Ready func()

	// Alive is called every Heartbeat for as long as passes come to an end; 0
	// for never.
	Alive     func()
	Heartbeat time.Duration
}

// Run watches the network namespace that the caller's thread is in, until ctx ends.
// The rules then stand as they are. An error says why it cannot watch: another one
// does, the configuration is wrong, or the kernel tells nothing.
func Run(ctx context.Context, o Options) error {
	release, err := alone()
	if err != nil {
		return err
	}
	defer release()
	first := readFirst(ctx, o.ConfigFile)
	c, err := o.taken(first)
	if err != nil {
		return err
	}
	h, err := host.Open(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	w := &watcher{
		Options: o, config: c, host: h, began: time.Now(),
		devices: map[int]*device{}, vms: map[string]*domain.Domain{}, facts: map[string]facts.Facts{}, wrong: map[string]string{}, kept: map[string]time.Time{},
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer func() {
		if w.guard != nil {
			_ = w.guard.Close() // it stands on
		}
	}()
	w.configured()
	told, ended, err := w.listen(ctx, first)
	if err != nil {
		return err
	}
	w.compares = w.comparing(ctx)
	return w.loop(ctx, told, ended)
}

// An event is what a source tells: it notes in the watcher where to look.
type event func(*watcher)

// A watcher is what is known, and what is to be looked at. Only its loop touches it.
type watcher struct {
	Options
	config *config.Config
	former *config.Config // that one on trial stands in for, nil for none
	host   *host.Host

	devices map[int]*device           // by interface index: the host's macvtap devices
	told    bool                      // libvirt has told which VMs run, and tells of changes
	vms     map[string]*domain.Domain // by UUID: the running VMs, as far as libvirt told
	facts   map[string]facts.Facts    // by parent, as the rules that stand were made from
	seenAll bool                      // all devices were looked at once
	asked   bool                      // libvirt has told of all VMs, or did not answer

	learned map[int]memory       // by interface index
	kept    map[string]time.Time // by UUID: when what was learned was written last, until it is known to be
	keeping bool                 // it is being written

	compares chan<- replaced // rules that are to be compared with what they replaced

	guard     *kernel.OwnedGuard // nil: none of ours stands
	guardless bool               // this kernel cannot have one

	tell func(event) // from any goroutine

	began time.Time

	look  look // in the next pass, at once
	again look // in the next pass, whenever that is: it failed in the last one
	ready bool

	busy bool // the last pass looked at rules, or programmed some

	wrong map[string]string // what was last logged about a device or file, not to repeat it
}

// look says what is to be looked at in the next pass.
type look struct {
	devices bool         // all of them
	indexes map[int]bool // these devices
	tables  bool         // whose rules stand
	facts   bool
}

func (l look) any() bool { return l.devices || l.tables || l.facts || len(l.indexes) > 0 }

func (l look) and(m look) look {
	both := look{devices: l.devices || m.devices, tables: l.tables || m.tables, facts: l.facts || m.facts}
	for _, indexes := range []map[int]bool{l.indexes, m.indexes} {
		for index := range indexes {
			both.index(index)
		}
	}
	return both
}

// The pauses between attempts at what the kernel refused.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// idleTime is how long rules must have stood for memory to be given back, and the checks
// of checksum offload to be moved.
const idleTime = 2 * time.Second

// loop makes a pass whenever something was told.
func (w *watcher) loop(ctx context.Context, told <-chan event, ended <-chan error) error {
	w.look = look{devices: true, tables: true}
	pause := firstRetry
	var idle, moveNext <-chan time.Time
	var remember ticker
	defer remember.run(false)
	for {
		var retry <-chan time.Time
		w.busy = false
		right := w.pass(ctx)
		if right {
			pause = firstRetry
		} else {
			retry = time.After(pause)
			pause = min(2*pause, lastRetry)
		}
		if !w.ready && (w.asked || !w.needsLibvirt()) && (right || pause == lastRetry) {
			w.ready = true
			w.Ready()
		}
		if w.busy {
			idle, moveNext = time.After(idleTime), nil
		}
		remember.run(w.minds())
		if !w.look.any() {
			select {
			case <-remember.ticks:
				if w.mind("learned", w.readLearned(ctx)) {
					w.keep(ctx)
				}
				continue
			case <-ctx.Done():
				return nil
			case err := <-ended:
				return err
			case <-retry:
			case <-idle:
				idle = nil
				giveBack()
				moveNext = w.moveCheck(ctx)
				continue
			case <-moveNext:
				if moveNext = w.moveCheck(ctx); moveNext == nil {
					giveBack()
				}
				continue
			case e := <-told:
				e(w)
			}
		}
		w.drain(told)
	}
}

// needsLibvirt reports whether there is a device whose rules depend on what libvirt
// says of its VM. When the host starts there is none, and systemd starts libvirt's
// daemon only once watch is ready, though its socket takes connections already.
func (w *watcher) needsLibvirt() bool {
	for _, d := range w.devices {
		if !d.other {
			return true
		}
	}
	return false
}

// giveBack gives memory back: a burst may have needed a hundred times what is kept.
// What sync.Pools hold of it goes with the second collection.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// drain takes what else was told meanwhile: a burst of events is one pass's work.
func (w *watcher) drain(told <-chan event) {
	for range cap(told) {
		select {
		case e := <-told:
			e(w)
		default:
			return
		}
	}
}

// pass looks, works out what should stand, and mends what does not. It reports
// whether all is right now; if not it is to be tried again.
func (w *watcher) pass(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, patience.Pass)
	defer cancel()
	seen := w.look.and(w.again)
	w.look, w.again = look{}, look{}
	if !w.mind("network", w.see(&seen)) {
		w.again = seen
		return false
	}
	standing, err := w.standing(ctx, seen)
	if !w.mind("nftables", err) {
		w.again = seen
		return false
	}
	for _, d := range w.devices {
		if !d.planned {
			w.plan(ctx, d, standing)
		}
	}
	ok := w.mind("lower", w.lowerGuard(ctx))
	ok = w.mend(ctx) && ok
	ok = w.mind("raise", w.raiseGuard(ctx)) && ok
	return w.sweep(ctx, standing) && ok
}

// mind logs an error about something, unless it was logged last, and reports
// whether there was none. That a pass was given up because watch ends is none to log.
func (w *watcher) mind(about string, err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	if err != nil {
		w.say(slog.LevelError, about, err.Error(), journal.Fields{Reason: journal.Failed})
		return false
	}
	w.well(about)
	return true
}

// say logs a message about something, unless it was said last.
func (w *watcher) say(level slog.Level, about, message string, f journal.Fields) {
	if w.wrong[about] != message {
		w.wrong[about] = message
		w.Log(level, message, f)
	}
}

// well notes that all is well with something again.
func (w *watcher) well(about string) { delete(w.wrong, about) }

func (w *watcher) configured() {
	for _, warning := range w.config.Warnings {
		w.say(slog.LevelWarn, warning, warning, journal.Fields{Reason: journal.Advice})
	}
	if w.Configured != nil {
		w.Configured(w.config)
	}
}

// standing gives the rules that stand, by name; nil when nothing was told
// that concerns them and no device needs to know.
func (w *watcher) standing(ctx context.Context, seen look) (map[string]kernel.Standing, error) {
	needed := seen.tables
	for _, d := range w.devices {
		needed = needed || !d.planned
	}
	if !needed {
		return nil, nil
	}
	tables, err := kernel.Tables(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]kernel.Standing, len(tables))
	for _, t := range tables {
		out[t.Name] = t
	}
	return out, nil
}

// reload takes another configuration. One that is wrong changes nothing.
func (w *watcher) reload(t text) {
	c, err := w.taken(t)
	if err != nil {
		w.sayMistakes(err)
		return
	}
	w.well("configuration")
	w.Log(slog.LevelInfo, fmt.Sprintf("read the configuration %s", strings.Join(c.Files, ", ")), journal.Fields{Reason: journal.Config})
	if w.former != nil {
		w.former = c // another one is on trial
		return
	}
	w.take(c)
}

// taken gives the configuration of a text, if it is to be taken.
func (o Options) taken(t text) (*config.Config, error) {
	c, err := t.parse()
	if err == nil && o.Take != nil {
		err = o.Take(c)
	}
	return c, err
}

// sayMistakes tells why a configuration was not taken: each of its mistakes, unless that
// was told last.
func (w *watcher) sayMistakes(err error) {
	message := fmt.Sprintf("%v; the last good configuration stays in force", err)
	f := journal.Fields{Reason: journal.Config}
	told := w.wrong["configuration"] == message
	w.say(slog.LevelError, "configuration", message, f)
	if wrong, ok := errors.AsType[*config.Error](err); ok && !told {
		for _, m := range wrong.Mistakes[1:] {
			w.Log(slog.LevelError, m.String(), f)
		}
	}
}
