//go:build e2e

package e2e

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/kernel"
)

// firmwareTime is how long a firmware may take until it asks the network, far above what it takes on a busy machine.
const firmwareTime = 5 * time.Minute

// A guest that has no system yet sends from its firmware, which boots from the network: it gets its address from the
// gateway, and asks the hidden host, which the lease names as the one that has the system. Nothing of that arrives.
func TestNetworkBoot(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.defineSpec(t, hypervisor.Spec{Name: "diskless", NICs: s.nics(1), NetBoot: true})
	nic := vm.NICs[0]
	server := serveDHCP(t, s.peers[0].host, nic, nic.Addr4.Addr(), "siaddr "+lan4+"77", "boot_file kernel")
	toHidden := func(f frames.Frame) bool {
		return !f.Sent && f.From(nic.MAC) && asks(f, netip.MustParseAddr(lan4+"77"))
	}

	// Without rules it does ask.
	if _, err := s.hv.Virsh(t.Context(), "start", "--paused", vm.Name); err != nil {
		t.Fatal(err)
	}
	s.run(t, "macvtap-filter", "remove", vm.Name)
	if _, err := s.hv.Virsh(t.Context(), "resume", vm.Name); err != nil {
		t.Fatal(err)
	}
	if !s.wire.Await(firmwareTime, toHidden) {
		t.Fatalf("without rules, the firmware does not ask the host that the lease names:\n%s\n%s", vm.Console(), server.log())
	}
	if err := vm.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.stop()
	s.wire.Forget()

	server = serveDHCP(t, s.peers[0].host, nic, nic.Addr4.Addr(), "siaddr "+lan4+"77", "boot_file kernel")
	if _, err := s.hv.Virsh(t.Context(), "start", vm.Name); err != nil {
		t.Fatal(err)
	}
	server.await(t, "sending ACK", firmwareTime)
	for end := time.Now().Add(firmwareTime); s.dropped(t, "arp-target") < 2; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the firmware has not asked for the host that the lease names:\n%s\n%s", vm.Console(),
				s.run(t, "nft", "list", "ruleset"))
		}
	}
	sent := s.wire.Count(func(f frames.Frame) bool { return !f.Sent && f.From(nic.MAC) })
	leaked := s.wire.Count(toHidden)
	t.Logf("of the firmware's frames %d arrived, %d of them to the denied host; %d questions for it were dropped", sent, leaked,
		s.dropped(t, "arp-target"))
	if leaked > 0 {
		t.Errorf("%d frames of the firmware to a denied host arrived", leaked)
	}
	s.expectState(t, vm, "running")
}

// asks tells whether a frame is a packet to an address, or a question by ARP who has it.
func asks(f frames.Frame, addr netip.Addr) bool {
	const arp, target = 0x0806, 38
	if _, dst, ok := f.Addrs(); ok {
		return dst == addr
	}
	if len(f.Data) < target+4 || binary.BigEndian.Uint16(f.Data[12:]) != arp {
		return false
	}
	asked, _ := netip.AddrFromSlice(f.Data[target : target+4])
	return asked == addr
}

// dropped is how many frames the rules have dropped from VMs for a reason.
func (m *machine) dropped(t *testing.T, reason string) int {
	t.Helper()
	return m.counted(t, "from-vm-"+reason)
}

// counted is how many frames a counter has of all NICs.
func (m *machine) counted(t *testing.T, counter string) int {
	t.Helper()
	n := 0
	err := m.ns.Do(func() error {
		held, err := kernel.Read(t.Context())
		for _, h := range held {
			n += int(h.Counts[counter].Packets)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
