package leaks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// A site is a hypervisor with a defence, and the LAN that it is on.
type site struct {
	*lab.Network
	t       testing.TB
	defence defence
	folder  string
	counter *counter
	toVM    int // packet socket that sends to the hypervisor
	watch   *watch

	settling sync.Mutex
}

const (
	parent   = "enp88s0"
	resolver = "192.168.2.53"
)

// policies are those of the VMs, whose addresses are learned from their leases: each denies what the other allows. A VM that
// nobody knows has the default policy.
const policies = `
[policy.ten]
deny = ["192.168.0.0/16", "10.0.0.0/8"]
allow = ["gateway", "broadcast"]
[policy.private]
deny = ["192.168.0.0/16", "172.16.0.0/12"]
allow = ["gateway", "broadcast"]
[[vm]]
name = "ten-*"
policy = "ten"
[[vm]]
name = "private-*"
policy = "private"
`

var (
	// lan is denied and the internet allowed by all.
	lan     = peers{netip.MustParseAddr("192.168.2.77"), netip.MustParseAddr("192.0.2.1")}
	ten     = peers{netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("172.20.9.9")}
	private = peers{ten.allowed, ten.denied}
)

func newSite(t *testing.T, d defence) *site {
	t.Helper()
	needRoot(t)
	n, err := lab.New(lab.Options{
		Parent:    parent,
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.2/24")},
		Gateways:  []netip.Addr{gateway},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Network: n, t: t, defence: d, folder: t.TempDir()}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	s.must(s.isolate())
	s.must(n.Hypervisor.SetNeighbour(n.Parent, gateway, lanMAC))
	s.configure(policies)
	s.counter, err = openCounter(n)
	s.must(err)
	t.Cleanup(s.counter.close)
	s.toVM, err = openPacket(n.LAN, "uplink", 0)
	s.must(err)
	t.Cleanup(func() { unix.Close(s.toVM) })
	if d.watch {
		s.watch = s.startWatch()
	}
	return s
}

func needRoot(t *testing.T) {
	t.Helper()
	if unix.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("needs root")
	}
	t.Skip("SKIPPED: needs root, nothing was tried in the kernel")
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// isolate keeps what runs in the hypervisor from the machine's libvirt, log and
// locks.
func (s *site) isolate() error {
	log, err := filepath.EvalSymlinks("/dev/log")
	if err == nil && !strings.HasPrefix(log, "/run/") {
		if err := s.Hypervisor.Overlay(log, nil); err != nil {
			return err
		}
	}
	return errors.Join(
		s.Hypervisor.Hide("/run"), s.Hypervisor.Hide("/var/run"),
		s.Hypervisor.Overlay("/etc/resolv.conf", fmt.Appendf(nil, "nameserver %s\n", resolver)),
	)
}

func (s *site) configFile() string { return filepath.Join(s.folder, "config.toml") }

// configure writes the configuration as an editor does that leaves no moment
// without one.
func (s *site) configure(policies string) {
	s.t.Helper()
	text := fmt.Sprintf("parents = [%q]\nguard = %t\n%s", parent, s.defence.guard, policies)
	s.must(os.WriteFile(s.configFile()+".new", []byte(text), 0o600))
	s.must(os.Rename(s.configFile()+".new", s.configFile()))
}

// settle waits until all that was sent on the calling thread has arrived, or was
// dropped.
func (s *site) settle() error {
	s.settling.Lock()
	defer s.settling.Unlock()
	return s.Settle()
}

// command is a program in the hypervisor.
func (s *site) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	// The variables that libvirt sets for a hook.
	cmd.Env = []string{
		"LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		config.Variable + "=" + s.configFile(),
	}
	return cmd
}

// nft runs a script as one transaction.
func (s *site) nft(script string) {
	s.t.Helper()
	cmd := s.command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := s.Hypervisor.Run(cmd); err != nil {
		s.t.Fatalf("nft: %v: %s", err, said.String())
	}
}

// A vm is one that libvirt runs, or a NIC of one.
type vm struct {
	name, uuid, device string
	mac                net.HardwareAddr
	peers              peers
}

// newVM gives the n-th VM, of a policy of its own if the defence knows policies.
func (s *site) newVM(n int, device string) vm {
	v := vm{
		name: fmt.Sprintf("ten-%d", n), uuid: fmt.Sprintf("4b1d2f6a-6c1d-4c5e-9d3b-%012x", n),
		device: device, mac: net.HardwareAddr{0x52, 0x54, 0, 1, byte(n >> 8), byte(n)}, peers: ten,
	}
	if n%2 == 1 {
		v.name, v.peers = fmt.Sprintf("private-%d", n), private
	}
	if !s.defence.ours() {
		v.peers = lan
	}
	return v
}

// xml is the domain's, as libvirt gives it to hooks. That of a VM that stopped
// names no device.
func (v vm) xml(device string) string {
	target := ""
	if device != "" {
		target = fmt.Sprintf("<target dev='%s'/>", device)
	}
	return fmt.Sprintf("<domain type='kvm'><name>%s</name><uuid>%s</uuid><devices><interface type='direct'><mac address='%s'/><source dev='%s' mode='bridge'/>%s<model type='virtio'/></interface></devices></domain>",
		v.name, v.uuid, v.mac, parent, target)
}

// hookCommand is a hook call, as libvirt makes it.
func (s *site) hookCommand(v vm, operation, sub string) (*exec.Cmd, *bytes.Buffer) {
	cmd := s.command(s.defence.hook, v.name, operation, sub, "-")
	device := v.device
	if sub == "end" {
		device = ""
	}
	cmd.Stdin = strings.NewReader(v.xml(device))
	said := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = said, said
	return cmd, said
}

// hook calls the defence's hook, if it has one.
func (s *site) hook(v vm, operation, sub string) {
	s.t.Helper()
	if s.defence.hook == "" {
		return
	}
	cmd, said := s.hookCommand(v, operation, sub)
	if err := s.Hypervisor.Run(cmd); err != nil {
		s.t.Fatalf("hook %s %s %s: %v: %s", v.name, operation, sub, err, said)
	}
}

// plug makes a VM's device and has it send while that is down.
func (s *site) plug(v vm) *session {
	s.t.Helper()
	tap, err := s.AddMacvtap(v.device, v.mac)
	s.must(err)
	s.must(tap.Open())
	return s.begin(tap, v.peers)
}

// up brings a session's device up: frames may pass from now on.
func (s *site) up(v *session) {
	s.t.Helper()
	v.up.begun = v.slot.Load()
	s.must(v.tap.Up())
	v.up.done = v.slot.Load() + 1
}

// repaired waits until a device's denied frames are dropped and its allowed ones pass,
// where somebody sees to that; otherwise for a while.
func (s *site) repaired(v *session) {
	s.t.Helper()
	if s.watch == nil {
		s.must(v.sent(10 * calm))
		return
	}
	s.must(v.right())
}

// protected is a VM that runs and whose device has rules, as far as the defence makes
// some: it then follows what happens to the network and the configuration.
func (s *site) protected(v vm) *session {
	s.t.Helper()
	v.peers = lan
	guest := s.plug(v)
	if s.watch == nil {
		s.hook(v, "start", "begin")
	}
	s.up(guest)
	if s.watch != nil {
		s.must(guest.right())
		// The device was open before, or closed, for as long as hotPlug says.
		guest.forget()
	}
	return guest
}

// tables names the devices that have a table.
func (s *site) tables() (devices []string) {
	s.t.Helper()
	s.must(s.Hypervisor.Do(func() error {
		tables, err := kernel.Tables(context.Background())
		for _, t := range tables {
			if device, ok := ruleset.TableDevice(t.Name); ok {
				devices = append(devices, device)
			}
		}
		return err
	}))
	return devices
}

// rounds gives how many rounds an event has: few, or in a long run a part of those
// that it is to have. What does not defend needs less.
func (s *site) rounds(short, part int) int {
	switch {
	case !s.defence.ours() && soak > 0:
		return 50
	case !s.defence.ours():
		return 2
	case soak == 0 && !s.defence.guard && !*update:
		return (short + 2) / 3
	}
	return max(short, soak/part)
}
