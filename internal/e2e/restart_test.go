//go:build e2e

package e2e

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"macvtap-filter/internal/e2e/hypervisor"
)

// A restart of libvirtd kills no VM and leaves it protected, whatever befell the configuration or the rules meanwhile. The
// guest sends all the while: while its rules stand, nothing of it leaks.
func TestLibvirtRestart(t *testing.T) {
	s := shieldedSite(t, "")
	s.recordCalls(t)
	vm := s.start(t, "lasting", s.nics(2)...)
	process, err := vm.Process()
	if err != nil {
		t.Fatal(err)
	}
	good, rules := s.readConfig(t), s.rules(t)
	st := s.stream(t, vm, vm.NICs[1], s.plain(t, vm.NICs[1]))
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		// between is done while libvirtd is down.
		between func(t *testing.T)
		// kept says that the rules stand as they stood, and flushed that they did not stand meanwhile.
		kept, flushed bool
	}{
		{name: "stopped", signal: syscall.SIGTERM, between: func(t *testing.T) { s.expectShielded(t, vm) }},
		{name: "killed", signal: syscall.SIGKILL, between: func(t *testing.T) { st.expectClosed(t, "without libvirtd") }},
		{name: "rules flushed", signal: syscall.SIGKILL, flushed: true, between: func(t *testing.T) {
			s.run(t, "nft", "flush", "ruleset")
			st.expectLeaks(t, "without rules")
		}},
		{name: "configuration broken", signal: syscall.SIGTERM, kept: true, between: func(t *testing.T) {
			s.writeConfig(t, good+"alowed = []\n")
		}},
		{name: "configuration gone", signal: syscall.SIGKILL, kept: true, between: func(t *testing.T) {
			s.run(t, "rm", configPath)
		}},
		// Last: without an address on its parent, the host does not know what is on the link.
		{name: "host without addresses", signal: syscall.SIGKILL, kept: true, between: func(t *testing.T) {
			s.run(t, "ip", "address", "flush", "dev", s.network.Parent)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.calls(t, vm)
			before := s.rules(t)
			s.restartLibvirt(t, c.signal, func() { c.between(t) })
			s.awaitCall(t, vm, "reconnect begin")
			s.awaitRules(t, len(rules))
			if c.flushed {
				st.forget(t, c.name)
			}
			st.expectClosed(t, c.name)
			s.expectShielded(t, vm)
			if c.kept {
				s.expectRules(t, before, true)
			}
			// Libvirt ends a VM whose hook fails, and may take its time: what counts is how things are after the probes.
			s.expectState(t, vm, "running")
			if now, err := vm.Process(); err != nil || now != process {
				t.Fatalf("the VM's process was %d and is %d: %v", process, now, err)
			}
			s.writeConfig(t, good)
		})
	}

	// The same fault, and an administrator who would rather have no VM than one whose rules may be old.
	s.writeConfig(t, "reconnect = \"kill\"\n"+good)
	s.restartLibvirt(t, syscall.SIGKILL, func() {})
	s.awaitState(t, vm, "shut off")
	s.awaitRules(t, 0)
}

// awaitRules waits for as many tables as there should be. Libvirt answers before it has called the hook for each VM that
// it finds running.
func (m *machine) awaitRules(t *testing.T, tables int) {
	t.Helper()
	for end := time.Now().Add(answerTime); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if len(m.rules(t)) == tables {
			return
		}
	}
	t.Errorf("tables after %s: %v, want %d", answerTime, names(m.rules(t)), tables)
}

// awaitCall waits until libvirt's call of the hook for a VM has returned.
func (m *machine) awaitCall(t *testing.T, vm *hypervisor.VM, operation string) {
	t.Helper()
	var all []string
	for end := time.Now().Add(answerTime); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if all = append(all, m.calls(t, vm)...); slices.Contains(all, operation) {
			return
		}
	}
	t.Errorf("libvirt's calls of the hook after %s: %q, want %q among them", answerTime, all, operation)
}

// awaitState waits until libvirt says this of a VM.
func (s *site) awaitState(t *testing.T, vm *hypervisor.VM, want string) {
	t.Helper()
	var got string
	for end := time.Now().Add(answerTime); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		if got, err = vm.State(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got == want {
			return
		}
	}
	t.Errorf("%s is %q after %s, want %q", vm.Name, got, answerTime, want)
}
