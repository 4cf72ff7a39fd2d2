// Package journal logs what happens where nobody sees stderr: to systemd's
// journal with fields to filter by, or to syslog where there is none.
//
// Logging never waits. Entries are written one after the other by a goroutine; the
// process gives it a moment to end with Flush.
package journal

import (
	"fmt"
	"log/syslog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/journal"
)

// Fields are the journal's fields of an entry beside its text, each under its name
// in capital letters; empty ones are left out.
type Fields struct {
	VM, UUID, Device string
	Reason           Reason
}

// A Reason is why there is an entry, in one word to filter by.
type Reason string

// The reasons. What they say of a VM or a device holds from the entry on.
const (
	Protected Reason = "protected" // its rules stand, just programmed or found to be right
	Restored  Reason = "restored"  // somebody else removed or changed its rules, and they are back
	Removed   Reason = "removed"   // its rules were removed, since it is gone
	Open      Reason = "open"      // it is on no configured parent
	Kept      Reason = "kept"      // no new rules could be made, and the old ones stand
	Closed    Reason = "closed"    // no rules could be made, and nothing passes
	Refused   Reason = "refused"   // a VM that cannot be protected does not start
	Failed    Reason = "failed"    // what was tried does not work; the text says what is done about it
	Advice    Reason = "advice"    // the rules stand, and something about them is to be looked at
	Wider     Reason = "wider"     // new rules let more pass than those before
	Config    Reason = "config"    // the configuration was read, or cannot be
	Network   Reason = "network"   // the host's network changed
	Libvirt   Reason = "libvirt"   // libvirt does not say what runs
	Guard     Reason = "guard"     // the guard of all devices was raised or taken away
	Metrics   Reason = "metrics"   // where the metrics are to be had, or why they are not
	Lost      Reason = "lost"      // entries were lost, since the log did not listen
)

// Info logs that something was done.
func Info(message string, f Fields) { send(journal.PriInfo, message, f) }

// Warning logs what an administrator should look at some day.
func Warning(message string, f Fields) { send(journal.PriWarning, message, f) }

// Error logs what an administrator should look at now.
func Error(message string, f Fields) { send(journal.PriErr, message, f) }

// An entry waits to be written. One with done says when all before it were.
type entry struct {
	priority journal.Priority
	message  string
	fields   Fields
	done     chan<- struct{}
}

// queue gives the queue of a writer that it starts. It holds what a bad moment of a
// thousand devices says.
var queue = sync.OnceValue(func() chan<- entry {
	begun.Store(true)
	q := make(chan entry, 2048)
	go writeAll(q)
	return q
})

var (
	begun atomic.Bool
	lost  atomic.Int64
)

// send hands an entry to the writer. Where a log does not listen, entries are lost,
// and counted: a host without a log must still start its VMs.
func send(p journal.Priority, message string, f Fields) {
	select {
	case queue() <- entry{priority: p, message: message, fields: f}:
	default:
		lost.Add(1)
	}
}

// Flush waits until all is written, but no longer than a limit.
func Flush(limit time.Duration) {
	if !begun.Load() {
		return
	}
	done := make(chan struct{})
	late := time.After(limit)
	select {
	case queue() <- entry{done: done}:
	case <-late:
		return
	}
	select {
	case <-done:
	case <-late:
	}
}

func writeAll(q <-chan entry) {
	for e := range q {
		if e.done != nil {
			close(e.done)
			continue
		}
		write(e)
		if n := lost.Swap(0); n > 0 {
			write(entry{priority: journal.PriWarning, message: fmt.Sprintf("%d messages were lost: the log did not take them", n), fields: Fields{Reason: Lost}})
		}
	}
}

// identifier is by what "journalctl -t" finds the entries.
const identifier = "macvtap-filter"

func write(e entry) {
	message := Line(e.message)
	if journal.Send(message, e.priority, e.fields.named()) == nil {
		return
	}
	w, err := syslog.New(syslog.Priority(e.priority)|syslog.LOG_DAEMON, identifier)
	if err != nil {
		return
	}
	defer func() { _ = w.Close() }()
	_, _ = w.Write([]byte(message))
}

// named gives the fields that say something by their names. The values are as they
// are: the journal's protocol takes any bytes, and no value can be another field.
func (f Fields) named() map[string]string {
	out := map[string]string{"SYSLOG_IDENTIFIER": identifier}
	for name, value := range map[string]string{"VM": f.VM, "UUID": f.UUID, "DEVICE": f.Device, "REASON": string(f.Reason)} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

// Line makes a message one line: lines are joined, and what a terminal would obey
// (control characters, changes of the writing direction) becomes '?'. So no name in
// it can look like another message.
func Line(s string) string {
	s = strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
