//go:build e2e

package e2e

import (
	"syscall"
	"testing"
	"time"
)

// A restart of libvirtd kills no VM and leaves it protected, whatever befell the configuration or the rules meanwhile.
func TestLibvirtRestart(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.start(t, "lasting", s.nics(2)...)
	process, err := vm.Process()
	if err != nil {
		t.Fatal(err)
	}
	good, rules := s.readConfig(t), s.rules(t)
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		// between is done while libvirtd is down.
		between func()
	}{
		{"stopped", syscall.SIGTERM, func() { s.expectShielded(t, vm) }},
		{"killed", syscall.SIGKILL, func() {}},
		{"rules flushed", syscall.SIGTERM, func() { s.run(t, "nft", "flush", "ruleset") }},
		{"configuration broken", syscall.SIGTERM, func() { s.writeConfig(t, good+"alowed = []\n") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.restartLibvirt(t, c.signal, c.between)
			s.awaitRules(t, len(rules))
			s.expectShielded(t, vm)
			// Libvirt ends a VM whose hook fails, and may take its time: what counts is how things are after the probes.
			s.expectState(t, vm, "running")
			if now, err := vm.Process(); err != nil || now != process {
				t.Fatalf("the VM's process was %d and is %d: %v", process, now, err)
			}
			s.writeConfig(t, good)
		})
	}
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
