//go:build e2e

package e2e

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
)

// A pluggedGuard is what is there to see that a NIC is plugged into a running VM.
type pluggedGuard struct {
	name string
	// begin starts it, to end with the test.
	begin func(t *testing.T, s *site)
	// before is what the NIC is until it has its rules.
	before plugged
	// alone says that it gets them by itself, and not by `macvtap-filter apply`.
	alone bool
}

type plugged int

const (
	open plugged = iota
	closed
)

// pluggedGuards are all that there are.
var pluggedGuards = []pluggedGuard{
	{name: "nothing", begin: func(*testing.T, *site) {}, before: open},
	// Seen, it is protected soon: not from its first frame on.
	{name: "watch", before: open, alone: true, begin: startWatch},
	{name: "guard = true", before: closed, begin: raiseGuard},
	{name: "guard = true and watch", before: closed, alone: true, begin: func(t *testing.T, s *site) {
		raiseGuard(t, s)
		startWatch(t, s)
	}},
}

// with gives what there is where libvirt tells its hook of networks before, which closes the NIC
// where the kernel can, and leaves a process behind that makes its rules.
func (g pluggedGuard) with(t *testing.T, told bool) pluggedGuard {
	t.Helper()
	if !told {
		return g
	}
	g.alone = true
	switch err := kernel.TryGuard(t.Context(), filter.Guard([]string{"macvtap"})); {
	case err == nil:
		g.before = closed
	case !errors.Is(err, kernel.ErrNoGuard):
		t.Fatal(err)
	}
	return g
}

// startWatch has the watch run until the test ends.
func startWatch(t *testing.T, s *site) {
	t.Helper()
	watch, err := s.hv.StartService(t.Context(), commandPath, "watch", "--config", configPath)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := watch.Stop(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("watch said:\n%s", watch.Log())
		}
	})
}

// raiseGuard has devices closed until the test ends.
func raiseGuard(t *testing.T, s *site) {
	t.Helper()
	before := s.readConfig(t)
	s.writeConfig(t, "guard = true\n"+before)
	t.Cleanup(func() {
		s.writeConfig(t, before)
		if _, err := s.hv.Run(context.Background(), "macvtap-filter", "apply", "--all"); err != nil {
			t.Error(err)
		}
	})
	_, err := s.hv.Run(t.Context(), "macvtap-filter", "apply", "--all")
	if err != nil && strings.Contains(err.Error(), kernel.ErrNoGuard.Error()) {
		lab.NoGuard(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// pluggings are the ways in which libvirt plugs a NIC in.
var pluggings = []struct {
	name, kind string
	// told says that libvirt tells its hook of networks before.
	told bool
	// deaf says that the guest hears no IPv6 multicast, for which libvirt would have to follow its filters.
	deaf   bool
	attach func(t *testing.T, s *site, vm *hypervisor.VM, nic hypervisor.NIC) error
}{
	{"attach-device", "direct", false, false, func(t *testing.T, _ *site, vm *hypervisor.VM, nic hypervisor.NIC) error {
		return vm.Attach(t.Context(), nic)
	}},
	// It has no words for the mode, which is libvirt's own choice then, vepa, and for the filters.
	{"attach-interface", "direct", false, true, func(t *testing.T, s *site, vm *hypervisor.VM, nic hypervisor.NIC) error {
		_, err := s.hv.Virsh(t.Context(), "attach-interface", vm.Name, "direct", nic.Source, "--model",
			"virtio", "--mac", nic.MAC.String(), "--live")
		return err
	}},
	{"a NIC of a network of macvtap devices", "network", true, false, func(t *testing.T, _ *site, vm *hypervisor.VM, nic hypervisor.NIC) error {
		return vm.Attach(t.Context(), nic)
	}},
}

// A NIC that is plugged in while the guest runs sends denied frames as soon as the guest's kernel has it.
func TestHotPlug(t *testing.T) {
	s := shieldedSite(t, "")
	s.definePool(t)
	nics := s.nics(1 + len(pluggings))
	vm := s.start(t, "plugged", nics[0])
	first := s.stream(t, vm, nics[0], s.attacks(t, nics[0]))
	for _, guard := range pluggedGuards {
		t.Run("guarded by "+guard.name, func(t *testing.T) {
			guard.begin(t, s)
			for i, plugging := range pluggings {
				nic := nics[1+i]
				nic.Name, nic.Type = "eth1", plugging.kind
				if nic.Type == "network" {
					nic.Source = poolName
				}
				t.Run(plugging.name, func(t *testing.T) {
					tables := len(s.rules(t))
					st := s.stream(t, vm, nic, s.plain(t, nic))
					if err := plugging.attach(t, s, vm, nic); err != nil {
						t.Fatal(err)
					}
					s.expectPlugged(t, vm, guard.with(t, plugging.told), st, tables+1)
					s.introduce(t, nic)
					if err := vm.Configure(t.Context(), nic); err != nil {
						t.Fatal(err)
					}
					if !plugging.deaf {
						s.expectShielded(t, vm)
					}
					st.silence(t)
					s.unplug(t, vm, nic, guard)
					s.awaitRules(t, tables)
				})
			}
			first.expectClosed(t, "the NIC that the guest has had from the start")
		})
	}
}

// expectPlugged fails unless a NIC that was plugged in is protected by rules in the end, by itself or by `macvtap-filter
// apply`, and is before what the guard says.
func (s *site) expectPlugged(t *testing.T, vm *hypervisor.VM, guard pluggedGuard, st *stream, tables int) {
	t.Helper()
	if !guard.alone {
		switch guard.before {
		case open:
			st.expectLeaks(t, "plugged in")
		case closed:
			st.expectStuck(t, "plugged in")
		}
		s.run(t, "macvtap-filter", "apply", vm.Name)
	}
	s.awaitRules(t, tables)
	if guard.before == open {
		st.forget(t, "rules made")
	}
	st.expectClosed(t, "plugged in and protected")
}

// unplug takes the NIC from the guest. Its rules go with it, at the latest when the VM's are made anew.
func (s *site) unplug(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, guard pluggedGuard) {
	t.Helper()
	if err := vm.Detach(t.Context(), nic); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(answerTime); ; time.Sleep(20 * time.Millisecond) {
		list, err := s.hv.Virsh(t.Context(), "domiflist", vm.Name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(list, nic.MAC.String()) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%s still has %s:\n%s", vm.Name, nic.MAC, list)
		}
	}
	if !guard.alone {
		s.run(t, "macvtap-filter", "apply", vm.Name)
	}
}

// poolName is the libvirt network whose NICs are macvtap devices.
const poolName = "pool"

// definePool starts that network.
func (s *site) definePool(t *testing.T) {
	t.Helper()
	xml := `<network><name>` + poolName + `</name><forward mode='bridge'><interface dev='` + s.network.Parent + `'/></forward></network>`
	if _, err := s.hv.Feed(t.Context(), xml, "virsh", "--connect", "qemu:///system", "net-define", "/dev/stdin"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.hv.Virsh(t.Context(), "net-start", poolName); err != nil {
		t.Fatal(err)
	}
}
