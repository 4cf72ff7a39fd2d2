package leaks

import (
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"
)

// within gives a random part of a duration.
func within(d time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(d))) }

// hookTime is how long a VM's start takes.
func (s *site) hookTime() time.Duration {
	s.t.Helper()
	v := s.newVM(0, "macvtap0")
	guest := s.plug(v)
	began := time.Now()
	s.hook(v, "start", "begin")
	took := time.Since(began)
	s.kill(guest)
	s.hook(v, "stopped", "end")
	s.must(guest.tap.Delete())
	return took
}

// killHooks kills hook calls at random moments: of VMs that start, run and stop.
// libvirt takes a start for failed then, and stops the VM as ever.
func killHooks(s *site) *tally {
	got := new(tally)
	limit := 2 * s.hookTime()
	for i := range s.rounds(10, 20) {
		v := s.newVM(i, "macvtap0")
		guest := s.plug(v)
		if s.killedHook(v, "start", "begin", limit) {
			got.count(s.kill(guest), 1, false)
		} else {
			s.up(guest)
			s.must(guest.sent(calm))
			s.killedHook(v, "reconnect", "begin", limit)
			s.must(guest.sent(calm))
			got.add(s.kill(guest))
		}
		s.killedHook(v, "stopped", "end", limit)
		s.must(guest.tap.Delete())
		s.killedHook(v, "release", "end", limit)
	}
	return got
}

// killedHook calls the hook, and kills it at a random moment before a limit, unless it
// has ended by then.
func (s *site) killedHook(v vm, operation, sub string, limit time.Duration) (killed bool) {
	s.t.Helper()
	cmd, said := s.hookCommand(v, operation, sub)
	s.must(s.Hypervisor.Start(cmd))
	timer := time.AfterFunc(within(limit), func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	if err != nil && cmd.ProcessState.Exited() {
		s.t.Errorf("hook %s %s %s: %v: %s", v.name, operation, sub, err, said)
	}
	return err != nil
}

// killWatch kills watch at random moments around NICs' being plugged in. It is
// started again after a while.
func killWatch(s *site) *tally {
	got := new(tally)
	for i := range s.rounds(2, 20) {
		timer := time.AfterFunc(within(20*time.Millisecond), s.watch.kill)
		s.plugged(i, got, s.repaired)
		timer.Stop()
	}
	return got
}

// deadWatch plugs NICs in while watch is dead.
func deadWatch(s *site) *tally {
	got := new(tally)
	for i := range s.rounds(3, 20) {
		s.watch.down(func() {
			s.plugged(i, got, func(guest *session) { s.must(guest.sent(10 * calm)) })
		})
	}
	return got
}

// lostMessages plugs a NIC in and flushes the rules of another, while watch does not
// listen and the kernel has far more to tell than it keeps.
func lostMessages(s *site) *tally {
	got := new(tally)
	for i := range s.rounds(1, 50) {
		old, late := s.newVM(2*i, "macvtap0"), s.newVM(2*i+1, "macvtap1")
		first := s.protected(old)
		s.watch.signal(unix.SIGSTOP)
		s.overflow()
		s.nft(flush)
		late.peers = lan
		second := s.plug(late)
		s.up(second)
		s.watch.signal(unix.SIGCONT)
		s.must(first.right())
		s.must(second.right())
		got.count(s.kill(second), 0, false)
		s.must(second.tap.Delete())
		s.unplug(old, first, got)
	}
	return got
}
