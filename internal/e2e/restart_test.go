//go:build e2e

package e2e

import (
	"syscall"
	"testing"
)

// A restart of libvirtd kills no VM and leaves it protected, whatever befell the configuration or the rules meanwhile.
func TestLibvirtRestart(t *testing.T) {
	s := shieldedSite(t)
	vm := s.start(t, "lasting", s.nics(2)...)
	process, err := vm.Process()
	if err != nil {
		t.Fatal(err)
	}
	good := s.readConfig(t)
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
			s.expectState(t, vm, "running")
			if now, err := vm.Process(); err != nil || now != process {
				t.Fatalf("the VM's process was %d and is %d: %v", process, now, err)
			}
			s.expectShielded(t, vm)
			s.writeConfig(t, good)
		})
	}
}
