package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"macvtap-filter/internal/lab"
)

// A site is a hypervisor with VMs, and the program as libvirt finds it.
type site struct {
	*testing.T
	n       *lab.Network
	program string
	config  string
	taps    []*lab.Tap
}

// manyVMs is how many hooks are called at once, as a soak says.
func manyVMs(t *testing.T) int {
	t.Helper()
	text := os.Getenv("MACVTAP_FILTER_VMS")
	if text == "" {
		return 80
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("MACVTAP_FILTER_VMS: %v", err)
	}
	return n
}

func newSite(t *testing.T, config string) *site {
	t.Helper()
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	s := &site{T: t, n: n, program: filepath.Join(t.TempDir(), "macvtap-filter"), config: filepath.Join(t.TempDir(), "config.toml")}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test is the program when it is called by its name (see TestMain).
	if err := os.Symlink(self, s.program); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.Hypervisor.Hide("/run/systemd/journal"); err != nil {
		t.Fatal(err)
	}
	if err := n.Hypervisor.Overlay("/dev/log", nil); err != nil {
		t.Fatal(err)
	}
	for i := range manyVMs(t) {
		tap, err := n.AddMacvtap(fmt.Sprintf("macvtap%d", i), net.HardwareAddr{0x52, 0x54, 0, 0, byte(i >> 8), byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		s.taps = append(s.taps, tap)
	}
	return s
}

// hook calls the program for a VM as libvirt does.
func (s *site) hook(vm int, operation, suboperation string) {
	tap := s.taps[vm]
	cmd := exec.Command(s.program, fmt.Sprintf("vm-%d", vm), operation, suboperation, "-")
	cmd.Env = append(os.Environ(), "MACVTAP_FILTER_CONFIG="+s.config)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`<domain>
  <name>vm-%d</name>
  <uuid>0d3f7c1e-5b2a-4c61-9e0f-%012x</uuid>
  <devices>
    <interface type='direct'><mac address='%s'/><source dev='%s'/><target dev='%s'/></interface>
  </devices>
</domain>`, vm, vm, tap.MAC, s.n.Parent, tap.Name))
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := s.n.Hypervisor.Run(cmd); err != nil || said.Len() > 0 {
		s.Errorf("VM %d: %s %s: %v: %s", vm, operation, suboperation, err, said.String())
	}
}

// all calls the hook for many VMs at once.
func (s *site) all(call func(vm int)) {
	var group sync.WaitGroup
	for vm := range s.taps {
		group.Go(func() { call(vm) })
	}
	group.Wait()
}

// TestHooksAtOnce starts, reconnects and stops hundreds of VMs at once beside a guard,
// which the first of them raises: in the end the right ones have rules, and the
// others are closed.
func TestHooksAtOnce(t *testing.T) {
	needGuard(t)
	s := newSite(t, "parents = [\"enp88s0\"]\nguard = true\n[policy.default]\ngateway_macs = [\"02:00:00:00:00:77\"]\ndeny = [\"192.168.0.0/16\"]\nallow = []\nipv6 = \"drop\"\n")
	s.all(func(vm int) { s.hook(vm, "start", "begin") })
	s.run()
	s.states(func(int) bool { return true })
	s.all(func(vm int) {
		if vm%2 == 0 {
			s.hook(vm, "reconnect", "begin")
			return
		}
		s.hook(vm, "stopped", "end")
		s.hook(vm, "release", "end")
	})
	s.states(func(vm int) bool { return vm%2 == 0 })
	s.all(func(vm int) {
		if vm%2 != 0 {
			s.hook(vm, "start", "begin")
		}
	})
	s.states(func(int) bool { return true })
}

// run brings the VMs' devices up, as libvirt does after the hook.
func (s *site) run() {
	s.Helper()
	for _, tap := range s.taps {
		if err := errors.Join(tap.Up(), tap.Open()); err != nil {
			s.Fatal(err)
		}
	}
}

// states sends a frame of the internet from every VM and from each to a denied host,
// and wants what has rules to be open to the one alone, and all else closed.
func (s *site) states(hasRules func(vm int) bool) {
	s.Helper()
	s.claim()
	var frames [2][][]byte
	for _, tap := range s.taps {
		frames[0] = append(frames[0], udpFrom(tap.MAC, net.IPv4(192, 0, 2, 1)))
		frames[1] = append(frames[1], udpFrom(tap.MAC, net.IPv4(192, 168, 2, 77)))
	}
	seen, err := s.n.Watch(func() error {
		for vm, tap := range s.taps {
			for _, frame := range [][]byte{frames[0][vm], frames[1][vm]} {
				if err := tap.Send(frame); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	for vm := range s.taps {
		if got := seen.OnWire(frames[0][vm]); got != hasRules(vm) {
			s.Errorf("VM %d reaches the internet: %t", vm, got)
		}
		if seen.OnWire(frames[1][vm]) {
			s.Errorf("VM %d reaches a denied host", vm)
		}
	}
}

// claim has each VM that has no address yet take its own, as a guest with a static one does: by its second request by
// ARP, a while after the first.
func (s *site) claim() {
	s.Helper()
	for again := range 2 {
		if again > 0 {
			time.Sleep(600 * time.Millisecond)
		}
		for _, tap := range s.taps {
			if err := tap.Send(announcement(tap.MAC, sourceOf(tap.MAC))); err != nil {
				s.Fatal(err)
			}
		}
	}
}

// announcement is a request by ARP, to all, from an address for itself.
func announcement(mac net.HardwareAddr, address net.IP) []byte {
	frame := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, mac, []byte(address.To4()))
	return append(slices.Concat(frame, make([]byte, 6), []byte(address.To4())), make([]byte, 18)...)
}

// sourceOf is the address from which a VM's datagrams are.
func sourceOf(mac net.HardwareAddr) net.IP { return net.IPv4(203, 0, 113, mac[5]) }

// udpFrom is an empty datagram from a VM.
func udpFrom(mac net.HardwareAddr, to net.IP) []byte {
	frame := append([]byte{2, 0, 0, 0, 0, 0x77}, mac...)
	frame = append(frame, 8, 0)
	frame = append(frame, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0)
	frame = slices.Concat(frame, []byte(sourceOf(mac).To4()), []byte(to.To4()))
	frame = append(frame, 0x9c, 0x40, 0, 53, 0, 8, 0, 0)
	return append(frame, make([]byte, 60-len(frame))...)
}
