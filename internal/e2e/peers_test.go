//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
)

// Two guests on one parent, whose frames to each other never reach the cable, are to each other what any host of the LAN
// is: closed, unless the configuration allows the address.
func TestGuestsAsPeers(t *testing.T) {
	s := shieldedSite(t, "")
	first := s.start(t, "first", s.nics(1)...)
	second := s.start(t, "second", s.nics(1)...)
	s.expectPeers(t, first, second, false)

	config := s.readConfig(t)
	s.writeConfig(t, config+allowing(first, second)+allowing(second, first))
	s.run(t, "macvtap-filter", "apply", "--all")
	s.expectPeers(t, first, second, true)
	s.expectShielded(t, first)

	s.writeConfig(t, config)
	s.run(t, "macvtap-filter", "apply", "--all")
	s.expectPeers(t, first, second, false)
}

// allowing is a policy of one guest's own that opens another's addresses to it. In a policy of both, each would pose as
// one that it allows.
func allowing(vm, peer *hypervisor.VM) string {
	var addrs []string
	for _, a := range addresses(peer.NICs[0]) {
		addrs = append(addrs, fmt.Sprintf("%q", a.String()))
	}
	return fmt.Sprintf(`
[policy.%[1]s]
allow = ["gateway", "dns", "broadcast", %[2]s]

[[vm]]
name = %[1]q
policy = %[1]q
`, vm.Name, strings.Join(addrs, ", "))
}

// expectPeers fails unless two guests reach each other on all their addresses, or no frame of one reaches the other.
func (s *site) expectPeers(t *testing.T, first, second *hypervisor.VM, open bool) {
	t.Helper()
	var all sync.WaitGroup
	for _, way := range [][2]*hypervisor.VM{{first, second}, {second, first}} {
		from, to := way[0], way[1]
		for _, addr := range addresses(to.NICs[0]) {
			for _, kind := range []string{"udp", "tcp", "ping"} {
				all.Go(func() { s.expectPeer(t, from, to, addr, kind, open) })
			}
		}
	}
	all.Wait()
	s.expectRawToPeer(t, first, second, open)
	s.expectRawToPeer(t, second, first, open)
}

// expectPeer has one guest ask another.
func (s *site) expectPeer(t *testing.T, from, to *hypervisor.VM, addr netip.Addr, kind string, open bool) {
	t.Helper()
	what := fmt.Sprintf("%s from %s to %s %s", kind, from.Name, to.Name, addr)
	probe := guestrpc.Probe{NIC: from.NICs[0].Name, Kind: kind, To: netip.AddrPortFrom(addr, guestrpc.EchoPort),
		Token: token(), Wait: patience(open)}
	var answer guestrpc.Answer
	if err := from.Call(t.Context(), "Probe", probe, &answer); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if answer.Answered != open {
		t.Errorf("%s: answered: %t, want %t: %s", what, answer.Answered, open, answer.Reason)
	}
	if open {
		return
	}
	if n := s.seen(t, to, probe.Token)[0]; n > 0 {
		t.Errorf("%s: %d frames arrived", what, n)
	}
}

// expectRawToPeer has one guest send frames straight to another's MAC address, which it would not learn by asking.
func (s *site) expectRawToPeer(t *testing.T, from, to *hypervisor.VM, open bool) {
	t.Helper()
	source, target := from.NICs[0], to.NICs[0]
	raw := guestrpc.Raw{NIC: source.Name}
	var texts []string
	for _, k := range kinds {
		ends := [2]net.IP{source.Addr4.Addr().AsSlice(), target.Addr4.Addr().AsSlice()}
		if k.ipv6 {
			ends = [2]net.IP{source.Addr6.Addr().AsSlice(), target.Addr6.Addr().AsSlice()}
		}
		texts = append(texts, token())
		raw.Frames = append(raw.Frames, k.frame(t, source.MAC, target.MAC, ends, texts[len(texts)-1]))
	}
	if err := from.Call(t.Context(), "Send", raw, &guestrpc.Nothing{}); err != nil {
		t.Fatal(err)
	}
	s.fence(t, from, source) // they have left, if they ever do
	for i, n := range s.seen(t, to, texts...) {
		// Only plain packets are open to whom the configuration allows.
		k := kinds[i]
		if want := open && len(k.between) == 0; (n > 0) != want {
			t.Errorf("%d frames of %s reached %s as %s, want any: %t", n, from.Name, to.Name, k.name, want)
		}
	}
}

// seen counts the frames with each text that have come to a guest's NIC.
func (s *site) seen(t *testing.T, vm *hypervisor.VM, texts ...string) []int {
	t.Helper()
	counts := make([]int, len(texts))
	until := s.fence(t, vm, vm.NICs[0])
	for i, text := range texts {
		sight := guestrpc.Sight{NIC: vm.NICs[0].Name, Token: text, Until: until}
		if err := vm.Call(t.Context(), "Seen", sight, &counts[i]); err != nil {
			t.Error(err)
		}
	}
	return counts
}

// addresses are a NIC's own.
func addresses(nic hypervisor.NIC) []netip.Addr {
	return []netip.Addr{nic.Addr4.Addr(), nic.Addr6.Addr(), linkLocal(nic.MAC)}
}
