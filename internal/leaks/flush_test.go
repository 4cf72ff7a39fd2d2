package leaks

import "fmt"

// flush removes all rules of everybody, and reload is what a firewall does when its
// configuration changed.
const (
	flush  = "flush ruleset\n"
	reload = flush + `
table inet firewall {
	chain input {
		type filter hook input priority filter; policy accept;
		ip protocol icmp accept
		tcp dport 22 accept
	}
}
`
)

// flushed gives the event of somebody's calling nft with a script.
func flushed(script string) func(*site) *tally {
	return func(s *site) *tally {
		got := new(tally)
		for i := range s.rounds(3, 20) {
			v := s.newVM(i, "macvtap0")
			guest := s.protected(v)
			s.nft(script)
			s.repaired(guest)
			s.unplug(v, guest, got)
		}
		return got
	}
}

// unplug ends a guest that protected gave.
func (s *site) unplug(v vm, guest *session, got *tally) {
	s.t.Helper()
	got.add(s.kill(guest))
	s.must(guest.tap.Delete())
	s.must(s.gone(v))
}

// gone removes what is left of a VM whose device is gone, where nobody else does.
func (s *site) gone(v vm) error {
	switch {
	case s.watch != nil:
		return until("watch sweeps", func() bool { return len(s.tables()) == 0 })
	case s.defence.ours():
		s.hook(v, "stopped", "end")
	case s.defence.hook != "":
		s.nft("add table netdev shell_hook; delete table netdev shell_hook")
	}
	return nil
}

// flushStorm flushes again and again, without a pause for anybody.
func flushStorm(s *site) *tally {
	got := new(tally)
	v := s.newVM(0, "macvtap0")
	guest := s.protected(v)
	flushes := s.rounds(30, 1)
	for i := range flushes {
		// Every other time there are rules of somebody else.
		script := flush
		if i%2 == 1 {
			script += fmt.Sprintf("table inet other%d { }\n", i)
		}
		s.nft(script)
	}
	s.repaired(guest)
	got.addAll(s.kill(guest), flushes)
	return got
}
