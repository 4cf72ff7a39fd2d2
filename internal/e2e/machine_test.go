//go:build e2e

package e2e

import (
	"context"
	"net/netip"
	"os"
	"testing"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/lab"
)

// A machine is a hypervisor on the site's LAN, with libvirt running.
type machine struct {
	hv *hypervisor.Hypervisor
	ns *lab.Namespace
	// wire sees every frame on the hypervisor's cable.
	wire *frames.Capture
}

// newMachine makes a machine of a network namespace whose cable ends at a port of the LAN's bridge. It has no hook, and
// ends with the test.
func (s *site) newMachine(t *testing.T, port string, ns *lab.Namespace) *machine {
	t.Helper()
	m := &machine{ns: ns}
	err := s.network.LAN.Do(func() (err error) {
		m.wire, err = frames.Listen(port)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if m.hv, err = hypervisor.New(ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close(t) })
	// A link in place of the file would lead out of the hypervisor's /etc.
	path := m.hv.Path("/etc/resolv.conf")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(resolvConf), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.hv.StartLibvirt(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// close takes the hypervisor down, and shows what it last said if the test failed.
func (m *machine) close(t *testing.T) {
	if t.Failed() {
		t.Logf("libvirtd said:\n%s", m.hv.LibvirtLog())
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		defer cancel()
		rules, err := m.hv.Run(ctx, "nft", "list", "ruleset")
		t.Logf("the rules at the end: %v\n%s", err, rules)
	}
	if err := m.hv.Close(); err != nil {
		t.Error(err)
	}
}

// secondMachine plugs another hypervisor into the LAN, whose parent NIC has the name of the first one's.
func (s *site) secondMachine(t *testing.T) *machine {
	t.Helper()
	ns, err := s.network.AddHypervisor("uplink2", lab.Options{
		Addresses: prefixes(lan4+"11/24", lan6+"11/64"),
		Gateways:  gateways(),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.knowsRouter(t, ns)
	return s.newMachine(t, "uplink2", ns)
}

// gateways are the hypervisors' default routes.
func gateways() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr(lan4 + "1"), netip.MustParseAddr("fe80::1")}
}

// at is the site as it is for guests on another machine.
func (s *site) at(m *machine) *site {
	there := *s
	there.machine = m
	return &there
}
