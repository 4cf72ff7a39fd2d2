package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/libvirt"
)

// The files where libvirt finds the hooks of QEMU domains
// (https://libvirt.org/hooks.html).
const (
	hookFile = "/etc/libvirt/hooks/qemu.d/macvtap-filter"
	mainHook = "/etc/libvirt/hooks/qemu"
	hooks    = "/etc/libvirt/hooks/qemu.d/*"

	networkHook     = "/etc/libvirt/hooks/network.d/macvtap-filter" // of networks
	mainNetworkHook = "/etc/libvirt/hooks/network"
	networkHooks    = "/etc/libvirt/hooks/network.d/*"
)

// hookVersion is the first libvirt that looks into qemu.d, as libvirt counts.
const hookVersion = 6_005_000

// seenFile names the process that ran the hook last: libvirt's, so that check knows
// that it does. It is for that alone.
const (
	seenFile        = "/run/macvtap-filter-hook"
	seenNetworkFile = "/run/macvtap-filter-network-hook" // and the hook of networks
)

// noteCaller leaves a note of who ran the hook.
func noteCaller(name string) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return // it is a hint, no more
	}
	defer file.Close()
	_, _ = fmt.Fprintln(file, os.Getppid())
}

// checkHook looks at the hook's file and at the other hooks.
func checkHook(r *report) {
	info, err := os.Stat(hookFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.fail("hook: %s is missing: run \"make install\", or install the package again", hookFile)
	case err != nil:
		r.fail("hook: %v", err)
	case info.Mode()&0o111 == 0:
		r.fail("hook: %s is not executable, and libvirt passes it over: chmod 755 %s", hookFile, hookFile)
	default:
		r.ok("hook: %s", hookFile)
		if self, err := os.Executable(); err == nil && !sameFile(self, hookFile) {
			r.warn("hook: this program is another file, %s", self)
		}
	}
	switch info, err := os.Stat(networkHook); {
	case err != nil:
		r.warn("hook: %s is missing: a NIC of a network of macvtap devices is not closed before it is plugged in: run \"make install\", or install the package again", networkHook)
	case info.Mode()&0o111 == 0:
		r.warn("hook: %s is not executable, and libvirt passes it over: chmod 755 %s", networkHook, networkHook)
	default:
		r.ok("hook: %s", networkHook)
	}
	for _, other := range otherHooks() {
		text, err := os.ReadFile(other)
		switch {
		case err != nil:
			r.warn("hook: %v", err)
		case strings.Contains(string(text), "nft ") && strings.Contains(string(text), "netdev"):
			r.warn("hook: %s programs nftables for devices, too, as a filter of macvtap devices in shell would: its rules and ours judge every frame, and each can drop it; remove it when ours is what you want", other)
		default:
			r.ok("hook: %s runs beside ours; if it fails, the VM does not start either", other)
		}
	}
}

// otherHooks lists the executable hooks of QEMU domains that are not this program.
func otherHooks() []string {
	files, _ := filepath.Glob(hooks) // the pattern is right
	var out []string
	for _, f := range append([]string{mainHook}, files...) {
		info, err := os.Stat(f)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && !sameFile(f, hookFile) {
			out = append(out, f)
		}
	}
	return out
}

func sameFile(a, b string) bool {
	a, errA := filepath.EvalSymlinks(a)
	b, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && a == b
}

// checkDaemon looks whether this libvirt runs the hook: it looks for hooks when it
// starts, and if it found one of QEMU's then, runs whatever is there later.
func checkDaemon(ctx context.Context, r *report, client *libvirt.Client) {
	v, err := client.Version(ctx)
	switch {
	case err != nil:
		r.fail("%v", err)
		return
	case v < hookVersion:
		r.fail("libvirt: version %s does not look into qemu.d: link %s to %s", libvirt.FormatVersion(v), hookFile, mainHook)
		return
	}
	r.ok("libvirt: version %s", libvirt.FormatVersion(v))
	pid := daemonPID(client)
	if runs := checkVMHooks(r, pid); runs || daemonName(pid) != "libvirtd" { // or the same restart mends it
		checkNetworkDaemon(r, pid)
	}
}

// checkVMHooks looks whether a process runs the hook of VMs. It does where nobody can tell.
func checkVMHooks(r *report, pid int) bool {
	started, err := startOf(pid)
	if err != nil {
		r.warn("libvirt: whether it runs the hook cannot be seen: %v", err)
		return true
	}
	if hasRun(pid, seenFile) {
		r.ok("libvirt: process %d has run the hook", pid)
		return true
	}
	for _, hook := range append(otherHooks(), hookFile) {
		if placed, err := placedAt(hook); err == nil && placed.Before(started) {
			r.ok("libvirt: process %d started when there was a hook, and runs it", pid)
			return true
		}
	}
	r.fail("libvirt: process %d started before %s was put there, and has not run it since: VMs start unprotected: systemctl restart %s; running VMs go on", pid, hookFile, daemonName(pid))
	return false
}

// hasRun reports whether a process was the last to run the hook, by the note of that.
func hasRun(pid int, note string) bool {
	seen, err := os.ReadFile(note)
	return err == nil && strings.TrimSpace(string(seen)) == strconv.Itoa(pid)
}

// checkNetworkDaemon looks whether the daemon that plugs NICs into networks runs their hook: the
// one that runs VMs, or one of its own where there is one for each.
func checkNetworkDaemon(r *report, pid int) {
	if _, err := os.Stat(networkHook); err != nil {
		return // that was told
	}
	if daemonName(pid) != "libvirtd" {
		if pid = processNamed("virtnetworkd"); pid == 0 {
			r.ok("libvirt: virtnetworkd does not run; it finds the hook of networks when it starts")
			return
		}
	}
	started, err := startOf(pid)
	if err != nil {
		r.warn("libvirt: whether it runs the hook of networks cannot be seen: %v", err)
		return
	}
	if hasRun(pid, seenNetworkFile) {
		r.ok("libvirt: process %d has run the hook of networks", pid)
		return
	}
	others, _ := filepath.Glob(networkHooks) // the pattern is right
	for _, hook := range append(others, mainNetworkHook) {
		if placed, err := placedAt(hook); err == nil && placed.Before(started) {
			r.ok("libvirt: process %d started when there was a hook of networks, and runs it", pid)
			return
		}
	}
	r.warn("libvirt: process %d started before %s was put there: a NIC of a network that is plugged into a running VM is not closed before it comes, and gets no rules by itself: systemctl restart %s; running VMs go on", pid, networkHook, processName(pid))
}

// daemonName is what libvirt's daemon is called here, a word for systemctl.
func daemonName(pid int) string {
	if processName(pid) == "virtqemud" {
		return "virtqemud"
	}
	return "libvirtd"
}

// daemonPID gives the process of libvirt's daemon. Where systemd made the socket, it is
// found by its name.
func daemonPID(client *libvirt.Client) int {
	pid := client.PID()
	if name := processName(pid); name == "libvirtd" || name == "virtqemud" {
		return pid
	}
	if found := processNamed("libvirtd", "virtqemud"); found != 0 {
		return found
	}
	return pid
}

// processNamed finds a process by its name, 0 for none.
func processNamed(names ...string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is right
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && slices.Contains(names, processName(pid)) {
			return pid
		}
	}
	return 0
}

func processName(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // "" for one that is gone
	return strings.TrimSpace(string(text))
}

// ticks is how many of the kernel's clock ticks a second has for processes
// (proc(5), sysconf(_SC_CLK_TCK)): 100 wherever libvirt runs.
const ticks = 100

// startOf tells when a process started. The times of its folder in /proc do not: they
// are when somebody looked there first.
func startOf(pid int) (time.Time, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, err
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return time.Time{}, err
	}
	// The name before ')' may hold anything; field 22 counts from 1 (proc(5)).
	fields := strings.Fields(string(stat)[strings.LastIndex(string(stat), ")")+1:])
	const startTime = 22 - 3
	if len(fields) <= startTime {
		return time.Time{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	since, err := strconv.ParseFloat(fields[startTime], 64)
	if err != nil {
		return time.Time{}, err
	}
	up, err := strconv.ParseFloat(strings.Fields(string(uptime))[0], 64)
	if err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(-time.Duration((up - since/ticks) * float64(time.Second))), nil
}

// placedAt tells when a file was put where it is. The time of its last change would
// be that of its building.
func placedAt(file string) (time.Time, error) {
	info, err := os.Stat(file)
	if err != nil {
		return time.Time{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, errors.New("no times")
	}
	return time.Unix(stat.Ctim.Unix()), nil
}
