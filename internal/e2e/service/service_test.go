//go:build e2e

package service

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReady shows that the service counts as started when what runs is protected, and not before.
func TestReady(t *testing.T) {
	m := boot(t, "")
	tap := m.plug("macvtap0", 1)
	if !m.passes(tap, "192.168.2.77") {
		t.Fatal("without rules nothing arrives: this test shows nothing")
	}
	// While somebody else holds the lock nothing can be programmed. It also shows that the service reaches the lock,
	// in a file system that is read-only to it but for /run.
	lock, err := os.OpenFile(m.path("/run/macvtap-filter.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	m.check(err)
	defer lock.Close()
	m.check(unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	m.run("systemctl", "start", "--no-block", unit)
	m.until("the service waits for the lock", func() bool { return waitsFor(t, lock) })
	if state := m.show("ActiveState"); state != "activating" {
		t.Errorf("nothing is protected yet, and the service is %q", state)
	}
	m.check(unix.Flock(int(lock.Fd()), unix.LOCK_UN))
	m.until("the service is active", func() bool { return m.show("ActiveState") == "active" })
	if !m.closed(tap) {
		t.Error("the service is active, and the interface is open")
	}
}

// waitsFor reports whether a process waits for a lock that this one holds (proc(5), /proc/locks).
func waitsFor(t *testing.T, lock *os.File) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(lock.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	inode := fmt.Sprintf(":%d ", stat.Ino)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "->") && strings.Contains(line, inode) {
			return true
		}
	}
	return false
}

// TestService shows the life of the service: what it mends, what it reads, and what it leaves.
func TestService(t *testing.T) {
	m := boot(t, "")
	m.run("systemctl", "start", unit)
	tap := m.plug("macvtap0", 1)
	m.until("a plugged NIC has rules", func() bool { return m.closed(tap) })

	m.nft("flush ruleset")
	m.until("flushed rules are back", func() bool { return slices.Equal(m.tables(), []string{"macvtap-filter-macvtap0"}) })
	if !m.closed(tap) {
		t.Error("the rules are back, and the interface is open")
	}
	m.until("the journal tells who it was", func() bool { return m.logged("rules were removed or changed by nft") })
}
