//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
)

// How long to ask who answers: it ends what hangs, however busy the machine is. And how long to ask whom nobody answers: that
// nothing came through is what fence shows.
const (
	answerTime  = 3 * time.Minute
	silenceTime = time.Second
)

// expectOpen fails unless a guest and every peer reach each other, on each of its NICs.
func (s *site) expectOpen(t *testing.T, vm *hypervisor.VM) {
	t.Helper()
	s.expect(t, vm, func(peer) bool { return true })
}

// expectShielded fails unless a guest and the peers that the default policy leaves open reach each other, and no frame
// passes between it and the hidden ones, on each of its NICs.
func (s *site) expectShielded(t *testing.T, vm *hypervisor.VM) {
	t.Helper()
	s.expect(t, vm, func(p peer) bool { return !p.hidden })
}

func (s *site) expect(t *testing.T, vm *hypervisor.VM, open func(peer) bool) {
	t.Helper()
	s.wire.Forget() // what was open before may be closed now
	var all sync.WaitGroup
	for _, nic := range vm.NICs {
		for _, p := range s.peers {
			for _, kind := range []string{"udp", "tcp", "ping"} {
				all.Go(func() { s.expectOut(t, vm, nic, p, kind, open(p)) })
			}
			for _, kind := range []string{"udp", "tcp"} {
				all.Go(func() { s.expectIn(t, vm, nic, p, kind, open(p)) })
			}
		}
	}
	all.Wait()
}

// expectOut has the guest ask a peer.
func (s *site) expectOut(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, p peer, kind string, open bool) {
	what := fmt.Sprintf("%s %s: %s to %s", vm.Name, nic.Name, kind, p)
	probe := guestrpc.Probe{NIC: nic.Name, Kind: kind, To: netip.AddrPortFrom(p.addr, p.port), Token: token(),
		Wait: patience(open)}
	var answer guestrpc.Answer
	if err := vm.Call(t.Context(), "Probe", probe, &answer); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	switch {
	case open && !answer.Answered:
		t.Errorf("%s: no answer: %s", what, answer.Reason)
	case !open && answer.Answered:
		t.Errorf("%s: answered", what)
	}
	if open {
		return
	}
	s.fence(t, vm, nic)
	leaked := s.wire.Count(func(f frames.Frame) bool {
		_, dst, ok := f.Addrs()
		return !f.Sent && f.From(nic.MAC) && (ok && dst == p.addr || f.Contains(probe.Token))
	})
	if leaked > 0 {
		t.Errorf("%s: %d frames on the wire", what, leaked)
	}
}

// expectIn has a peer ask the guest.
func (s *site) expectIn(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, p peer, kind string, open bool) {
	what := fmt.Sprintf("%s %s: %s from %s", vm.Name, nic.Name, kind, p)
	text := token()
	err := p.ask(t.Context(), kind, guestAddr(nic, p), text, patience(open))
	switch {
	case open && err != nil:
		t.Errorf("%s: no answer: %v", what, err)
	case !open && err == nil:
		t.Errorf("%s: answered", what)
	}
	if kind == "tcp" {
		return // without a connection, no segment carries the token
	}
	s.expectOnWire(t, text)
	if open {
		return
	}
	var seen int
	sight := guestrpc.Sight{NIC: nic.Name, Token: text, Until: s.fence(t, vm, nic)}
	if err := vm.Call(t.Context(), "Seen", sight, &seen); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if seen > 0 {
		t.Errorf("%s: %d frames reached the guest", what, seen)
	}
}

// fence returns when frames that were under way between the guest and the wire have arrived and been recorded, if they
// ever do: one sent after them has, and its answer come back. Both carry the token that is returned.
func (s *site) fence(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) string {
	text := s.reachGateway(t, vm, nic)
	s.expectOnWire(t, text)
	return text
}

// reachGateway has the guest ask the witness until it answers, and returns what both said. A guest that was given a static
// IPv4 address has its network a second later: rules learn the address from what it asks by ARP.
func (s *site) reachGateway(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) string {
	p := s.witness
	probe := guestrpc.Probe{NIC: nic.Name, Kind: "udp", To: netip.AddrPortFrom(p.addr, p.port),
		Token: token(), Wait: answerTime}
	var answer guestrpc.Answer
	if err := vm.Call(t.Context(), "Probe", probe, &answer); err != nil || !answer.Answered {
		t.Errorf("%s %s: %s, asked for order's sake, does not answer: %s %v", vm.Name, nic.Name,
			p, answer.Reason, err)
	}
	return probe.Token
}

// expectOnWire fails unless a frame with this text has gone to the hypervisor.
func (s *site) expectOnWire(t *testing.T, text string) {
	if !s.wire.Await(answerTime, func(f frames.Frame) bool { return f.Sent && f.Contains(text) }) {
		t.Errorf("no frame with %q went to the hypervisor", text)
	}
}

// ask sends text to a guest, as datagrams until one comes back or over a connection, and returns why it did not come
// back in time.
func (p peer) ask(ctx context.Context, kind string, to netip.AddrPort, text string, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	conn, err := p.dial(ctx, kind, to, wait)
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		again := time.Now().Add(pause) // decides nothing
		if err = once(conn, text, again); err == nil {
			return nil
		}
		time.Sleep(time.Until(again))
		if ctx.Err() != nil {
			return err
		}
	}
}

// pause is how long a question waits until it is asked again. An error is the network's word that nobody is there, which
// may be too early to believe.
const pause = 300 * time.Millisecond

// dial connects to a guest.
func (p peer) dial(ctx context.Context, kind string, to netip.AddrPort, wait time.Duration) (net.Conn, error) {
	for {
		again := time.Now().Add(pause) // decides nothing
		conn, err := p.host.Dial(kind, to, wait)
		if err == nil {
			return conn, nil
		}
		time.Sleep(time.Until(again))
		if ctx.Err() != nil {
			return nil, err
		}
	}
}

// once sends text and waits for it to come back.
func once(conn net.Conn, text string, until time.Time) error {
	if err := conn.SetDeadline(until); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	answer := make([]byte, len(text))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if string(answer) != text {
		return fmt.Errorf("answered %q", answer)
	}
	return nil
}

func patience(open bool) time.Duration {
	if open {
		return answerTime
	}
	return silenceTime
}

// token is text that no other frame carries.
func token() string {
	return fmt.Sprintf("token-%016x", rand.Uint64())
}
