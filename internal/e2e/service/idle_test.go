//go:build e2e

package service

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Aims of an idle service.
const (
	mostMemory = 24 << 10        // resident, in KiB; 21 with 501 devices
	mostReads  = 32 << 10        // the same, where it reads what rules have learned
	idleWindow = 5 * time.Second // of no activity

	moved = 300 * time.Millisecond // for a check of checksum offload to be moved, one after the other, in peace
)

// TestIdle shows that the service sleeps when nothing happens, and is small: with libvirt connected and one device, and
// with many that came at once.
func TestIdle(t *testing.T) {
	m := boot(t, "parents = [\"enp88s0\"]\n[policy.default]\nlearn = \"off\"\n", "WatchdogSec=1h") // whose heart would beat now and then
	m.idle(activity{}, mostMemory)
}

// TestIdleLearning shows that it does little more where rules learn the VMs' addresses: it looks now and then for what they
// have learned, of which the kernel tells nobody.
func TestIdleLearning(t *testing.T) {
	m := boot(t, "", "WatchdogSec=1h")
	m.idle(glances, mostReads)
}

// idle waits for the service to do and hold no more than that, with one device and with many more: 100, or with
// MACVTAP_FILTER_DEVICES as many ("make soak" says 500; their checks of offload alone take minutes).
func (m *machine) idle(most activity, memory int) {
	m.t.Helper()
	m.run("systemctl", "start", "libvirtd")
	m.until("libvirt answers", func() bool { _, err := m.try("virsh", "list"); return err == nil })
	m.run("systemctl", "start", unit)
	tap := m.plug("macvtap0", 1)
	m.until("the interface has rules", func() bool { return m.closed(tap) })
	m.sleeps("one device", bound, most, memory)

	more := 100
	if text := os.Getenv("MACVTAP_FILTER_DEVICES"); text != "" {
		var err error
		more, err = strconv.Atoi(text)
		m.check(err)
	}
	m.write("/run/burst", macvtaps(more))
	m.run("ip", "-batch", "/run/burst")
	m.until("all have rules", func() bool { return len(m.tables()) == more+1 })
	m.flush()
	m.until("all have rules again", func() bool { return len(m.tables()) == more+1 })
	m.sleeps(fmt.Sprintf("%d devices", more+1), bound+time.Duration(more+1)*moved, most, memory)
}

// macvtaps are ip(8)'s commands for devices that run. Their indexes are high, since /dev/tapN of a low one is anybody's.
func macvtaps(count int) string {
	var out strings.Builder
	base := 3<<28 | rand.IntN(1<<18)<<10
	for i := range count {
		fmt.Fprintf(&out, "link add link enp88s0 name tap%d index %d up type macvtap mode bridge\n", i, base+i)
	}
	return out.String()
}

// sleeps waits for the service to fall asleep: its threads were woken no more often than that, it used no more time, and it
// is small.
func (m *machine) sleeps(with string, within time.Duration, most activity, mostMemory int) {
	m.t.Helper()
	pid := m.pid()
	var was activity
	var memory int
	m.within(within, fmt.Sprintf("asleep with %s", with), func() bool {
		before := m.activity(pid)
		time.Sleep(idleWindow)
		was = m.activity(pid).since(before)
		memory = m.memory(pid)
		return was.wakings <= most.wakings && was.ticks <= most.ticks && memory < mostMemory || m.t.Failed()
	})
	m.t.Logf("%s: woken %d times and %d hundredths of a second used in %s; %d KiB resident", with, was.wakings, was.ticks, idleWindow, memory)
}

// glances are what it may take to look, twice at most in the window, for what rules have learned.
var glances = activity{wakings: 1000, ticks: 20}

// activity is what a process did: how often its threads went to sleep, and the processor's time that they used.
type activity struct{ wakings, ticks int }

func (a activity) since(b activity) activity {
	return activity{a.wakings - b.wakings, a.ticks - b.ticks}
}

func (m *machine) activity(pid int) activity {
	m.t.Helper()
	var a activity
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	m.check(err)
	for _, file := range threads {
		text, err := os.ReadFile(file)
		m.check(err)
		n, err := strconv.Atoi(field(string(text), "voluntary_ctxt_switches"))
		m.check(err)
		a.wakings += n
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	m.check(err)
	// After the name in parentheses, utime and stime are the 12th and 13th (proc(5)).
	_, rest, _ := strings.Cut(string(text), ") ")
	for _, value := range strings.Fields(rest)[11:13] {
		n, err := strconv.Atoi(value)
		m.check(err)
		a.ticks += n
	}
	return a
}

// memory is what a process holds of the machine's, in KiB.
func (m *machine) memory(pid int) int {
	m.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m.check(err)
	n, err := strconv.Atoi(strings.TrimSuffix(field(string(text), "VmRSS"), " kB"))
	m.check(err)
	return n
}
