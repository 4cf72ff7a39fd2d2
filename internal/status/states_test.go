package status_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/offload"
	"macvtap-filter/internal/status"
	"macvtap-filter/internal/watch"
)

// is holds what a look finds of the only interface against what is wanted.
func is(t *testing.T, s status.Status, state status.State, problem string) {
	t.Helper()
	i := only(t, s)
	if i.State != state || !strings.Contains(i.Problem, problem) || problem == "" && i.Problem != "" {
		t.Errorf("state %q, problem %q; want %q, %q; notes %q", i.State, i.Problem, state, problem, s.Notes)
	}
}

// TestStates shows, without a watch, each state that a device's rules can be in, as
// others bring them there.
func TestStates(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	running := &fakeLibvirt{vms: []string{web}}

	s := look(t, n, dmz, running)
	is(t, s, status.Unprotected, "no rules stand")
	if i := only(t, s); i.VM != "web-1" || i.Number != 2 || i.Policy != "dmz" || i.Parent != "enp88s0" || i.MAC != webMAC.String() || i.Index != tap.Index {
		t.Errorf("of a device without rules libvirt knows more: %+v", i)
	}
	is(t, look(t, n, dmz, &fakeLibvirt{away: true}), status.Unprotected, "no rules stand")
	is(t, look(t, n, strings.Replace(dmz, "enp88s0", "eth*", 1), running), status.Unfiltered, "")
	mistyped := look(t, n, strings.Replace(dmz, "enp88s0", "enp88so", 1), running)
	is(t, mistyped, status.Unprotected, `no NIC "enp88so": did you mean "enp88s0"?`)
	if len(mistyped.AbsentParents) != 1 || mistyped.Right() || len(mistyped.Notes) != 1 {
		t.Errorf("of a mistyped parent: %+v", mistyped)
	}

	hook(t, n, web)
	running.asked = 0
	s = look(t, n, dmz, running)
	is(t, s, status.Protected, "")
	if i := only(t, s); i.VM != "web-1" || i.UUID != webUUID || i.Policy != "dmz" || i.Since != nil || !s.Complete || !s.Right() {
		t.Errorf("%+v of %+v", i, s)
	}
	if running.asked > 0 {
		t.Error("libvirt was asked for XML: with a thousand VMs that takes seconds")
	}
	is(t, look(t, n, strings.Replace(dmz, "enp88s0", "eth*", 1), running), status.Stale, "its rules stay")
	is(t, look(t, n, strings.Replace(dmz, "enp88s0", "enp88so", 1), running), status.Stale, `did you mean "enp88s0"?; its rules stay`)
	is(t, look(t, n, strings.Replace(dmz, "enp88s0", "enp88so", 1), &fakeLibvirt{away: true}), status.Stale, "its rules stay")
	s = look(t, n, dmz, &fakeLibvirt{away: true})
	is(t, s, status.Protected, "")
	if s.Complete || len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "no daemon answers") {
		t.Errorf("without libvirt: complete %v, notes %q", s.Complete, s.Notes)
	}
	is(t, look(t, n, dmz, &fakeLibvirt{}), status.Stale, "not running")
	is(t, look(t, n, strings.Replace(dmz, "10.0.0.0/8", "10.0.0.0/9", 1), running), status.Drifted, "other rules")
	wrong := look(t, n, "parents = 1", running)
	is(t, wrong, "", "nobody could compare")
	if wrong.ConfigError == "" || wrong.ConfigHash == "" || s.ConfigError != "" || s.ConfigHash == wrong.ConfigHash || len(s.Sets) == 0 {
		t.Errorf("a wrong configuration: %q, sum %s; a right one: %q, sum %s, sets %v", wrong.ConfigError, wrong.ConfigHash, s.ConfigError, s.ConfigHash, s.Sets)
	}

	// By hand, one rule goes.
	nft(t, n, "flush chain netdev macvtap-filter dmz-to-vm-arp")
	is(t, look(t, n, dmz, running), status.Drifted, "other rules")
	is(t, look(t, n, dmz, &fakeLibvirt{away: true}), "", "verify")

	nft(t, n, "delete table netdev macvtap-filter")
	is(t, look(t, n, dmz, running), status.Unprotected, "no rules stand")

	hook(t, n, web)
	if err := tap.Delete(); err != nil {
		t.Fatal(err)
	}
	s = look(t, n, dmz, running)
	if i := only(t, s); i.State != status.Stale || i.VM != "web-1" || i.Index != 0 || i.FromVM.Passed != nil || s.Right() {
		t.Errorf("of a device that is gone: %+v", i)
	}
}

// startWatch runs a watch in a network's hypervisor, that no libvirt tells anything but
// what vms say.
func startWatch(t testing.TB, n *lab.Network, text string, l watch.Libvirt) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		inside(t, n, func() error {
			return watch.Run(ctx, watch.Options{
				ConfigFile: file,
				Connect:    func(time.Duration) (watch.Libvirt, error) { return l, nil },
				Ready:      func() { close(ready) },
				Log: func(level slog.Level, message string, _ journal.Fields) {
					if level < slog.LevelError {
						return
					}
					t.Log("watch: " + message)
				},
			})
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatal("watch ended")
	case <-time.After(bound):
		t.Fatal("watch is not ready")
	}
}

// A watchedLibvirt tells watch of VMs.
type watchedLibvirt map[string]string // XML by UUID

func (l watchedLibvirt) Running(time.Duration) (uuids []string, err error) {
	for uuid := range l {
		uuids = append(uuids, uuid)
	}
	return uuids, nil
}
func (l watchedLibvirt) LiveXML(uuid string, _ time.Duration) (string, error) { return l[uuid], nil }
func (l watchedLibvirt) Changed() <-chan string                               { return nil }
func (l watchedLibvirt) Ended() <-chan struct{}                               { return nil }
func (l watchedLibvirt) Close()                                               {}

// TestByWatch shows that with a watch nobody else is asked, that it tells more, and that
// its word does not count where the kernel says otherwise.
func TestByWatch(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	nobody := &fakeLibvirt{away: true}
	startWatch(t, n, dmz, watchedLibvirt{webUUID: web})
	s := look(t, n, "not read", nobody)
	is(t, s, status.Protected, "")
	if i := only(t, s); i.VM != "web-1" || i.Number != 2 || i.Policy != "dmz" || i.Since == nil || s.Watch == nil || !s.Complete {
		t.Errorf("%+v of %+v", i, s)
	}

	// The check of checksum offload goes, of which nobody tells watch.
	inside(t, n, func() error {
		unlock, err := kernel.Lock(context.Background())
		if err != nil {
			return err
		}
		defer unlock()
		return offload.Detach(tap.Index)
	})
	is(t, look(t, n, "not read", nobody), status.Drifted, "offload")

	// A device that no VM has.
	stranger := plug(t, n, "macvtap1", []byte{0x52, 0x54, 0, 0, 0, 2})
	for end := time.Now().Add(bound); ; {
		s = look(t, n, "not read", nobody)
		i := s.Interfaces[0]
		if i.Index == stranger.Index && i.State == status.Unknown {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the device that no VM has: %+v", s)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestUnknownOwner shows rules that a watch made for a device whose VM nobody named, when
// the watch is gone: they are said to stand while they do, and no longer.
func TestUnknownOwner(t *testing.T) {
	n := network(t)
	plug(t, n, "macvtap0", webMAC)
	c, err := config.Parse("config.toml", []byte(dmz))
	if err != nil {
		t.Fatal(err)
	}
	program(t, n, c, domain.Unknown(domain.Interface{Number: 1, Target: "macvtap0", Parent: "enp88s0", MAC: webMAC}))
	for _, l := range []*fakeLibvirt{{away: true}, {}} {
		s := look(t, n, dmz, l)
		is(t, s, status.Unknown, "nobody has said whose it is: the default policy's rules stand")
		if i := only(t, s); i.VM != "" || i.UUID != "" || i.Policy != "default" || s.Right() {
			t.Errorf("%+v", i)
		}
	}
	is(t, look(t, n, dmz, &fakeLibvirt{vms: []string{web}}), status.Drifted, "rules")

	nft(t, n, "insert rule netdev macvtap-filter from-vm-macvtap0 accept")
	for _, l := range []*fakeLibvirt{{away: true}, {}} {
		is(t, look(t, n, dmz, l), status.Drifted, "other rules stand than the default policy's")
	}
}

// TestGuardStands shows a guard, without the configuration's wish: devices without rules
// are closed, and rules of their own mark what they accept.
func TestGuardStands(t *testing.T) {
	n := network(t)
	plug(t, n, "macvtap0", webMAC)
	inside(t, n, func() error { return kernel.RaiseGuard(context.Background(), filter.Guard([]string{"macvtap"})) })
	for _, l := range []*fakeLibvirt{{away: true}, {vms: []string{web}}} {
		is(t, look(t, n, dmz, l), status.Unprotected, "the guard closes it")
	}
	s := look(t, n, dmz, &fakeLibvirt{away: true})
	if s.Guard == nil || len(s.Guard.FromVM) == 0 || len(s.Guard.ToVM) == 0 {
		t.Errorf("guard %+v", s.Guard)
	}
	c, err := config.Parse("config.toml", []byte("guard = true\n"+dmz))
	if err != nil {
		t.Fatal(err)
	}
	d, err := domain.Parse(strings.NewReader(web))
	if err != nil {
		t.Fatal(err)
	}
	program(t, n, c, d)
	is(t, look(t, n, dmz, &fakeLibvirt{away: true}), status.Protected, "")
}

// TestBesideWatch shows rules that a hook made before a watch that no libvirt tells
// whose they are: it leaves them, and does not know whether they are right, so that they
// are compared.
func TestBesideWatch(t *testing.T) {
	n := network(t)
	plug(t, n, "macvtap0", webMAC)
	hook(t, n, web)
	startWatch(t, n, dmz, watchedLibvirt{})
	running := &fakeLibvirt{vms: []string{web}}
	s := look(t, n, dmz, running)
	is(t, s, status.Protected, "")
	if i := only(t, s); i.Since != nil || i.VM != "web-1" || i.Policy != "dmz" {
		t.Errorf("by comparison, of which nobody knows since when it is so: %+v", i)
	}
	is(t, look(t, n, strings.Replace(dmz, "10.0.0.0/8", "10.0.0.0/9", 1), running), status.Drifted, "other rules")
}
