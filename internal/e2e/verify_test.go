//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/ruleset"
)

// verify runs "macvtap-filter verify" with more arguments, wants it to find something or nothing, and gives what it
// prints.
func (s *site) verify(t *testing.T, finds bool, args ...string) string {
	t.Helper()
	output, err := s.hv.Run(t.Context(), "macvtap-filter", append([]string{"verify"}, args...)...)
	if finds != (err != nil) {
		t.Errorf("verify %q: error %v, want one: %t", args, err, finds)
	}
	return output
}

// Whatever somebody does to the rules of running guests is found, told in nft's words, and mended: a guest that could
// reach the LAN by it cannot any more.
func TestVerify(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.start(t, "verified", s.nics(2)...)
	other := s.start(t, "other", s.nics(1)...)
	if out := s.verify(t, false); out != "" {
		t.Errorf("all is well, and verify prints\n%s", out)
	}
	device := s.deviceOf(t, vm)
	for _, drift := range []struct {
		about, script string
		opens         bool // the LAN to the guest
		want          []string
	}{
		{"rules that accept", "insert rule netdev T from-vm-D accept\ninsert rule netdev T to-vm-D accept", true, []string{"drifted", "+\t\taccept", `device "` + device + `"`}},
		{"a chain without its rules", "flush chain netdev T default-from-vm-arp", false, []string{"drifted", "-\t\tmeta oif . arp saddr ether != ", `VM "other"`}},
		{"a policy that accepts, and no rules", "flush chain netdev T from-vm-D\nflush chain netdev T to-vm-D\nadd chain netdev T from-vm-D { policy accept; }\nadd chain netdev T to-vm-D { policy accept; }",
			true, []string{"drifted", "policy accept;", " goto default-from-vm-arp"}},
		{"chains less", "delete chain netdev T from-vm-D\ndelete chain netdev T to-vm-D", true, []string{"unprotected", `VM "verified"`, "interface 1"}},
		{"the table less", "delete table netdev T", true, []string{"unprotected", `VM "verified"`, `VM "other"`}},
		{"nothing left", "flush ruleset", true, []string{"unprotected", `VM "verified"`, `VM "other"`}},
	} {
		t.Run(drift.about, func(t *testing.T) {
			script := strings.NewReplacer("netdev T", "netdev "+ruleset.RulesTable, "-vm-D", "-vm-"+device).Replace(drift.script)
			if _, err := s.hv.Feed(t.Context(), script+"\n", "nft", "-f", "-"); err != nil {
				t.Fatal(err)
			}
			if drift.opens {
				for _, p := range s.peers {
					if p.hidden && p.addr.Is4() {
						s.expectOut(t, vm, vm.NICs[0], p, "udp", true)
					}
				}
			}
			for _, args := range [][]string{nil, {"--all"}, {vm.Name}, {"--repair", "--dry-run"}} {
				out := s.verify(t, true, args...)
				for _, line := range drift.want {
					if strings.Contains(line, `"other"`) && len(args) == 1 && args[0] == vm.Name {
						continue
					}
					if !strings.Contains(out, line) {
						t.Errorf("verify %q: no %q in\n%s", args, line, out)
					}
				}
			}
			s.verify(t, strings.Contains(strings.Join(drift.want, ""), other.Name), other.Name)
			var found []struct {
				State, VM, Table string
				Repaired         bool
			}
			if err := json.Unmarshal([]byte(s.verify(t, false, "--repair", "--json")), &found); err != nil || len(found) == 0 {
				t.Fatalf("JSON of %v: %v", found, err)
			}
			for _, f := range found {
				if !f.Repaired || f.VM == "" || f.Table == "" {
					t.Errorf("%+v", f)
				}
			}
			s.verify(t, false, "--all")
			s.expectShielded(t, vm)
		})
	}
}

// deviceOf names the device of a guest's first NIC.
func (s *site) deviceOf(t *testing.T, vm *hypervisor.VM) string {
	t.Helper()
	xml, err := s.hv.Virsh(t.Context(), "dumpxml", vm.Name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := domain.Parse(strings.NewReader(xml))
	if err != nil || len(d.Direct) == 0 {
		t.Fatalf("%+v: %v", d, err)
	}
	return d.Direct[0].Target
}

// What nobody needs any more is found, and taken away; a VM that is unknown, off, or impossible to plan is told, and
// does not hide the others.
func TestVerifyWhoIsNotThere(t *testing.T) {
	s := shieldedSite(t, "")
	vm := s.start(t, "there", s.nics(1)...)
	s.run(t, "ip", "link", "add", "gone", "type", "bridge")
	const owner = "uuid=0d3f7c1e-5b2a-4c61-9e0f-1a2b3c4d5e6f vm=dead"
	for _, left := range []string{
		`add chain netdev T from-vm-gone { type filter hook egress device "gone" priority 0; policy drop; }` + "\n" +
			`add rule netdev T from-vm-gone meta oif != "gone" drop comment "` + owner + `"`,
		`add table netdev macvtap-filter-gone { comment "` + owner + `"; }`, // as versions before made them
	} {
		if _, err := s.hv.Feed(t.Context(), strings.ReplaceAll(left, "netdev T", "netdev "+ruleset.RulesTable)+"\n", "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		wantSaid(t, s.verify(t, true), `VM "dead": device "gone".*: stale`)
		s.verify(t, false, vm.Name)
		s.verify(t, false, "--repair")
		if left := s.rules(t); len(left) != 1 || left[ruleset.TableName(s.deviceOf(t, vm))] == "" {
			t.Errorf("rules left: %v", names(left))
		}
	}
	if _, err := s.hv.Run(t.Context(), "macvtap-filter", "verify", "thare", vm.Name); err == nil || !strings.Contains(err.Error(), `VM "thare": libvirt knows no such VM, did you mean "there"?`) {
		t.Errorf("an unknown VM: %v", err)
	}

	off := s.define(t, "off", s.nics(1)...)
	s.verify(t, false, off.Name)

	// Its policy denies name servers, and there are none: nobody can say which rules it should have.
	standing := s.rules(t)
	config := s.readConfig(t)
	s.writeConfig(t, config+"\n[policy.broken]\ndeny = [\"dns\"]\n[[vm]]\nname = \"there\"\npolicy = \"broken\"\n")
	if err := os.WriteFile(s.hv.Path("/etc/resolv.conf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify"}, {"verify", "--repair", vm.Name}} {
		out, err := s.hv.Run(t.Context(), "macvtap-filter", args...)
		if out != "" || err == nil || !strings.Contains(err.Error(), `VM "there": interface`) || !strings.Contains(err.Error(), `deny "dns" stands for nothing`) {
			t.Errorf("%q of a VM that cannot be planned: %v, %s", args, err, out)
		}
	}
	s.expectRules(t, standing, true)
	s.writeConfig(t, "parents = []\nnonsense = 1\n")
	if _, err := s.hv.Run(t.Context(), "macvtap-filter", "verify"); err == nil || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("a broken configuration: %v", err)
	}
}

// A guard that the configuration wants no more is taken away, and the rules that marked frames for it are mended in the
// same call: what verify then says is that nothing is wrong.
func TestVerifyGuardNoMore(t *testing.T) {
	s := shieldedSite(t, "")
	s.start(t, "guarded", s.nics(1)...)
	config := s.readConfig(t)
	raiseGuard(t, s)
	s.verify(t, false)
	s.writeConfig(t, config)
	s.verify(t, true)
	s.verify(t, false, "--repair")
	s.verify(t, false)
}
