//go:build e2e

package e2e

import (
	"os"
	"testing"
)

// killer takes the hook's place and kills it, when libvirt asks whether a VM may start, after the seconds in killerPath, or
// never.
const (
	killerPath = "/run/e2e/seconds"
	killer     = `#!/bin/sh
[ "$2" = start ] || exec ` + movedPath + ` "$@"
exec 3<&0 # what runs in the background has no standard input
` + movedPath + ` "$@" <&3 &
pid=$!
read after <` + killerPath + `
[ "$after" = never ] || { sleep "$after"; kill -9 $pid 2>/dev/null; }
wait $pid
`
)

// A hook that is killed, at whatever point, is a VM that does not start and leaves nothing. One that came to its end before
// is a VM with all of its rules.
func TestKilledHook(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.start(t, "doubtful", s.nics(2)...)
	tables := len(s.rules(t))
	if err := vm.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.replaceHook(t, killer)
	started, refused := 0, 0
	for _, after := range []string{"0", "0.002", "0.005", "0.01", "0.015", "0.02", "0.03", "never"} {
		if err := os.WriteFile(s.hv.Path(killerPath), []byte(after+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := s.hv.Virsh(t.Context(), "start", "--paused", vm.Name); err != nil {
			refused++
			s.expectState(t, vm, "shut off")
			s.expectNoRules(t)
			continue
		}
		started++
		if got := s.rules(t); len(got) != tables {
			t.Errorf("killed after %s, the VM started with the tables %v, want %d", after, names(got), tables)
		}
		if err := vm.Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.expectNoRules(t)
	}
	t.Logf("%d starts refused, %d with rules", refused, started)
	if started == 0 || refused == 0 {
		t.Error("this shows nothing")
	}
	// Nothing that a killed hook leaves is in the way.
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expectShielded(t, vm)
}
