//go:build e2e

package e2e

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
)

// cast says who is who on the site for the attack suite, with a guest's NIC as the attacker.
func (s *site) cast(t *testing.T, nic hypervisor.NIC) attack.Site {
	t.Helper()
	gateway := mac(t, gatewayMAC)
	return attack.Site{
		VM: attack.Host{MAC: nic.MAC, IPv4: nic.Addr4.Addr(), Link: linkLocal(nic.MAC), IPv6: nic.Addr6.Addr()},
		Gateway: attack.Host{MAC: gateway, IPv4: netip.MustParseAddr(lan4 + "1"),
			Link: netip.MustParseAddr("fe80::1"), IPv6: netip.MustParseAddr(lan6 + "1")},
		DNS: attack.Host{MAC: mac(t, dnsMAC), IPv4: netip.MustParseAddr(lan4 + "53")},
		Victim: attack.Host{MAC: s.hidden.MAC, IPv4: netip.MustParseAddr(lan4 + "77"),
			Link: netip.MustParseAddr("fe80::77"), IPv6: netip.MustParseAddr(lan6 + "77")},
		LAN: netip.MustParsePrefix(lan4 + "0/24"),
		Web: attack.Host{MAC: gateway, IPv4: netip.MustParseAddr("192.0.2.1"),
			IPv6: netip.MustParseAddr("2001:db8:ffff::1")},
	}
}

// suite is the attack suite of a VM whose addresses rules learn. Such a one may ask whether an address is taken before it
// takes it, and hear who asks for its own (RFC 4862, 5.4; RFC 5227, 2.1.1): of the suite that is no attack.
func (s *site) suite(t *testing.T, nic hypervisor.NIC) []attack.Case {
	t.Helper()
	all, err := attack.Attacks(s.cast(t, nic))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(c attack.Case) bool { return slices.Contains(probes, c.Name) })
}

// probes are these cases' names.
var probes = []string{
	"neighbour scan as a probe from no address, link-local", "neighbour scan as a probe from no address, global",
	"probe for a public address of a denied host", "ARP probe of a denied host",
}

// batch is how many frames are sent before all of them are awaited: fewer than any queue on their way holds.
const batch = 100

// crossed has a guest send the frames of the cases that are from the VM, and puts the others on the cable, and returns
// how many frames of each case arrived at the other end.
func (s *site) crossed(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, cases []attack.Case) []int {
	t.Helper()
	arrived := make([]int, len(cases))
	for way, send := range map[attack.Way]func(*testing.T, *hypervisor.VM, hypervisor.NIC, [][]byte) []bool{
		attack.FromVM: s.crossedOut, attack.ToVM: s.crossedIn,
	} {
		var all [][]byte
		var of []int // the case of each frame
		for i, c := range cases {
			if c.Way == way && len(c.Requests) == 0 {
				all = append(all, c.Frames...)
				of = append(of, slices.Repeat([]int{i}, len(c.Frames))...)
			}
		}
		for some := range slices.Chunk(all, batch) {
			for _, crossed := range send(t, vm, nic, some) {
				if crossed {
					arrived[of[0]]++
				}
				of = of[1:]
			}
		}
	}
	s.offloaded(t, vm, nic, cases, arrived)
	return arrived
}

// offloaded has a guest send what it leaves to its host to make frames of, and counts for each case the frames that
// arrive on the cable. The hypervisor's NIC makes all of them meanwhile.
func (s *site) offloaded(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, cases []attack.Case, arrived []int) {
	t.Helper()
	if err := s.network.SetOffload(false); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.network.SetOffload(true); err != nil {
			t.Error(err)
		}
	}()
	var requests, made [][]byte
	var of []int // the case of each frame
	for i, c := range cases {
		if len(c.Requests) > 0 {
			requests, made = append(requests, c.Requests...), append(made, c.Frames...)
			of = append(of, slices.Repeat([]int{i}, len(c.Frames))...)
		}
	}
	s.sent(t, vm, nic, guestrpc.Raw{NIC: nic.Name, Frames: requests, VirtioHeaders: true})
	for i, carried := range s.wire.Carried(made, false) {
		if carried {
			arrived[of[i]]++
		}
	}
}

// crossedOut tells which frames of a guest's arrive on the cable.
func (s *site) crossedOut(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, all [][]byte) []bool {
	t.Helper()
	s.sent(t, vm, nic, guestrpc.Raw{NIC: nic.Name, Frames: all})
	return s.wire.Carried(all, false)
}

// sent has a guest send frames, and waits for them on the cable. The last one, which nobody stops, says that no more
// are to come: the guest sends in order, and so does the hypervisor.
func (s *site) sent(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, raw guestrpc.Raw) {
	t.Helper()
	cast, last := s.cast(t, nic), token()
	ends := [2]net.IP{cast.VM.IPv4.AsSlice(), cast.Web.IPv4.AsSlice()}
	fence := kinds[0].frame(t, nic.MAC, cast.Gateway.MAC, ends, last)
	if raw.VirtioHeaders {
		fence = append(make([]byte, guestrpc.VirtioHeader), fence...)
	}
	s.wire.Forget()
	raw.Frames = append(slices.Clone(raw.Frames), fence)
	if err := vm.Call(t.Context(), "Send", raw, &guestrpc.Nothing{}); err != nil {
		t.Fatal(err)
	}
	if !s.wire.Await(answerTime, func(f frames.Frame) bool { return !f.Sent && f.Contains(last) }) {
		t.Fatalf("%s %s: the last frame of a batch has not arrived", vm.Name, nic.Name)
	}
}

// crossedIn tells which frames from the cable arrive in a guest. Two say that no more are to come, as the hypervisor's
// kernel queues broadcasts apart.
func (s *site) crossedIn(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, all [][]byte) []bool {
	t.Helper()
	cast := s.cast(t, nic)
	wire, err := s.network.Wire()
	if err != nil {
		t.Fatal(err)
	}
	heard := guestrpc.Heard{NIC: nic.Name, Frames: all, Until: []string{token(), token()}}
	ends := [2]net.IP{cast.Web.IPv4.AsSlice(), cast.VM.IPv4.AsSlice()}
	one := kinds[0].frame(t, cast.Gateway.MAC, nic.MAC, ends, heard.Until[0])
	ends = [2]net.IP{cast.Gateway.IPv4.AsSlice(), {255, 255, 255, 255}}
	everybody := kinds[0].frame(t, cast.Gateway.MAC, mac(t, "ff:ff:ff:ff:ff:ff"), ends, heard.Until[1])
	for _, frame := range slices.Concat(all, [][]byte{one, everybody}) {
		if err := wire.Send(frame); err != nil {
			t.Fatal(err)
		}
	}
	var came []bool
	if err := vm.Call(t.Context(), "Heard", heard, &came); err != nil {
		t.Fatal(err)
	}
	return came
}

// expectSuite fails unless none of the attack suite's frames cross between a guest's NIC and the cable, or all do, and
// all of the ordinary ones in any case.
func (s *site) expectSuite(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, attacksArrive bool) {
	t.Helper()
	s.reachGateway(t, vm, nic)
	attacks := s.suite(t, nic)
	ordinary, err := attack.Ordinary(s.cast(t, nic))
	if err != nil {
		t.Fatal(err)
	}
	sent, arrived := 0, 0
	for i, n := range s.crossed(t, vm, nic, attacks) {
		c, want := attacks[i], 0
		if attacksArrive {
			want = len(c.Frames)
		}
		if n != want {
			t.Errorf("%s %s: attack %q %s: %d of %d frames arrived, want %d", vm.Name, nic.Name, c.Name, c.Way, n,
				len(c.Frames), want)
		}
		sent, arrived = sent+len(c.Frames), arrived+n
	}
	t.Logf("%s %s: %d of the %d frames of %d attacks arrived", vm.Name, nic.Name, arrived, sent, len(attacks))
	for i, n := range s.crossed(t, vm, nic, ordinary) {
		if c := ordinary[i]; n != len(c.Frames) {
			t.Errorf("%s %s: ordinary %q %s: %d of %d frames arrived", vm.Name, nic.Name, c.Name, c.Way, n, len(c.Frames))
		}
	}
}
