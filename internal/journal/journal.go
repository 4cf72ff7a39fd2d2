// Package journal logs what happens where nobody sees stderr: to systemd's
// journal with fields to filter by, or to syslog where there is none.
package journal

import (
	"log/syslog"
	"maps"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// Fields are the journal's fields of an entry, such as VM, UUID and DEVICE, in
// capital letters.
type Fields map[string]string

// Info logs that something was done.
func Info(message string, f Fields) { send(journal.PriInfo, message, f) }

// Warning logs what an administrator should look at some day.
func Warning(message string, f Fields) { send(journal.PriWarning, message, f) }

// Error logs what an administrator should look at now.
func Error(message string, f Fields) { send(journal.PriErr, message, f) }

// patience is how long a log may take. One that does not listen must not keep
// libvirt waiting.
const patience = 200 * time.Millisecond

// send never fails and never waits long: a host without a log must still start its
// VMs.
func send(p journal.Priority, message string, f Fields) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		write(p, message, f)
	}()
	select {
	case <-done:
	case <-time.After(patience):
	}
}

func write(p journal.Priority, message string, f Fields) {
	if journal.Enabled() {
		all := Fields{"SYSLOG_IDENTIFIER": "macvtap-filter"}
		maps.Copy(all, f)
		if journal.Send(message, p, all) == nil {
			return
		}
	}
	w, err := syslog.New(syslog.Priority(p)|syslog.LOG_DAEMON, "macvtap-filter")
	if err != nil {
		return
	}
	defer func() { _ = w.Close() }()
	_, _ = w.Write([]byte(strings.ReplaceAll(message, "\n", " ")))
}
