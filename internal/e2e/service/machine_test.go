//go:build e2e

package service

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/e2e/sandbox"
	"macvtap-filter/internal/e2e/systemd"
	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
)

const (
	unit       = "macvtap-filter-watch.service"
	unitPath   = "/etc/systemd/system:" + systemd.UnitFolder + ":/usr/local/lib/systemd/system"
	configFile = "/etc/macvtap-filter/config.toml"

	// bound ends what hangs, and decides nothing else, however busy the machine is.
	bound = 5 * time.Minute
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(prepare, m.Run))
}

// prepare gets what needs the internet, which the sandbox has not.
func prepare(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "go", "mod", "download").CombinedOutput(); err != nil {
		return fmt.Errorf("go mod download: %w: %s", err, out)
	}
	return nil
}

// A machine is a hypervisor whose process 1 is systemd, with the program and its unit as `make install` leaves them.
type machine struct {
	t       *testing.T
	network *lab.Network
	systemd *systemd.Machine
}

// boot starts a machine with a configuration and no unit but journald; drop-ins for the unit come with it.
func boot(t *testing.T, config string, dropIns ...string) *machine {
	t.Helper()
	m := &machine{t: t}
	m.addNetwork()
	root := t.TempDir()
	if out, err := exec.Command("make", "-C", moduleRoot(t), "install", "DESTDIR="+root, "PARENT=enp88s0").CombinedOutput(); err != nil {
		t.Fatalf("make install: %v: %s", err, out)
	}
	if config != "" {
		m.check(os.WriteFile(filepath.Join(root, configFile), []byte(config), 0o644))
	}
	var err error
	m.systemd, err = systemd.Boot(m.network.Hypervisor, unitPath, `cp -a "$3/etc/." /etc; cp -a "$3/usr/local/." /usr/local`, root)
	m.check(err)
	t.Cleanup(m.halt)
	m.dropIn(dropIns...)
	return m
}

func (m *machine) addNetwork() {
	var err error
	m.network, err = lab.New(lab.Options{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.2/24")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.168.2.1")},
	})
	m.check(err)
	// The host has spoken to its router, to which all frames of the tests' VMs go.
	m.check(m.network.Hypervisor.SetNeighbour(m.network.Parent, netip.MustParseAddr("192.168.2.1"), net.HardwareAddr{2, 0, 0, 0, 0, 1}))
	m.t.Cleanup(func() {
		if err := m.network.Close(); err != nil {
			m.t.Error(err)
		}
	})
}

// halt ends every process of the machine, and says what they said if the test failed.
func (m *machine) halt() {
	if m.t.Failed() {
		journal, _ := m.try("journalctl", "--no-pager", "--output=short-monotonic")
		status, _ := m.try("systemctl", "status", "--no-pager", unit)
		m.t.Logf("the journal:\n%s\n%s", journal, status)
	}
	if err := m.systemd.Close(); err != nil {
		m.t.Error(err)
	}
	if m.t.Failed() {
		m.t.Logf("the console:\n%s", m.systemd.Console())
	}
}

func (m *machine) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// path is where the test finds a file of the machine.
func (m *machine) path(name string) string { return m.systemd.Path(name) }

func (m *machine) write(name, text string) {
	m.t.Helper()
	m.check(os.MkdirAll(filepath.Dir(m.path(name)), 0o755))
	m.check(os.WriteFile(m.path(name), []byte(text), 0o644))
}

// dropIn gives the unit settings for its section [Service] that override the file's.
func (m *machine) dropIn(settings ...string) {
	m.t.Helper()
	if len(settings) == 0 {
		return
	}
	m.write(filepath.Join(systemd.UnitFolder, unit+".d", "test.conf"), "[Service]\n"+strings.Join(settings, "\n")+"\n")
	m.run("systemctl", "daemon-reload")
}

// try runs a program on the machine, and gives all it printed.
func (m *machine) try(name string, args ...string) (string, error) {
	out, err := m.systemd.Command(name, args...).CombinedOutput()
	return string(out), err
}

// run is try of what must succeed.
func (m *machine) run(name string, args ...string) string {
	m.t.Helper()
	out, err := m.try(name, args...)
	if err != nil {
		m.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// show gives a property of the unit.
func (m *machine) show(property string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "--property="+property, "--value", unit))
}

// pid gives the service's process as the test sees it.
func (m *machine) pid() int {
	m.t.Helper()
	inside := m.show("MainPID")
	processes, err := filepath.Glob("/proc/[0-9]*/status")
	m.check(err)
	for _, file := range processes {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The last of NSpid is the number in its own namespace, that of the machine.
		ids := strings.Fields(field(string(text), "NSpid"))
		if len(ids) > 1 && ids[len(ids)-1] == inside && field(string(text), "Name") == "macvtap-filter" {
			pid, err := strconv.Atoi(ids[0])
			m.check(err)
			return pid
		}
	}
	m.t.Fatalf("no process %s", inside)
	return 0
}

// status gives a field of /proc/PID/status of the service's process.
func (m *machine) status(name string) string {
	m.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid()))
	m.check(err)
	return field(string(text), name)
}

func field(text, name string) string {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// until waits for what should happen.
func (m *machine) until(what string, happened func() bool) {
	m.t.Helper()
	m.within(bound, what, happened)
}

func (m *machine) within(most time.Duration, what string, happened func() bool) {
	m.t.Helper()
	for end := time.Now().Add(most); !happened(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("never: %s", what)
		}
	}
}

// logged reports whether the service's journal has a message with a text.
func (m *machine) logged(text string) bool {
	m.t.Helper()
	return strings.Contains(m.run("journalctl", "--no-pager", "--output=cat", "--unit="+unit), text)
}

// flush does what silently opens every interface: a firewall's reload, in most cases.
func (m *machine) flush() {
	m.t.Helper()
	m.run("nft", "flush", "ruleset")
}

// tables gives the names of the program's tables that stand, sorted.
func (m *machine) tables() []string {
	m.t.Helper()
	var names []string
	m.check(m.network.Hypervisor.Do(func() error {
		tables, err := kernel.Tables(context.Background())
		for _, s := range tables {
			names = append(names, s.Name)
		}
		return err
	}))
	slices.Sort(names)
	return names
}

// plug plugs a NIC in, as a VM's that libvirt calls no hook for.
func (m *machine) plug(name string, last byte) *lab.Tap {
	m.t.Helper()
	tap, err := m.network.AddMacvtap(name, net.HardwareAddr{0x52, 0x54, 0, 0, 0, last})
	m.check(err)
	m.check(tap.Up())
	m.check(tap.Open())
	return tap
}

// passes reports whether a datagram from a VM to an address arrives on the wire.
func (m *machine) passes(tap *lab.Tap, to string) bool {
	m.t.Helper()
	datagram, err := frame.Description{
		Source: netip.MustParseAddr("192.0.2.200"), Destination: netip.MustParseAddr(to),
		SourceMAC: tap.MAC, DestinationMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		Proto: unix.IPPROTO_UDP, SourcePort: 12345, Port: 12345,
	}.Bytes()
	m.check(err)
	arrived, err := m.network.FromVM(tap, datagram)
	m.check(err)
	return arrived
}

// closed reports whether an interface is closed to the LAN, and open to the internet.
func (m *machine) closed(tap *lab.Tap) bool {
	m.t.Helper()
	return !m.passes(tap, "192.168.2.77") && m.passes(tap, "192.0.2.1")
}

// moduleRoot is the checkout.
func moduleRoot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}
