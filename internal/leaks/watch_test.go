package leaks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// A watch is the service, and what systemd does for it.
type watch struct {
	site *site

	mu      sync.Mutex
	process *exec.Cmd
	said    bytes.Buffer
	alive   atomic.Bool
	hold    sync.Mutex    // while it is not to be started again
	over    chan struct{} // closed when the test is
	ended   chan struct{}
}

// restart is how long systemd waits before it starts the service again when it died
// (RestartSec of the unit).
const restart = time.Second

// startWatch starts the service, has it started again when it is killed, and ends it
// with the test. When it returns the service is ready.
func (s *site) startWatch() *watch {
	s.t.Helper()
	w := &watch{site: s, over: make(chan struct{}), ended: make(chan struct{})}
	s.must(w.start())
	go w.supervise()
	s.t.Cleanup(w.stop)
	s.watch = w
	w.ready()
	return w
}

var errDone = errors.New("the test is over")

func (w *watch) start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.over:
		return errDone
	default:
	}
	w.process = w.site.command(program, "watch")
	w.process.Stdout, w.process.Stderr = &w.said, &w.said
	w.alive.Store(true)
	return w.site.Hypervisor.Start(w.process)
}

func (w *watch) supervise() {
	defer close(w.ended)
	for {
		_ = w.process.Wait() // it is killed, and then started again
		w.alive.Store(false)
		select {
		case <-w.over:
		case <-time.After(restart): // meant to be over
		}
		w.hold.Lock()
		err := w.start()
		w.hold.Unlock()
		if errors.Is(err, errDone) {
			return
		}
		if err != nil {
			w.site.t.Error(err)
			return
		}
	}
}

// signal sends the process that runs now a signal.
func (w *watch) signal(s syscall.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.process.Process.Signal(s) // it may have been killed before
}

func (w *watch) pid() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.process.Process.Pid
}

func (w *watch) kill() { w.signal(unix.SIGKILL) }

// down does something while the service is dead, and systemd did not start it yet.
func (w *watch) down(while func()) {
	w.hold.Lock()
	defer w.hold.Unlock()
	w.kill()
	w.site.must(until("watch is dead", func() bool { return !w.alive.Load() }))
	while()
}

func (w *watch) stop() {
	close(w.over)
	w.signal(unix.SIGTERM)
	w.signal(unix.SIGCONT)
	<-w.ended
	if w.site.t.Failed() {
		w.site.t.Logf("%s: what watch said, last:\n%s", w.site.defence.name, w.said.Bytes()[max(0, w.said.Len()-4000):])
	}
}

// ready waits until the service watches: until it has removed a table that is a dead
// VM's.
func (w *watch) ready() {
	s := w.site
	s.t.Helper()
	// As a version before made it, with a device's name: no device is needed.
	owner := filter.Owner{UUID: "4b1d2f6a-6c1d-4c5e-9d3b-ffffffffffff", Name: "dead"}.Comment()
	s.nft(fmt.Sprintf("table netdev %s {\n\tcomment \"%s\"\n}\n", ruleset.TableName("macvtap-dead"), owner))
	s.must(until("watch is ready", func() bool {
		return !slices.Contains(s.tables(), "macvtap-dead") && (!s.defence.guard || s.guarded())
	}))
}

// guarded reports whether the guard stands and is watch's.
func (s *site) guarded() bool {
	s.t.Helper()
	owned := false
	s.must(s.Hypervisor.Do(func() error {
		guard, _, err := kernel.LookGuard(context.Background())
		owned = guard.Owner != 0
		return err
	}))
	return owned
}
