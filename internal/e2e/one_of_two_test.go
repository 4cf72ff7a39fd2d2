//go:build e2e

package e2e

import (
	"strings"
	"syscall"
	"testing"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/ruleset"
)

// A NIC whose device has another MAC address than the domain XML says has rules for the XML's, whoever makes them: the command
// that applies, for this VM and for all, and libvirt's own start. That the address is another is told, and neither NIC is open.
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
	changed := d.Direct[1].Target
	s.address(t, changed, foreign)
	for _, c := range []struct {
		name string
		made func(t *testing.T)
	}{
		{"apply", func(t *testing.T) { s.run(t, "macvtap-filter", "apply", vm.Name) }},
		{"apply --all", func(t *testing.T) { s.run(t, "macvtap-filter", "apply", "--all") }},
		{"reconnect", func(t *testing.T) { s.restartLibvirt(t, syscall.SIGKILL, func() {}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.run(t, "nft", "flush", "ruleset")
			s.expectOut(t, vm, vm.NICs[0], s.hiddenPeer(t), "udp", true)
			c.made(t)
			s.awaitRules(t, 2)
			if rules := s.rules(t)[ruleset.TableName(changed)]; !strings.Contains(rules, d.Direct[1].MAC.String()) || strings.Contains(rules, foreign) {
				t.Errorf("the rules of %s are not made for the XML's MAC address, %s:\n%s", changed, d.Direct[1].MAC, rules)
			}
			s.wire.Forget() // it was open
			s.expectOut(t, vm, vm.NICs[0], s.hiddenPeer(t), "udp", false)
			s.expectState(t, vm, "running")
		})
	}
	s.address(t, changed, d.Direct[1].MAC.String())
}

// address gives a device another MAC address.
func (s *site) address(t *testing.T, device, mac string) {
	t.Helper()
	s.run(t, "ip", "link", "set", device, "address", mac)
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
