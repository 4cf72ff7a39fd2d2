//go:build e2e

package e2e

import (
	"strings"
	"syscall"
	"testing"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/ruleset"
)

// What is wrong with one NIC of a running VM keeps the other from none of its rules, whoever makes them: the command that repairs,
// the one that applies, for this VM and for all, and libvirt's own start. That the one has none is told each time.
func TestOneOfTwoNICs(t *testing.T) {
	const foreign = "52:54:00:ff:ff:fe" // a MAC address that is not the domain XML's
	s := shieldedSite(t, "")
	nics := s.nics(2)
	nics[1].Mistrusted = true
	vm := s.start(t, "half", nics...)
	xml, err := s.hv.Virsh(t.Context(), "dumpxml", vm.Name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := domain.Parse(strings.NewReader(xml))
	if err != nil || len(d.Direct) != 2 {
		t.Fatalf("%+v: %v", d, err)
	}
	good, bad := ruleset.TableName(d.Direct[0].Target), d.Direct[1].Target
	s.address(t, bad, foreign)
	for _, c := range []struct {
		name string
		made func(t *testing.T)
	}{
		{"verify --repair", func(t *testing.T) { s.failing(t, bad, "verify", "--repair") }},
		{"apply", func(t *testing.T) { s.failing(t, bad, "apply", vm.Name) }},
		{"apply --all", func(t *testing.T) { s.failing(t, bad, "apply", "--all") }},
		{"reconnect", func(t *testing.T) { s.restartLibvirt(t, syscall.SIGKILL, func() {}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.run(t, "nft", "flush", "ruleset")
			s.expectOut(t, vm, vm.NICs[0], s.hiddenPeer(t), "udp", true)
			if out := s.failing(t, bad, "verify"); !strings.Contains(out, "table "+good+": unprotected") {
				t.Errorf("verify does not say that the good interface has no rules:\n%s", out)
			}
			c.made(t)
			s.awaitRules(t, 1)
			if stand := s.rules(t); stand[good] == "" {
				t.Errorf("the tables %v, want %s", names(stand), good)
			}
			s.wire.Forget() // it was open
			s.expectOut(t, vm, vm.NICs[0], s.hiddenPeer(t), "udp", false)
			s.expectState(t, vm, "running")
		})
	}
	// Nothing of the VM's goes while one cannot be planned, and all is well when it can.
	s.address(t, bad, d.Direct[1].MAC.String())
	s.run(t, "macvtap-filter", "apply", vm.Name)
	s.awaitRules(t, 2)
	s.address(t, bad, foreign)
	before := s.rules(t)
	for _, args := range [][]string{{"apply", vm.Name}, {"apply", "--all"}, {"verify", "--repair"}} {
		s.failing(t, bad, args...)
		s.expectRules(t, before, true)
	}
}

// address gives a device another MAC address.
func (s *site) address(t *testing.T, device, mac string) {
	t.Helper()
	s.run(t, "ip", "link", "set", device, "address", mac)
}

// failing runs the program, wants it to fail for a device alone, and gives what it prints.
func (s *site) failing(t *testing.T, device string, args ...string) string {
	t.Helper()
	output, err := s.hv.Run(t.Context(), "macvtap-filter", args...)
	if err == nil || strings.Count(err.Error(), "macvtap-filter: error:") != 1 || !strings.Contains(err.Error(), `interface "`+device+`": device "`+device+`" has the MAC address`) {
		t.Errorf("%q: %v, want an error of %q alone", args, err, device)
	}
	return output
}

// hiddenPeer gives a host of the LAN that no policy allows.
func (s *site) hiddenPeer(t *testing.T) peer {
	t.Helper()
	for _, p := range s.peers {
		if p.hidden && p.addr.Is4() {
			return p
		}
	}
	t.Fatal("no host is hidden")
	return peer{}
}
