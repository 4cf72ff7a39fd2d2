//go:build e2e

package e2e

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
)

// bySomebody is an address that a guest never uses: that it is the guest's own elsewhere, too, only its metadata can say.
const bySomebody = lan4 + "199"

// What rules have learned of a guest travels with it: it has its addresses as soon as it runs on another hypervisor, or where
// it was saved, and no other; and its definition has nothing of them.
func TestLearnedAddressesTravel(t *testing.T) {
	s := shieldedSite(t, "")
	there := s.secondMachine(t)
	there.install(t, "")
	for _, m := range []*machine{s.machine, there} {
		m.writeConfig(t, m.readConfig(t)+"\n[policy.learned]\nlearn = \"first\"\n\n[[vm]]\nname = \"moving\"\npolicy = \"learned\"\n")
		startWatch(t, s.at(m))
	}
	vm := s.start(t, "moving", s.nics(1)...)
	nic := vm.NICs[0]
	s.expectOwnAlone(t, vm) // by which it is learned
	s.run(t, "macvtap-filter", "addresses", "--bind", vm.Name, bySomebody)
	// The guest takes its IPv6 address without a probe.
	own := map[string]string{nic.Addr4.Addr().String(): "first", bySomebody: "by hand"}
	s.awaitKept(t, vm, own)

	if err := vm.Migrate(t.Context(), there.hv); err != nil {
		t.Fatal(err)
	}
	moved := s.at(there)
	moved.expectBound(t, vm, own)
	moved.expectOwnAlone(t, vm)
	moved.awaitKept(t, vm, own)

	if _, err := there.hv.Virsh(t.Context(), "save", vm.Name, "/run/e2e/saved"); err != nil {
		t.Fatal(err)
	}
	there.awaitRules(t, 0)
	if _, err := there.hv.Virsh(t.Context(), "restore", "/run/e2e/saved"); err != nil {
		t.Fatal(err)
	}
	moved.expectBound(t, vm, own)
	if err := vm.Greet(t.Context()); err != nil {
		t.Fatal(err)
	}
	moved.expectOwnAlone(t, vm)
	if text, err := s.hv.Virsh(t.Context(), "dumpxml", "--inactive", vm.Name); err != nil || strings.Contains(text, domain.AddressesNamespace) {
		t.Errorf("the VM's definition: %v: %s", err, text)
	}
}

// expectBound fails unless rules take these addresses, each known in its way, for a guest's own.
func (s *site) expectBound(t *testing.T, vm *hypervisor.VM, want map[string]string) {
	t.Helper()
	var all []struct {
		Addresses []struct{ Address, Source string }
	}
	text := s.run(t, "macvtap-filter", "addresses", "--json", vm.Name)
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	got := map[string]string{}
	for _, a := range all[0].Addresses {
		got[a.Address] = a.Source
	}
	for address, source := range want {
		if got[address] != source {
			t.Errorf("%s: %s is known by %q, want %q: %v", vm.Name, address, got[address], source, got)
		}
	}
}

// awaitKept waits until a guest's metadata have addresses, each known in its way.
func (s *site) awaitKept(t *testing.T, vm *hypervisor.VM, want map[string]string) {
	t.Helper()
	var text string
	for end := time.Now().Add(answerTime); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var err error
		if text, err = s.hv.Virsh(t.Context(), "dumpxml", vm.Name); err != nil {
			t.Fatal(err)
		}
		d, err := domain.Parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		bound := d.Addresses.Of(vm.NICs[0].MAC)
		missing := 0
		for address, known := range want {
			if !slices.ContainsFunc(bound, func(b domain.Bound) bool { return b.String() == address && b.Known == known }) {
				missing++
			}
		}
		if missing == 0 {
			return
		}
	}
	t.Fatalf("%s: its metadata never have %v:\n%s", vm.Name, want, text)
}

// expectOwnAlone fails unless what a guest sends from its IPv4 address leaves for the internet, and what it sends from
// another's before does not.
func (s *site) expectOwnAlone(t *testing.T, vm *hypervisor.VM) {
	t.Helper()
	nic := vm.NICs[0]
	probe := guestrpc.Probe{NIC: nic.Name, Kind: "ping", To: netip.AddrPortFrom(nic.Gateway4, 0), Token: token(), Wait: answerTime}
	var answer guestrpc.Answer
	if err := vm.Call(t.Context(), "Probe", probe, &answer); err != nil || !answer.Answered {
		t.Fatalf("the gateway does not answer: %v %s", err, answer.Reason)
	}
	cast := s.cast(t, nic)
	foreign, last := token(), token()
	frame := func(from netip.Addr, text string) []byte {
		return kinds[0].frame(t, nic.MAC, cast.Gateway.MAC, [2]net.IP{from.AsSlice(), cast.Web.IPv4.AsSlice()}, text)
	}
	raw := guestrpc.Raw{NIC: nic.Name, Frames: [][]byte{frame(netip.MustParseAddr(lan4+"198"), foreign), frame(nic.Addr4.Addr(), last)}}
	if err := vm.Call(t.Context(), "Send", raw, &guestrpc.Nothing{}); err != nil {
		t.Fatal(err)
	}
	came := func(text string) func(frames.Frame) bool {
		return func(f frames.Frame) bool { return f.Contains(text) && f.From(nic.MAC) }
	}
	if !s.wire.Await(answerTime, came(last)) {
		t.Errorf("%s: nothing leaves from its own address", vm.Name)
	}
	if n := s.wire.Count(came(foreign)); n > 0 {
		t.Errorf("%s: %d frames left from an address that is not its own", vm.Name, n)
	}
}
