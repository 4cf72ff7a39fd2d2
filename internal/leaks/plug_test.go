package leaks

// startAndStop starts and stops VMs whose devices have the same name and whose
// policies differ.
func startAndStop(s *site) *tally {
	got := new(tally)
	for i := range s.rounds(30, 1) {
		v := s.newVM(i, "macvtap0")
		guest := s.plug(v)
		s.hook(v, "start", "begin")
		s.up(guest)
		s.must(guest.sent(calm))
		s.stop(v, guest, got)
	}
	return got
}

// stop kills a guest and removes what it had, as libvirt does.
func (s *site) stop(v vm, guest *session, got *tally) {
	s.t.Helper()
	got.add(s.kill(guest))
	s.hook(v, "stopped", "end")
	s.must(guest.tap.Delete())
	s.hook(v, "release", "end")
}

// kill ends a guest.
func (s *site) kill(guest *session) *record {
	s.t.Helper()
	known, err := guest.end()
	s.must(err)
	return known
}

// hotPlug plugs NICs in, and out again. Nobody calls a hook.
func hotPlug(s *site) *tally {
	got := new(tally)
	n := s.rounds(30, 1)
	if s.watch == nil {
		n = min(n, 50) // it is the same each time
	}
	for i := range n {
		s.plugged(i, got, s.repaired)
	}
	return got
}

// plugged plugs one NIC in, waits, and takes it out.
func (s *site) plugged(i int, got *tally, wait func(*session)) {
	s.t.Helper()
	v := s.newVM(i, "macvtap0")
	v.peers = lan
	guest := s.plug(v)
	s.up(guest)
	wait(guest)
	got.add(s.kill(guest))
	s.must(guest.tap.Delete())
}

// recycledName has the device of a VM go without any hook call, and another VM's
// that is plugged in have its name.
func recycledName(s *site) *tally {
	got := new(tally)
	for i := range s.rounds(3, 20) {
		dead := s.newVM(2*i+1, "macvtap0")
		guest := s.plug(dead)
		s.hook(dead, "start", "begin")
		s.up(guest)
		s.must(guest.sent(calm))
		got.count(s.kill(guest), 0, false)
		s.must(guest.tap.Delete())
		s.plugged(2*i, got, s.repaired)
	}
	return got
}
