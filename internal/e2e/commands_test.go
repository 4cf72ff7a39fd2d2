//go:build e2e

package e2e

import (
	"encoding/hex"
	"net"
	"os"
	"strings"
	"testing"

	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/ruleset"
)

// An administrator's commands work on running VMs, by whatever socket libvirt has.
func TestApplyAndRemove(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.start(t, "commanded", s.nics(2)...)
	rules := s.rules(t)

	s.run(t, "macvtap-filter", "remove", "--dry-run", vm.Name)
	s.expectRules(t, rules, true)
	s.run(t, "macvtap-filter", "remove", vm.Name)
	s.expectNoRules(t)
	s.expectOpen(t, vm)

	s.run(t, "macvtap-filter", "apply", "--dry-run", vm.Name)
	s.expectNoRules(t)
	s.run(t, "macvtap-filter", "apply", vm.Name)
	s.expectShielded(t, vm)
	s.run(t, "macvtap-filter", "apply", vm.Name)
	s.expectShielded(t, vm)

	s.run(t, "macvtap-filter", "remove", "--all")
	s.expectNoRules(t)
	s.run(t, "macvtap-filter", "apply", "--all")
	s.expectShielded(t, vm)

	s.expectDiff(t, vm)
	s.expectProgress(t)

	if _, err := s.hv.Run(t.Context(), "macvtap-filter", "apply", "nobody"); err == nil {
		t.Error("apply of a VM that is not there succeeded")
	} else if !strings.Contains(err.Error(), "nobody") {
		t.Errorf("apply does not name the VM at fault: %v", err)
	}

	// The modular daemon's socket, which Debian 12 has no daemon for: the same protocol by another name.
	sockets := s.hv.Path("/run/libvirt/")
	if err := os.Rename(sockets+"/libvirt-sock", sockets+"/virtqemud-sock"); err != nil {
		t.Fatal(err)
	}
	s.run(t, "macvtap-filter", "remove", "--all")
	s.expectNoRules(t)
	s.run(t, "macvtap-filter", "apply", "--all")
	s.expectShielded(t, vm)
}

// What explain says of a running VM's frames is what becomes of them.
func TestExplain(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.start(t, "explained", s.nics(2)...)
	index := map[string]string{} // the device of each MAC address
	for line := range strings.Lines(s.run(t, "virsh", "--connect", "qemu:///system", "domiflist", vm.Name)) {
		if fields := strings.Fields(line); len(fields) == 5 {
			index[fields[4]] = fields[0]
		}
	}
	explain := func(nic hypervisor.NIC, words ...string) string {
		t.Helper()
		return s.run(t, "macvtap-filter", append([]string{"explain", "--vm", vm.Name, "--interface", index[nic.MAC.String()]}, words...)...)
	}
	for _, nic := range vm.NICs {
		s.reachGateway(t, vm, nic) // its addresses are known then
		for _, c := range []struct {
			words, want string
		}{
			{"--out --udp 7 --to " + lan4 + "77", "dropped: denied IPv4 destination"},
			{"--out --udp 7 --to " + lan6 + "77", "dropped: denied IPv6 destination"},
			{"--out --udp 7 --vlan 0 --to " + lan4 + "77", "dropped: VLAN tag"},
			{"--out --arp --to " + lan4 + "77", "dropped: ARP with a denied host"},
			{"--out --udp 7 --to 192.0.2.1 --from-mac " + s.hidden.MAC.String(), "dropped: source MAC address not the VM's"},
			{"--out --udp 53 --to " + lan4 + "53", "passes: "},
			{"--out --udp 7 --to 192.0.2.1", "passes: "},
			{"--in --tcp 22 --from " + lan4 + "77", "dropped: denied IPv4 source"},
			{"--in --tcp 22 --from 192.0.2.1", "passes: "},
		} {
			if got := explain(nic, strings.Fields(c.words)...); !strings.HasPrefix(got, c.want) {
				t.Errorf("explain %s: %s: want %q", c.words, got, c.want)
			}
		}

		// Frames as the guest sends them.
		for _, denied := range []bool{true, false} {
			frames := s.plain(t, nic)
			want := "dropped: "
			if !denied {
				cast := s.cast(t, nic)
				ends := [2]net.IP{nic.Addr4.Addr().AsSlice(), cast.Web.IPv4.AsSlice()}
				frames, want = [][]byte{kinds[0].frame(t, nic.MAC, cast.Gateway.MAC, ends, token())}, "passes: "
			}
			for i, crossed := range s.crossedOut(t, vm, nic, frames) {
				got := explain(nic, "--out", "--hex", hex.EncodeToString(frames[i]))
				if !strings.HasPrefix(got, want) || crossed == denied {
					t.Errorf("frame %x arrives: %t; explain says %s", frames[i], crossed, got)
				}
			}
		}
	}

	for _, c := range []struct{ words, want string }{
		{"--vm explained --out --icmp --to 192.0.2.1", "say --interface and one of"},
		{"--vm nobody --out --icmp --to 192.0.2.1", "nobody"},
	} {
		_, err := s.hv.Run(t.Context(), "macvtap-filter", append([]string{"explain"}, strings.Fields(c.words)...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("explain %s: %v, want an error about %q", c.words, err, c.want)
		}
	}
	// A VM that is shut off has no rules to explain.
	if err := vm.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := s.hv.Run(t.Context(), "macvtap-filter", "explain", "--vm", vm.Name, "--out", "--icmp", "--to", "192.0.2.1")
	if err == nil || !strings.Contains(err.Error(), vm.Name) {
		t.Errorf("explain of a VM that is shut off: %s%v, want an error that names it", out, err)
	}
}

// expectDiff has "apply --diff" tell what it would change, and change nothing.
func (s *site) expectDiff(t *testing.T, vm *hypervisor.VM) {
	t.Helper()
	diff := func() string { return s.run(t, "macvtap-filter", "apply", "--diff", "--all") }
	rules := s.rules(t)
	if out := diff(); out != "" {
		t.Errorf("rules that are right would change:\n%s", out)
	}
	for name := range rules {
		device, _ := ruleset.TableDevice(name)
		s.run(t, "nft", "insert rule netdev "+ruleset.RulesTable+" "+ruleset.BaseName("to-vm", device)+" ip saddr 203.0.113.99 accept")
	}
	opened := s.rules(t)
	if out := diff(); strings.Count(out, "\n-\t\tip saddr 203.0.113.99 accept\n") != len(rules) || strings.Contains(out, "\n+\t") {
		t.Errorf("a rule too many for %d interfaces is told as\n%s", len(rules), out)
	}
	s.expectRules(t, opened, true)
	s.run(t, "macvtap-filter", "remove", "--all")
	if out := diff(); strings.Count(out, "\n+table netdev ") != len(rules) || strings.Contains(out, "\n-\t") {
		t.Errorf("the missing rules of %d interfaces are told as\n%s", len(rules), out)
	}
	s.expectNoRules(t)
	s.run(t, "macvtap-filter", "apply", "--all")
	s.expectShielded(t, vm)
}

// expectProgress has "apply --all" show on a terminal how far it is, and nowhere else.
func (s *site) expectProgress(t *testing.T) {
	t.Helper()
	second := s.define(t, "second", s.nics(1)...)
	if _, err := s.hv.Virsh(t.Context(), "start", "--paused", second.Name); err != nil {
		t.Fatal(err)
	}
	const of = `macvtap-filter: 2 of 2: "second"`
	if out := s.run(t, "env", "TERM=xterm", "script", "-qec", "macvtap-filter apply --all", "/dev/null"); !strings.Contains(out, of+"\r\x1b[K") {
		t.Errorf("on a terminal, apply --all says %q", out)
	}
	if out := s.run(t, "env", "TERM=xterm", "sh", "-c", "macvtap-filter apply --all 2>&1"); strings.Contains(out, " of 2") || strings.Contains(out, "\x1b") {
		t.Errorf("in a pipe, apply --all says %q", out)
	}
	if err := second.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
}
