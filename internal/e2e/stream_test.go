//go:build e2e

package e2e

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
)

// A stream is what a guest sends without pause while things happen to it: frames that the default policy drops, and after
// each of them one to the internet; and what the hidden host sends to it meanwhile. The cables of the machines where the
// guest may be tell what arrived in the LAN.
type stream struct {
	site     *site
	vm       *hypervisor.VM
	nic      hypervisor.NIC
	denied   [][]byte
	machines []*machine

	closed, open, hostile []*frames.Meter // by machine
	// What had leaked and come in when it was last forgotten.
	leakedBefore, cameBefore int
}

// enough frames are more than any queue on their way holds.
const enough = 2000

// hostilePace is how long the hidden host rests after a round of frames, so that the tests have a processor, too.
const hostilePace = time.Millisecond

// attacks are the attack suite's frames that a guest sends.
func (s *site) attacks(t *testing.T, nic hypervisor.NIC) [][]byte {
	t.Helper()
	var all [][]byte
	for _, c := range s.suite(t, nic) {
		if c.Way == attack.FromVM {
			all = append(all, c.Frames...)
		}
	}
	return all
}

// plain are frames of each kind to the hidden host: unlike the suite's they do no harm to the LAN where they arrive.
func (s *site) plain(t *testing.T, nic hypervisor.NIC) [][]byte {
	t.Helper()
	var all [][]byte
	for _, k := range kinds {
		all = append(all, k.frame(t, nic.MAC, s.hidden.MAC, s.ends(nic, k.ipv6), token()))
	}
	return all
}

// stream has a guest send these frames without pause, until the test ends or the guest does. Of machines none is the
// site's own alone. A NIC that the guest has not got yet is waited for.
func (s *site) stream(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, denied [][]byte, machines ...*machine) *stream {
	t.Helper()
	if len(machines) == 0 {
		machines = []*machine{s.machine}
	}
	st := &stream{site: s, vm: vm, nic: nic, denied: denied, machines: machines}
	cast := s.cast(t, nic)
	passed := [][]byte{
		kinds[0].frame(t, nic.MAC, cast.Gateway.MAC, [2]net.IP{nic.Addr4.Addr().AsSlice(), cast.Web.IPv4.AsSlice()}, token()),
		kinds[1].frame(t, nic.MAC, cast.Gateway.MAC, [2]net.IP{nic.Addr6.Addr().AsSlice(), cast.Web.IPv6.AsSlice()}, token()),
	}
	var hostile [][]byte
	for _, k := range kinds {
		ends := s.ends(nic, k.ipv6)
		hostile = append(hostile, k.frame(t, s.hidden.MAC, nic.MAC, [2]net.IP{ends[1], ends[0]}, token()))
	}
	for _, m := range machines {
		st.closed = append(st.closed, m.wire.Meter(denied))
		st.open = append(st.open, m.wire.Meter(passed))
		st.hostile = append(st.hostile, m.wire.Meter(hostile))
	}
	ask := guestrpc.Stream{NIC: nic.Name, Hostile: hostile}
	for i, frame := range denied {
		ask.Frames = append(ask.Frames, frame, passed[i%len(passed)])
	}
	ask.Plugged = !slices.ContainsFunc(vm.NICs, func(n hypervisor.NIC) bool { return n.Name == nic.Name })
	if !ask.Plugged {
		s.reachGateway(t, vm, nic)
	}
	if err := vm.Call(t.Context(), "Stream", ask, &guestrpc.Nothing{}); err != nil {
		t.Fatal(err)
	}
	s.harass(t, hostile)
	return st
}

// again begins anew in a guest that has booted anew. What had leaked before counts on.
func (st *stream) again(t *testing.T) *stream {
	t.Helper()
	next := st.site.stream(t, st.vm, st.nic, st.denied, st.machines...)
	next.leakedBefore = -st.leaked()
	return next
}

// harass has the hidden host send frames until the test ends.
func (s *site) harass(t *testing.T, hostile [][]byte) {
	t.Helper()
	var sender *frames.Sender
	err := s.hidden.Do(func() (err error) {
		sender, err = frames.OpenSender("eth0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			for _, frame := range hostile {
				_ = sender.Send(frame) // its NIC's queue may be full; what left is counted
			}
			time.Sleep(hostilePace)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = sender.Close()
	})
}

// leaked is how many denied frames have arrived in the LAN since the last forget.
func (st *stream) leaked() int { return came(st.closed) - st.leakedBefore }

// forget lets be what has passed so far, once what is under way has, too.
func (st *stream) forget(t *testing.T, what string) {
	t.Helper()
	st.goesOn(t, what)
	t.Logf("%s: %d denied frames of %s had arrived", what, st.leaked(), st.vm.Name)
	st.leakedBefore = came(st.closed)
	st.cameBefore += st.counts(t).Came
}

// goesOn fails unless frames to the internet arrive in the LAN. They do in order: when it returns, so have denied ones
// that were sent before it was called, if they ever do.
func (st *stream) goesOn(t *testing.T, what string) {
	t.Helper()
	want := came(st.open) + enough
	for end := time.Now().Add(answerTime); came(st.open) < want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: only %d of %d frames to the internet have left %s, which has sent %d", what, enough+came(st.open)-want,
				enough, st.vm.Name, st.counts(t).Sent)
		}
	}
}

// expectClosed fails unless frames to the internet go on and not one denied frame has arrived, in either direction.
func (st *stream) expectClosed(t *testing.T, what string) {
	t.Helper()
	st.goesOn(t, what)
	counts := st.counts(t)
	if n := st.leaked(); n != 0 {
		t.Errorf("%s: %d denied frames of %s arrived in the LAN", what, n, st.vm.Name)
	}
	if counts.Came != 0 {
		t.Errorf("%s: %d frames of a denied host reached %s", what, counts.Came, st.vm.Name)
	}
	st.report(t, what, counts)
}

// expectLeaks fails unless denied frames arrive in the LAN.
func (st *stream) expectLeaks(t *testing.T, what string) {
	t.Helper()
	st.goesOn(t, what)
	if st.leaked() == 0 {
		t.Errorf("%s: no denied frame of %s arrived in the LAN: this test shows nothing", what, st.vm.Name)
	}
	st.report(t, what, st.counts(t))
}

// expectStuck fails unless the guest sends and nothing at all arrives in the LAN.
func (st *stream) expectStuck(t *testing.T, what string) {
	t.Helper()
	for end := time.Now().Add(answerTime); st.counts(t).Sent < enough; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: %s has sent only %d frames", what, st.vm.Name, st.counts(t).Sent)
		}
	}
	if n := st.leaked() + came(st.open); n != 0 {
		t.Errorf("%s: %d frames of %s arrived in the LAN, want none", what, n, st.vm.Name)
	}
	st.report(t, what, st.counts(t))
}

func (st *stream) report(t *testing.T, what string, counts guestrpc.Streamed) {
	t.Helper()
	left := 0
	for _, m := range st.hostile {
		left += m.Left()
	}
	t.Logf("%s: of %d denied frames of %s %d arrived, of %d to the internet %d; of %d frames of a denied host %d reached it",
		what, (counts.Sent+1)/2, st.vm.Name, st.leaked(), counts.Sent/2, came(st.open), left, counts.Came)
}

func (st *stream) counts(t *testing.T) guestrpc.Streamed {
	t.Helper()
	var counts guestrpc.Streamed
	if err := st.vm.Call(t.Context(), "Streamed", st.nic.Name, &counts); err != nil {
		t.Fatalf("%v; the guest's console says:\n%s", err, st.vm.Console())
	}
	counts.Came -= st.cameBefore
	return counts
}

// silence ends the stream.
func (st *stream) silence(t *testing.T) {
	t.Helper()
	if err := st.vm.Call(t.Context(), "Silence", st.nic.Name, &guestrpc.Streamed{}); err != nil {
		t.Fatal(err)
	}
}

func came(meters []*frames.Meter) int {
	n := 0
	for _, m := range meters {
		n += m.Came()
	}
	return n
}
