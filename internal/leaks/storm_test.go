package leaks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// TestStorm has VMs start, run and stop all at once, NICs plugged in and out beside
// them, and kills hook calls and watch at random. At the end there are the right
// rules, for exactly the right devices.
func TestStorm(t *testing.T) {
	for _, d := range defences() {
		if !d.watch {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			s := newSite(t, d)
			// The name servers are the machine's to whoever compares.
			s.configure(policies + "[policy.default]\nallow = [\"gateway\", \"broadcast\"]\n")
			vms, lives := 12, 3
			if soak > 0 {
				vms, lives = 100, max(3, soak/50)
			}
			over := make(chan struct{})
			killer := sync.WaitGroup{}
			killer.Go(func() { s.killNowAndThen(over) })

			var storm sync.WaitGroup
			residents := make([]*resident, vms)
			for i := range residents {
				residents[i] = &resident{site: s, vm: s.newVM(i, fmt.Sprintf("macvtap%d", i)), known: i%4 != 3}
				storm.Go(func() { residents[i].live(lives) })
			}
			storm.Wait()
			close(over)
			killer.Wait()
			s.inOrder(residents)
		})
	}
}

// killNowAndThen kills watch until the storm is over.
func (s *site) killNowAndThen(over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(300*time.Millisecond + within(200*time.Millisecond)): // meant to be over
			s.watch.kill()
		}
	}
}

// A resident is a VM that comes and goes, or an interface that nobody knows.
type resident struct {
	site  *site
	vm    vm
	known bool
	tap   *lab.Tap // nil when it is gone
}

// making keeps the lab's devices from being made at the same time, which its list of
// them is not made for.
var making sync.Mutex

// live has a resident come and go some times. Of the last life every other stays.
func (r *resident) live(lives int) {
	for life := range lives {
		last := life == lives-1
		if !r.come(last) {
			continue
		}
		if r.known {
			for range rand.IntN(3) {
				r.hook("reconnect", "begin", true)
			}
		}
		if !last || rand.IntN(2) == 0 {
			r.leave()
		}
	}
}

// come makes a resident's device and brings it up. It reports whether it runs now:
// a hook that is killed keeps a VM from its start.
func (r *resident) come(safe bool) bool {
	s := r.site
	making.Lock()
	tap, err := s.AddMacvtap(r.vm.device, r.vm.mac)
	making.Unlock()
	if err != nil {
		s.t.Error(err)
		return false
	}
	r.tap = tap
	if r.known && !r.hook("start", "begin", !safe) {
		r.leave()
		return false
	}
	if err := tap.Up(); err != nil {
		s.t.Error(err)
	}
	return true
}

// leave has a resident go. Nobody calls a hook for an interface that nobody knows.
func (r *resident) leave() {
	if r.known {
		r.hook("stopped", "end", true)
	}
	making.Lock()
	err := r.tap.Delete()
	making.Unlock()
	if err != nil {
		r.site.t.Error(err)
	}
	if r.known {
		r.hook("release", "end", true)
	}
	r.tap = nil
}

// hook calls the resident's hook and reports whether it succeeded. One that may be
// killed is, one time in three.
func (r *resident) hook(operation, sub string, mayKill bool) bool {
	cmd, said := r.site.hookCommand(r.vm, operation, sub)
	if err := r.site.Hypervisor.Start(cmd); err != nil {
		r.site.t.Error(err)
		return false
	}
	if mayKill && rand.IntN(3) == 0 {
		timer := time.AfterFunc(within(60*time.Millisecond), func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
	}
	err := cmd.Wait()
	if err != nil && cmd.ProcessState.Exited() {
		r.site.t.Errorf("hook %s %s %s: %v: %s", r.vm.name, operation, sub, err, said)
	}
	return err == nil
}

// inOrder waits until the rules that stand are those of the residents that are there.
func (s *site) inOrder(residents []*resident) {
	s.t.Helper()
	difference := "nothing was compared"
	err := until("the right rules stand, for exactly the right devices", func() bool {
		s.must(s.Hypervisor.Do(func() (err error) {
			difference, err = s.compare(residents)
			return err
		}))
		return difference == ""
	})
	if err != nil {
		s.t.Errorf("%v:\n%s", err, difference)
	}
}

// compare tells what differs between the tables that stand and those that should, ""
// when nothing does.
func (s *site) compare(residents []*resident) (string, error) {
	ctx := context.Background()
	c, err := config.Load(s.configFile())
	if err != nil {
		return "", err
	}
	h, err := host.Open(ctx)
	if err != nil {
		return "", err
	}
	defer h.Close()
	held, err := kernel.Read(ctx)
	if err != nil {
		return "", err
	}
	held = slices.DeleteFunc(held, func(h kernel.Held) bool { return h.Name == ruleset.GuardTable })
	var out strings.Builder
	for _, r := range residents {
		if r.tap == nil {
			continue
		}
		made, err := plan.Make(r.domain(s), c, plan.Live{Host: h, Running: true, Guard: s.defence.guard})
		if err != nil {
			return "", err
		}
		should := made.Tables[0]
		i := slices.IndexFunc(held, func(h kernel.Held) bool { return h.Name == should.Name })
		if i < 0 {
			fmt.Fprintf(&out, "%s has no rules\n", r.vm.device)
			continue
		}
		out.WriteString(ruleset.Diff("should stand", should, "stands", held[i].Table))
		held = slices.Delete(held, i, i+1)
	}
	for _, h := range held {
		fmt.Fprintf(&out, "%s is nobody's\n", h.Name)
	}
	return out.String(), nil
}

// domain is what the rules of a resident are made from.
func (r *resident) domain(s *site) *domain.Domain {
	if !r.known {
		return domain.Unknown(domain.Interface{Number: 1, Target: r.vm.device, Parent: parent, MAC: r.vm.mac})
	}
	d, err := domain.Parse(strings.NewReader(r.vm.xml(r.vm.device)))
	s.must(err)
	return d
}

// TestSecondWatch shows that a second watch refuses and harms nobody.
func TestSecondWatch(t *testing.T) {
	s := newSite(t, defence{name: "hook, watch", hook: program, watch: true})
	first := s.watch.pid()
	second := s.command(program, "watch")
	var said bytes.Buffer
	second.Stderr = &said
	err := s.Hypervisor.Run(second)
	var failed *exec.ExitError
	if !errors.As(err, &failed) || failed.ExitCode() != 1 || !strings.Contains(said.String(), fmt.Sprintf("another watch runs already, process %d", first)) {
		t.Errorf("a second watch: %v, %q, want exit code 1 and the first one's process %d", err, said.String(), first)
	}
	s.watch.ready()
	if s.watch.pid() != first {
		t.Error("the first watch is not there any more")
	}
}
