//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
)

// A large transfer, and how long it may take in a guest that is emulated on a busy machine.
const (
	transferSize = 32 << 20
	transferTime = 10 * time.Minute
	transferPort = 5001
)

// largest is a frame of Ethernet with a VLAN tag; what is longer on a cable has yet to be cut up by a NIC.
const largest = 1518

// expectTransfers has a guest exchange much with the internet by TCP, both ways at once and with its NIC's offloads, and
// datagrams in fragments. All of it must arrive as it was sent.
func (s *site) expectTransfers(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	for _, p := range s.peers {
		if p.host.Name != "internet" {
			continue
		}
		s.wire.Forget()
		s.expectTransfer(t, vm, nic, p)
		for _, sent := range []bool{true, false} {
			if s.wire.Count(func(f frames.Frame) bool { return f.Sent == sent && f.Len > largest }) == 0 {
				t.Errorf("%s: no segment longer than a frame, sent to the guest: %t; offloads were to be tested", p, sent)
			}
		}
		s.wire.Forget()
		s.expectDatagram(t, vm, nic, p)
	}
}

// expectTransfer sends 32 MiB each way over one connection.
func (s *site) expectTransfer(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, p peer) {
	t.Helper()
	listener, err := p.host.Listen(netip.AddrPortFrom(p.addr, transferPort))
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(transferTime)); err != nil {
		t.Fatal(err) // nobody may come
	}
	type arrival struct {
		sum guestrpc.Sum
		err error
	}
	arrived := make(chan arrival, 1)
	go func() {
		sum, err := exchange(listener)
		arrived <- arrival{sum, err}
	}()
	began := time.Now()
	transfer := guestrpc.Transfer{NIC: nic.Name, To: netip.AddrPortFrom(p.addr, transferPort), Size: transferSize,
		Seed: 1, Wait: transferTime}
	var back guestrpc.Sum
	if err := vm.Call(t.Context(), "Transfer", transfer, &back); err != nil {
		t.Errorf("%s: %v", p, err)
	}
	there := <-arrived
	if there.err != nil {
		t.Errorf("%s: %v", p, there.err)
	}
	expectSum(t, fmt.Sprintf("%s %s to %s", vm.Name, nic.Name, p), there.sum, 1)
	expectSum(t, fmt.Sprintf("%s to %s %s", p, vm.Name, nic.Name), back, 2)
	t.Logf("%s: %d MiB each way in %s", p, transferSize>>20, time.Since(began).Round(time.Millisecond))
}

// exchange takes one connection, sends over it and receives to its end.
func exchange(listener net.Listener) (guestrpc.Sum, error) {
	conn, err := listener.Accept()
	if err != nil {
		return guestrpc.Sum{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(transferTime)); err != nil {
		return guestrpc.Sum{}, err
	}
	sent := make(chan error, 1)
	go func() { sent <- guestrpc.Send(conn.(*net.TCPConn), transferSize, 2) }()
	sum, err := guestrpc.SumOf(conn)
	return sum, errors.Join(err, <-sent)
}

func expectSum(t *testing.T, what string, got guestrpc.Sum, seed byte) {
	t.Helper()
	want, err := guestrpc.SumOf(guestrpc.Content(transferSize, seed))
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s: %+v arrived, want %+v", what, got, want)
	}
}

// datagramSize is more than five frames hold.
const datagramSize = 8000

// expectDatagram has a peer send a datagram back that needs fragments.
func (s *site) expectDatagram(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, p peer) {
	t.Helper()
	text := token()
	text += strings.Repeat(".", datagramSize-2*len(text)) + text
	probe := guestrpc.Probe{NIC: nic.Name, Kind: "udp", To: netip.AddrPortFrom(p.addr, p.port), Token: text, Wait: answerTime}
	var answer guestrpc.Answer
	if err := vm.Call(t.Context(), "Probe", probe, &answer); err != nil || !answer.Answered {
		t.Errorf("%s: no answer to a datagram of %d bytes: %s %v", p, len(text), answer.Reason, err)
	}
	s.fence(t, vm, nic) // the record is complete
	for _, sent := range []bool{true, false} {
		n := s.wire.Count(func(f frames.Frame) bool {
			src, dst, ok := f.Addrs()
			return ok && f.Sent == sent && (src == p.addr || dst == p.addr)
		})
		if n < datagramSize/1500 {
			t.Errorf("%s: the datagram of %d bytes took %d frames, sent to the guest: %t; fragments were to be tested", p, len(text), n, sent)
		}
	}
	if err := p.ask(t.Context(), "udp", guestAddr(nic, p), text, answerTime); err != nil {
		t.Errorf("%s asks in a datagram of %d bytes: %v", p, len(text), err)
	}
}
