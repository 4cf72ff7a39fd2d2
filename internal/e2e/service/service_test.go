//go:build e2e

package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/e2e/systemd"
	"macvtap-filter/internal/lab"
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
	if !m.passes(tap, "203.0.113.7") {
		t.Fatal("the default policy denies what this test wants it to pass")
	}

	m.flush()
	m.until("flushed rules are back", func() bool { return slices.Equal(m.tables(), []string{"macvtap-filter-macvtap0"}) })
	if !m.closed(tap) {
		t.Error("the rules are back, and the interface is open")
	}
	// A flush that watch finds by itself, while it looks at something else, was nobody's.
	m.until("the journal tells who it was", func() bool {
		m.flush()
		return m.logged("rules were removed or changed by nft")
	})
	m.until("the rules are back for good", func() bool { return m.closed(tap) })

	before := m.show("MainPID")
	denies := "parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"192.168.0.0/16\", \"203.0.113.0/24\"]\n"
	m.write(configFile, "parents = [")
	m.run("systemctl", "reload", unit)
	m.until("the journal tells of a broken configuration", func() bool { return m.logged("the last good configuration stays in force") })
	if !m.closed(tap) {
		t.Error("a broken configuration opened the interface")
	}
	m.write(configFile, denies)
	m.run("systemctl", "reload", unit)
	m.until("the new configuration counts", func() bool { return !m.passes(tap, "203.0.113.7") })
	if after := m.show("MainPID"); after != before {
		t.Errorf("the process was %s, and is %s", before, after)
	}

	out, err := m.try("macvtap-filter", "watch")
	if want := "another watch runs already, process " + before; exitCode(err) != 1 || !strings.Contains(out, want) {
		t.Errorf("a second watch: %v, %q, want exit code 1 and %q", err, out, want)
	}

	m.run("systemctl", "stop", unit)
	if result := m.show("Result"); result != "success" {
		t.Errorf("after a stop the service's result is %q", result)
	}
	if !m.closed(tap) || m.passes(tap, "203.0.113.7") {
		t.Error("open after the service was stopped")
	}
}

// TestLostEvents shows that the right rules stand in the end though the kernel could not tell of all that happened: the
// process was held while more did than its sockets take.
func TestLostEvents(t *testing.T) {
	m := boot(t, "", "WatchdogSec=1h")
	m.run("systemctl", "start", unit)
	tap := m.plug("macvtap0", 1)
	m.until("the interface has rules", func() bool { return m.closed(tap) })
	m.check(unix.Kill(m.pid(), unix.SIGSTOP))

	// Rules of some table of ours, and changes of some link, until the kernel drops what it would tell.
	m.write("/run/noise.nft", "add table netdev macvtap-filter-noise\nadd chain netdev macvtap-filter-noise c\n"+
		strings.Repeat("add rule netdev macvtap-filter-noise c counter\n", 10_000))
	m.write("/run/noise.ip", strings.Repeat("link set noise0 mtu 1400\nlink set noise0 mtu 1500\n", 500))
	m.run("ip", "link", "add", "noise0", "type", "veth", "peer", "name", "noise1")
	m.until("both of the service's sockets are full", func() bool {
		m.run("nft", "-f", "/run/noise.nft")
		m.run("ip", "-batch", "/run/noise.ip")
		return m.deaf() == 2
	})
	m.flush()
	late := m.plug("macvtap1", 2)
	if !m.passes(tap, "192.168.2.77") || !m.passes(late, "192.168.2.77") {
		t.Fatal("the interfaces are not open: this test shows nothing")
	}
	m.check(unix.Kill(m.pid(), unix.SIGCONT))
	m.until("all have rules", func() bool { return m.closed(tap) && m.closed(late) })
	m.until("and nothing else stands", func() bool { return len(m.tables()) == 2 })
}

// deaf counts the netlink sockets of the machine that the kernel could not tell everything (/proc/net/netlink, Drops).
func (m *machine) deaf() (count int) {
	m.t.Helper()
	for line := range strings.Lines(m.run("cat", "/proc/net/netlink")) {
		if columns := strings.Fields(line); len(columns) > 8 && columns[8] != "0" && columns[8] != "Drops" {
			count++
		}
	}
	return count
}

// TestReloadAlone shows that SIGHUP has the configuration read where no change of the file told of it.
func TestReloadAlone(t *testing.T) {
	m := boot(t, "")
	m.run("systemctl", "start", unit)
	read := "read the configuration " + configFile
	if m.logged(read) {
		t.Fatal("the configuration was read again before anybody asked")
	}
	m.run("systemctl", "reload", unit)
	m.until("the configuration is read", func() bool { return m.logged(read) })
}

// TestStopsGuarded shows that a guard and the rules stand on when the service ends, however it ends.
func TestStopsGuarded(t *testing.T) {
	m := boot(t, "parents = [\"enp88s0\"]\nguard = true\n", "Restart=no")
	if out, err := m.try("macvtap-filter", "check"); strings.Contains(out, "guard: this kernel cannot") {
		lab.NoGuard(t, fmt.Sprint(err, ": ", out))
	}
	tap := m.plug("macvtap0", 1)
	for _, end := range []string{"stop", "kill"} {
		m.run("systemctl", "start", unit)
		m.until("the interface has rules", func() bool { return m.closed(tap) })
		if out, err := m.try("nft", "delete", "table", "netdev", "macvtap-filter-guard"); err == nil {
			t.Errorf("the guard was removed while the service runs: %s", out)
		}
		if end == "stop" {
			m.run("systemctl", "stop", unit)
		} else {
			m.run("systemctl", "kill", "--signal=KILL", unit)
			m.until("the service is dead", func() bool { return m.show("ActiveState") == "failed" })
		}
		if !m.closed(tap) {
			t.Errorf("after %s the interface is open, or without the internet", end)
		}
		late := m.plug("macvtap1", 2)
		if m.passes(late, "192.0.2.1") {
			t.Errorf("after %s an interface that nobody made rules for is open", end)
		}
		m.check(late.Delete())
	}
}

// TestRestarts shows that the service comes again when it is killed, when it hangs, and when it cannot start.
func TestRestarts(t *testing.T) {
	// Long enough for a process that does not hang, on a busy machine.
	m := boot(t, "", "WatchdogSec=30", "RestartSec=100ms")
	m.run("systemctl", "start", unit)
	tap := m.plug("macvtap0", 1)
	m.until("the interface has rules", func() bool { return m.closed(tap) })

	restarts := func(want int, ends func()) {
		t.Helper()
		before := m.show("MainPID")
		ends()
		m.until(fmt.Sprintf("restart %d", want), func() bool {
			return m.show("NRestarts") == fmt.Sprint(want) && m.show("ActiveState") == "active" && m.show("MainPID") != before
		})
		m.flush()
		m.until("the next one mends", func() bool { return m.closed(tap) })
	}
	for i := range 7 { // systemd gives up after 5 starts in 10 seconds, by default
		restarts(i+1, func() { m.run("systemctl", "kill", "--signal=KILL", unit) })
	}
	restarts(8, func() { m.check(unix.Kill(m.pid(), unix.SIGSTOP)) })
	if !m.logged("Watchdog timeout") {
		t.Error("not the watchdog ended the process that hung")
	}
}

// exitCode gives a program's exit code from what exec said.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// The capabilities that the service is left with (capabilities(7)), as a mask.
const capabilities = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON

// TestSandbox shows that what the unit takes away is gone, in the process itself.
func TestSandbox(t *testing.T) {
	m := boot(t, "")
	m.run("systemctl", "start", unit)
	for name, want := range map[string]string{
		"CapBnd": fmt.Sprintf("%016x", capabilities), "CapPrm": fmt.Sprintf("%016x", capabilities),
		"CapEff": fmt.Sprintf("%016x", capabilities), "CapAmb": fmt.Sprintf("%016x", 0),
		"NoNewPrivs": "1", "Seccomp": "2", "Umask": "0077",
	} {
		if got := m.status(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", m.pid()))
	m.check(err)
	mounts := parseMounts(string(text))
	for name, options := range map[string]string{
		"/": "ro", "/run": "rw", // ProtectSystem, ReadWritePaths
		"/home": "ro", "/root": "ro", // ProtectHome
		"/tmp": "rw", "/var/tmp": "rw", // PrivateTmp
		"/dev":           "ro", // PrivateDevices
		"/sys/fs/cgroup": "ro", // ProtectControlGroups
	} {
		got, found := mounts[name]
		if !found || !slices.Contains(strings.Split(got.options, ","), options) {
			t.Errorf("%s is mounted %+v, want %s", name, got, options)
		}
	}
	if proc := mounts["/proc"].super; !strings.Contains(proc, "hidepid=invisible") || !strings.Contains(proc, "subset=pid") {
		t.Errorf("/proc is mounted with %q, want hidepid=invisible, subset=pid", proc)
	}
	for _, name := range []string{"/tmp", "/var/tmp"} {
		if root := mounts[name].root; !strings.Contains(root, "systemd-private-") {
			t.Errorf("%s is %q of its file system, and not private", name, root)
		}
	}
	devices, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/dev", m.pid()))
	m.check(err)
	for _, d := range devices {
		if strings.HasPrefix(d.Name(), "vd") || strings.HasPrefix(d.Name(), "sd") || d.Name() == "mem" || d.Name() == "kvm" {
			t.Errorf("the service sees /dev/%s", d.Name())
		}
	}
}

// A mount is a line of proc(5)'s mountinfo.
type mount struct{ root, options, super string }

// parseMounts gives the mounts by where they are, the uppermost of each.
func parseMounts(mountinfo string) map[string]mount {
	out := map[string]mount{}
	for line := range strings.Lines(mountinfo) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		out[l[4]] = mount{root: l[3], options: l[5], super: r[len(r)-1]}
	}
	return out
}

// TestCapabilities shows that the service needs each of its capabilities, and says which it lacks.
func TestCapabilities(t *testing.T) {
	m := boot(t, "")
	m.plug("macvtap0", 1)
	for lacks, rest := range map[string]string{
		"CAP_NET_ADMIN": "CAP_BPF CAP_PERFMON", "CAP_BPF": "CAP_NET_ADMIN CAP_PERFMON", "CAP_PERFMON": "CAP_NET_ADMIN CAP_BPF",
	} {
		// Without the first it does not start; without the others it goes on, as far as it can.
		m.dropIn("CapabilityBoundingSet=", "CapabilityBoundingSet="+rest, "Restart=no")
		m.run("journalctl", "--rotate", "--vacuum-time=1us")
		m.run("systemctl", "start", "--no-block", unit)
		m.until("the journal says that "+lacks+" is missing", func() bool { return m.logged(lacks) })
		m.until("the service has no say without "+lacks, func() bool {
			return lacks != "CAP_NET_ADMIN" || m.show("ActiveState") == "failed"
		})
		m.run("systemctl", "stop", unit)
	}
}

// TestLibvirt shows that the service reaches libvirt's socket, which belongs to root and a group and is open to these
// alone, and takes a VM's policy from there; that it goes on when libvirt ends, and finds it again.
func TestLibvirt(t *testing.T) {
	m := boot(t, "parents = [\"enp88s0\"]\n[policy.strict]\ndeny = [\"192.168.0.0/16\", \"203.0.113.0/24\"]\n[[vm]]\nname = \"web-1\"\npolicy = \"strict\"\n")
	// Without its hook libvirt is the only one that can say whose a device is.
	m.run("cp", "--remove-destination", "/etc/libvirt/hooks/qemu.d/macvtap-filter", "/usr/local/sbin/macvtap-filter")
	m.run("rm", "-r", "/etc/libvirt/hooks")
	_, err := hypervisor.HighIndexes(m.network.Hypervisor)
	m.check(err)
	m.run("systemctl", "start", unit)
	m.until("the journal tells that libvirt is missing", func() bool { return m.logged("libvirt: no daemon answers") })
	m.run("systemctl", "start", "libvirtd")
	m.until("libvirt answers", func() bool { _, err := m.try("virsh", "list"); return err == nil })
	if got := m.run("stat", "--format=%U:%G %a", "/run/libvirt/libvirt-sock"); got != "root:libvirt 770\n" {
		t.Fatalf("the socket is %q: this test shows nothing", got)
	}
	m.write("/run/web-1.xml", vmXML)
	m.run("virsh", "create", "/run/web-1.xml")
	standing := func() string { out, _ := m.try("nft", "list", "table", "netdev", "macvtap-filter"); return out }
	m.until("the VM has its own policy", func() bool {
		return strings.Contains(standing(), "vm=web-1") && strings.Contains(standing(), "203.0.113.0")
	})
	m.until("the journal finds what is about the VM by its fields", func() bool {
		return strings.Contains(m.run("journalctl", "--no-pager", "--output=json", "-t", "macvtap-filter", "VM=web-1", "DEVICE=web0", "REASON=protected"), `"UUID":"`)
	})
	m.run("systemctl", "stop", "libvirtd")
	m.flush()
	m.until("its rules are back without libvirt", func() bool { return strings.Contains(standing(), "vm=web-1") })
	m.run("systemctl", "start", "libvirtd")
	m.until("libvirt answers again", func() bool { _, err := m.try("virsh", "list"); return err == nil })
	m.until("the VM is gone", func() bool {
		_, _ = m.try("virsh", "destroy", "web-1")
		out, err := m.try("virsh", "list", "--name")
		return err == nil && strings.TrimSpace(out) == ""
	})
	m.until("the VM's rules go with it", func() bool { return len(m.tables()) == 0 })
}

// TestBoot shows a host that starts: systemd listens at libvirt's socket from early on, and starts the daemon after the
// service, which asks it before that. Neither waits for the other.
func TestBoot(t *testing.T) {
	m := boot(t, "")
	m.write(filepath.Join(systemd.UnitFolder, "libvirtd.socket"), "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/libvirt/libvirt-sock\n")
	m.write(filepath.Join(systemd.UnitFolder, "host.target"), "[Unit]\nDefaultDependencies=no\nWants=libvirtd.service "+unit+"\n")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "start", "libvirtd.socket")
	m.run("systemctl", "start", "host.target")
	m.until("libvirt answers", func() bool { _, err := m.try("virsh", "list"); return err == nil })
	if m.logged("no answer in time") {
		t.Error("the service waited for libvirt, and libvirt for it")
	}
}

// TestJournal shows that a real journal finds what a hook call logged by the fields, and only there: a VM's name is
// whatever it is, and no more.
func TestJournal(t *testing.T) {
	m := boot(t, "parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"192.168.0.0/16\"]\nallow = [\"gateway\"]\nipv6 = \"drop\"\n")
	m.plug("macvtap0", 1)
	m.write("/run/odd.xml", "<domain><name>a&#10;VM=web-1&#10;MESSAGE=forged</name><uuid>0d3f7c1e-5b2a-4c61-9e0f-000000000001</uuid><devices>"+
		"<interface type='direct'><mac address='52:54:00:00:00:01'/><source dev='enp88s0'/><target dev='macvtap0'/></interface></devices></domain>")
	m.run("sh", "-c", "macvtap-filter odd reconnect begin - </run/odd.xml")
	find := func(match ...string) string {
		return m.run("journalctl", append([]string{"--no-pager", "--output=cat", "-t", "macvtap-filter"}, match...)...)
	}
	for _, match := range [][]string{{"VM=a\nVM=web-1\nMESSAGE=forged"}, {"UUID=0d3f7c1e-5b2a-4c61-9e0f-000000000001"}, {"DEVICE=macvtap0", "REASON=protected"}} {
		m.until("the journal has the entry", func() bool {
			return find(match...) == `VM "a\nVM=web-1\nMESSAGE=forged": interface "macvtap0" is protected`+"\n"
		})
	}
	for _, match := range []string{"VM=web-1", "VM=a", "MESSAGE=forged"} {
		if got := find(match); strings.Contains(got, "protected") {
			t.Errorf("%s finds %q", match, got)
		}
	}
}

// TestMetrics shows that the service has its figures read: at a socket as it is, and at a port once it may use IP as
// the manual page has it, which without that the journal asks for; and that IP is for this host alone even then.
func TestMetrics(t *testing.T) {
	const config = "parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"192.168.0.0/16\"]\nallow = []\nipv6 = \"drop\"\n"
	page, err := os.ReadFile(filepath.Join(moduleRoot(t), "internal", "packaging", "man", "macvtap-filter.8"))
	m := boot(t, "listen = \"unix:/run/metrics\"\n"+config)
	m.check(err)
	tap := m.plug("macvtap0", 1)
	m.run("systemctl", "start", unit)
	m.until("the interface has rules", func() bool { return m.closed(tap) })
	m.until("the socket has the figures", func() bool { return m.figures("unix", m.path("/run/metrics")) })

	m.write(configFile, "listen = \"127.0.0.1:9477\"\n"+config)
	m.run("systemctl", "reload", unit)
	m.until("the journal says what the service lacks", func() bool {
		return m.logged(`"systemctl edit macvtap-filter-watch", and below [Service] write RestrictAddressFamilies=AF_INET AF_INET6 and IPAddressAllow=localhost`)
	})
	m.run("ip", "link", "set", "lo", "up")
	settings := []string{"RestrictAddressFamilies=AF_INET AF_INET6", "IPAddressAllow=localhost"}
	if !strings.Contains(string(page), "\n[Service]\n"+strings.Join(settings, "\n")+"\n") {
		t.Fatalf("the manual page does not say so: %q", settings)
	}
	m.dropIn(settings...)
	m.run("systemctl", "restart", unit)
	m.until("the port has the figures", func() bool { return m.figures("tcp", "127.0.0.1:9477") })
	if !m.closed(tap) {
		t.Error("the interface is open")
	}
	if deny, allow := m.show("IPAddressDeny"), m.show("IPAddressAllow"); !strings.Contains(deny, "0.0.0.0/0") || !strings.Contains(allow, "127.0.0.0/8") || strings.Contains(allow, "0.0.0.0/0") {
		t.Errorf("the service may speak to %q, and not to %q", allow, deny)
	}

	// The timer's service, as the manual page has it.
	_, rest, _ := strings.Cut(string(page), "[Service]\nType=oneshot\n")
	service, rest, _ := strings.Cut(rest, "\n\n[Timer]\n")
	timer, _, found := strings.Cut(rest, "\n[Install]")
	if !found {
		t.Fatal("the manual page has no timer")
	}
	m.write(filepath.Join(systemd.UnitFolder, "macvtap-filter-metrics.service"), "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n"+
		strings.NewReplacer(`\e`, `\`, "/var/lib/prometheus/node-exporter", "/run").Replace(service)+"\n")
	m.write(filepath.Join(systemd.UnitFolder, "macvtap-filter-metrics.timer"), "[Unit]\nDefaultDependencies=no\n[Timer]\n"+timer+"\n")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "start", "macvtap-filter-metrics.timer")
	m.until("the timer has written the figures", func() bool {
		text, err := os.ReadFile(m.path("/run/macvtap-filter.prom"))
		return err == nil && strings.Contains(string(text), "\nmacvtap_filter_watch_up 1\n")
	})
}

// figures reports whether an address has the figures of a watch that runs, complete.
func (m *machine) figures(network, address string) bool {
	m.t.Helper()
	dial := func(context.Context, string, string) (conn net.Conn, err error) {
		err = m.network.Hypervisor.Do(func() (err error) { conn, err = net.DialTimeout(network, address, bound); return err })
		return conn, err
	}
	client := &http.Client{Timeout: bound, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	answer, err := client.Get("http://localhost/metrics")
	if err != nil {
		return false
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	m.check(err)
	for _, want := range []string{"\nmacvtap_filter_watch_up 1\n", "\nmacvtap_filter_scrape_success 1\n", `device="macvtap0",state="unknown-owner"} 1` + "\n", `device="macvtap0",direction="from-vm",reason="denied-ipv4"} `} {
		if !strings.Contains(string(text), want) {
			m.t.Logf("no %q", want)
			return false
		}
	}
	return true
}

// vmXML is a VM that has nothing to boot, which is enough to have a NIC.
const vmXML = `<domain type='qemu'><name>web-1</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><interface type='direct'><source dev='enp88s0' mode='bridge'/><target dev='web0'/></interface></devices></domain>`

// TestUninstall shows that the program is not taken away below a service that runs, and that nothing of it is left
// afterwards but the configuration and the rules.
func TestUninstall(t *testing.T) {
	m := boot(t, "")
	uninstall := func() (string, error) { return m.try("make", "-C", moduleRoot(t), "uninstall", "DESTDIR=") }
	m.run("systemctl", "enable", "--now", unit)
	tap := m.plug("macvtap0", 1)
	m.until("the interface has rules", func() bool { return m.closed(tap) })
	for _, still := range []string{"enabled and running", "enabled"} {
		if out, err := uninstall(); err == nil || !strings.Contains(out, "systemctl disable --now macvtap-filter-watch") {
			t.Fatalf("uninstalled while the service is %s: %v: %s", still, err, out)
		}
		m.run("systemctl", "stop", unit)
	}
	m.run("systemctl", "disable", "--now", unit)
	if out, err := uninstall(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, file := range []string{"/usr/local/sbin/macvtap-filter", "/etc/libvirt/hooks/qemu.d/macvtap-filter",
		"/usr/local/lib/systemd/system/" + unit, "/etc/systemd/system/multi-user.target.wants/" + unit} {
		if _, err := os.Lstat(m.path(file)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", file, err)
		}
	}
	if _, err := os.Stat(m.path(configFile)); err != nil {
		t.Error(err)
	}
	if !m.closed(tap) {
		t.Error("the rules of what runs went, too")
	}
}

// TestUnitFile holds the unit file to what systemd says of it: no mistakes, and little left that it may do.
func TestUnitFile(t *testing.T) {
	const most = 1.5 // of 10, "OK"; 0.8 of it for being root and for the host's network
	file := filepath.Join(moduleRoot(t), "cmd", "macvtap-filter", unit)
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput()
	// The program is not installed here, and nothing else may be said.
	said := strings.TrimSpace(string(out))
	if allowed := unit + ": Command /usr/local/sbin/macvtap-filter is not executable: No such file or directory"; said != "" && said != allowed {
		t.Errorf("systemd-analyze verify: %v: %s", err, said)
	}
	out, err = exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", file).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze security: %v: %s", err, out)
	}
	_, verdict, _ := strings.Cut(string(out), "Overall exposure level for "+unit+": ")
	fields := strings.Fields(verdict)
	if len(fields) < 2 {
		t.Fatalf("systemd-analyze security gives no verdict: %s", out)
	}
	level, err := strconv.ParseFloat(fields[0], 64)
	if err != nil || level > most || fields[1] != "OK" && fields[1] != "SAFE" {
		t.Errorf("exposure %q, want %.1f OK at most: %s", fields[:2], most, out)
	}
	t.Logf("exposure %s %s", fields[0], fields[1])
}
