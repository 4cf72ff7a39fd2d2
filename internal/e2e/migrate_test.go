//go:build e2e

package e2e

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
)

// A guest moves to another hypervisor and sends on: without the hook it is open there, too.
func TestMigrationBaseline(t *testing.T) {
	s := newSite(t)
	there := s.secondMachine(t)
	vm := s.start(t, "moving", s.nics(1)...)
	st := s.stream(t, vm, vm.NICs[0], s.plain(t, vm.NICs[0]), s.machine, there)
	st.expectLeaks(t, "before the migration")
	st = s.migrate(t, st, there)
	st.forget(t, "after the migration")
	st.expectLeaks(t, "after the migration")
}

// A guest moves between two hypervisors that have the hook, and sends the whole attack suite all the while: nothing of it
// arrives in the LAN from either. Where the rules cannot stand the guest does not go. What its metadata ask for goes with
// it.
func TestMigration(t *testing.T) {
	s := shieldedSite(t, "")
	there := s.secondMachine(t)
	there.install(t, "")
	vm := s.defineSpec(t, hypervisor.Spec{Name: "moving", NICs: s.nics(1), Metadata: `
    <mvf:filter xmlns:mvf="urn:macvtap-filter:1">
      <mvf:allow>` + chosen + ` udp/7</mvf:allow>
    </mvf:filter>
  `})
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	nic := vm.NICs[0]
	st := s.stream(t, vm, nic, s.attacks(t, nic), s.machine, there)
	st.expectClosed(t, "before the migration")
	rules := s.rules(t)

	good := there.readConfig(t)
	there.writeConfig(t, good+"alowed = []\n")
	if err := vm.Migrate(t.Context(), there.hv); err == nil {
		t.Fatal("the VM went where its rules cannot stand")
	} else if !strings.Contains(err.Error(), configPath) {
		t.Errorf("the migration's error does not say what is wrong: %v", err)
	}
	there.writeConfig(t, good)
	s.expectState(t, vm, "running")
	s.expectRules(t, rules, true)
	there.expectNoRules(t)
	st.expectClosed(t, "after a migration that failed")

	for _, m := range []*machine{s.machine, there} {
		m.recordCalls(t)
	}
	st = s.migrate(t, st, there)
	st.expectClosed(t, "after the migration")
	s.awaitRules(t, 0) // libvirt cleans up after the guest is gone
	there.awaitRules(t, len(rules))
	there.expectCalls(t, vm, []string{"migrate begin"}, callsOfStart)
	s.expectCalls(t, vm, callsOfEnd)
	s.at(there).expectShielded(t, vm)

	for _, m := range []*machine{s.machine, there} {
		m.writeConfig(t, "metadata = \"honour\"\n"+m.readConfig(t))
		m.run(t, "macvtap-filter", "apply", "--all")
	}
	s.at(there).expectChoice(t, vm)
	st = s.migrate(t, st, s.machine)
	st.expectClosed(t, "after the migration back")
	there.awaitRules(t, 0)
	s.awaitRules(t, len(rules))
	s.expectChoice(t, vm)
}

// migrate moves a guest that sends to another machine, and returns its stream, which goes on. Where QEMU has lost the guest
// on the way, it boots there, and its stream begins anew.
func (s *site) migrate(t *testing.T, st *stream, to *machine) *stream {
	t.Helper()
	err := st.vm.Migrate(t.Context(), to.hv)
	if !errors.Is(err, hypervisor.ErrGuestLost) {
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	t.Logf("NOT SEEN: a guest that goes on where it was moved. It is booted there: %v", err)
	if _, err := to.hv.Virsh(t.Context(), "reset", st.vm.Name); err != nil {
		t.Fatal(err)
	}
	if err := st.vm.GreetAnew(t.Context()); err != nil {
		t.Fatal(err)
	}
	return st.again(t)
}

// expectChoice fails unless a guest reaches the address that its metadata open by UDP, and by TCP not.
func (s *site) expectChoice(t *testing.T, vm *hypervisor.VM) {
	t.Helper()
	for kind, open := range map[string]bool{"udp": true, "tcp": false} {
		probe := guestrpc.Probe{NIC: vm.NICs[0].Name, Kind: kind, To: netip.MustParseAddrPort(chosen + ":7"), Token: token(),
			Wait: patience(open)}
		var answer guestrpc.Answer
		if err := vm.Call(t.Context(), "Probe", probe, &answer); err != nil {
			t.Fatal(err)
		}
		if answer.Answered != open {
			t.Errorf("%s to the address that the metadata open: answered: %t, want %t: %s", kind, answer.Answered, open,
				answer.Reason)
		}
	}
}

// Where the hook is while its calls are recorded, and the record.
const (
	movedPath = "/run/e2e/macvtap-filter"
	callsPath = "/run/e2e/calls"
)

// recorder takes the hook's place and writes down each call: the VM, what is asked, the exit code and how much was said on
// standard output, which libvirt takes for XML.
const recorder = `#!/bin/sh
out=$(mktemp)
` + movedPath + ` "$@" >"$out"
code=$?
echo "$1 $2 $3 exit=$code stdout=$(wc -c <"$out")" >>` + callsPath + `
cat "$out"
rm "$out"
exit $code
`

// recordCalls has libvirt's calls of the hook recorded from now on.
func (m *machine) recordCalls(t *testing.T) {
	t.Helper()
	m.replaceHook(t, recorder)
}

// replaceHook puts a script in the place of the hook, which is at movedPath then, and on PATH as ever.
func (m *machine) replaceHook(t *testing.T, script string) {
	t.Helper()
	m.run(t, "mv", hookPath, movedPath)
	m.run(t, "ln", "-sf", movedPath, commandPath)
	if err := os.WriteFile(m.hv.Path(hookPath), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// expectCalls fails unless libvirt has called the hook with these operations, in this order, since it was asked last, and no
// call failed or said anything on standard output.
func (m *machine) expectCalls(t *testing.T, vm *hypervisor.VM, parts ...[]string) {
	t.Helper()
	want := slices.Concat(parts...)
	if got := m.calls(t, vm); !slices.Equal(got, want) {
		t.Errorf("libvirt's calls of the hook: %q, want %q", got, want)
	}
}

func (m *machine) calls(t *testing.T, vm *hypervisor.VM) []string {
	t.Helper()
	// Taken away first: a call may be written meanwhile.
	taken := m.hv.Path(callsPath + ".taken")
	if err := os.Rename(m.hv.Path(callsPath), taken); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(taken)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		operation, ok := strings.CutSuffix(strings.TrimPrefix(strings.TrimSpace(line), vm.Name+" "), " exit=0 stdout=0")
		if !ok {
			t.Errorf("a call of the hook: %s", line)
		}
		all = append(all, operation)
	}
	return all
}
