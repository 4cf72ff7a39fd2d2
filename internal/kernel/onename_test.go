package kernel_test

import (
	"net"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/lab"
)

// A pair is two VMs on one parent, both with rules.
type pair struct {
	t             *testing.T
	n             *lab.Network
	first, second *lab.Tap
}

func newPair(t *testing.T) pair {
	n, first := network(t)
	second := addTap(t, n, "macvtap1", otherMAC)
	other := &domain.Domain{Name: "web-2", UUID: otherUUID, Direct: []domain.Interface{{Number: 1, Target: second.Name, Parent: lan.Parent, MAC: otherMAC}}}
	create(t, n.Hypervisor, tables(t, vm(vmUUID, first.Name), ""))
	create(t, n.Hypervisor, tables(t, other, ""))
	return pair{t, n, first, second}
}

// from is a VM's way to all, or to the other VM.
func (p pair) from(tap *lab.Tap) way { return way{"from the VM", tap.MAC, otherThan(tap.MAC)} }

func otherThan(mac net.HardwareAddr) net.HardwareAddr {
	if mac.String() == vmMAC.String() {
		return otherMAC
	}
	return vmMAC
}

// reaches sends a frame from one VM and asks whether it, or what becomes of it, reaches the other.
func (p pair) reaches(what string, from, to *lab.Tap, frame, becomes []byte, want bool) {
	p.t.Helper()
	seen, err := p.n.Watch(func() error { return from.Send(frame) })
	if err != nil {
		p.t.Fatal(err)
	}
	if becomes == nil {
		becomes = frame
	}
	if got := seen.OnTap(to, becomes); got != want {
		p.t.Errorf("%s reaches the other VM: %v, want %v", what, got, want)
	}
}

// speaks asks whether a VM may speak from an address.
func (p pair) speaks(what string, tap *lab.Tap, address string, want bool) {
	p.t.Helper()
	frame := datagramFrom(p.t, address)
	copy(frame[6:], tap.MAC)
	p.passes(what+" from "+address, tap, frame, want)
}

// passes asks whether a VM's frame reaches the wire.
func (p pair) passes(what string, tap *lab.Tap, frame []byte, want bool) {
	p.t.Helper()
	if got, err := p.n.FromVM(tap, frame); err != nil || got != want {
		p.t.Errorf("%s passes: %v (%v), want %v", what, got, err, want)
	}
}

// asks has a VM ask by ARP from an address; probe says that it is made a probe.
func (p pair) asks(what string, tap, other *lab.Tap, address string, probe, want bool) {
	p.t.Helper()
	w := p.from(tap)
	frame := arpOf(p.t, w, layers.ARPRequest, address, "192.168.2.1")
	var becomes []byte
	if probe {
		becomes = arpOf(p.t, w, layers.ARPRequest, "0.0.0.0", address)
	}
	p.reaches(what, tap, other, frame, becomes, want)
}

const detected = 600 * time.Millisecond // then the LAN has had time to answer

// TestTwoVMsOneName has a VM want the addresses of another on the same parent: what it heard the
// other use it does not ask for, and where it heard nothing the other answers. The other keeps them.
func TestTwoVMsOneName(t *testing.T) {
	p := newPair(t)
	owns(t, p.n, p.first, false)
	its := site().VM
	ip4, ip6 := its.IPv4.String(), its.IPv6.String()

	p.asks("a request from what it heard the other use", p.second, p.first, ip4, true, false)
	nft(t, p.n.Hypervisor, "flush set netdev macvtap-filter nic-heard-ipv4", "-f", "-") // as after five minutes
	p.asks("the first request", p.second, p.first, ip4, true, true)
	p.reaches("the answer", p.first, p.second, arpOf(t, p.from(p.first), layers.ARPReply, ip4, "0.0.0.0"), nil, true)
	p.reaches("a probe", p.second, p.first, probes(t, p.from(p.second), ip6, ip6), nil, true)
	p.reaches("the advertisement", p.first, p.second, advertises(t, p.from(p.first), ip6), nil, true)
	time.Sleep(detected)
	p.asks("the next request", p.second, p.first, ip4, false, false)
	for _, address := range []string{ip4, ip6} {
		p.speaks("who wanted it", p.second, address, false)
		p.speaks("who has it", p.first, address, true)
	}
}

// TestTwoVMsRace has two VMs want the same addresses at once: of IPv4, who asks again first has
// it; of IPv6, who probes last, for the other hears that while it waits (RFC 4862, 5.4.3).
func TestTwoVMsRace(t *testing.T) {
	const ip4, ip6 = "192.168.2.102", "2001:db8:2::102"
	p := newPair(t)
	request := func(tap *lab.Tap) []byte {
		return arpOf(t, p.from(tap), layers.ARPRequest, ip4, "192.168.2.1")
	}
	p.passes("a request as it is", p.first, request(p.first), false) // but as a probe
	p.passes("the other's", p.second, request(p.second), false)
	time.Sleep(detected)
	p.passes("the next request", p.first, request(p.first), true)
	p.passes("the other's next", p.second, request(p.second), false)
	p.speaks("the first", p.first, ip4, true)
	p.speaks("the second", p.second, ip4, false)
	for {
		began := time.Now()
		p.reaches("a probe", p.first, p.second, probes(t, p.from(p.first), ip6, ip6), nil, false)
		p.reaches("the other's", p.second, p.first, probes(t, p.from(p.second), ip6, ip6), nil, true)
		if time.Since(began) < 800*time.Millisecond {
			break
		}
		p = newPair(t) // too busy a machine for the time in which the other's is an objection
	}
	p.speaks("the first", p.first, ip6, false)
	p.speaks("the second", p.second, ip6, true)
}
