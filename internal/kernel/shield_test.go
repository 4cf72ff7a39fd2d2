package kernel_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

var vmMAC = net.HardwareAddr{0x52, 0x54, 0x00, 0x00, 0x00, 0x01}

const vmUUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"

// lan is what a host on the test network would read off it.
var lan = facts.Facts{
	Parent:    "enp88s0",
	Gateway:   []netip.Addr{netip.MustParseAddr("192.168.2.1"), netip.MustParseAddr("fe80::1")},
	DNS:       []netip.Addr{netip.MustParseAddr("192.168.2.53")},
	Broadcast: []netip.Addr{netip.MustParseAddr("192.168.2.255"), netip.MustParseAddr("255.255.255.255")},
	OnLink:    []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")},

	GatewayMACs: []facts.MAC{{0x02, 0, 0, 0, 0x02, 0x01}},
}

// vm is a domain with direct interfaces on the given devices.
func vm(uuid string, devices ...string) *domain.Domain {
	d := &domain.Domain{Name: "web-1", UUID: uuid}
	for n, device := range devices {
		d.Direct = append(d.Direct, domain.Interface{Number: n + 1, Target: device, Parent: lan.Parent, MAC: vmMAC})
	}
	return d
}

// notLearned is for tests whose subject is something else than how rules learn a VM's addresses:
// frames from any meet the rules behind.
const notLearned = "[policy.default]\nlearn = \"off\"\n"

// tables plans a domain's tables under a configuration; "" is the defaults.
func tables(t testing.TB, d *domain.Domain, policy string) []ruleset.Table {
	t.Helper()
	return tablesBy(t, d, policy, lan)
}

func tablesBy(t testing.TB, d *domain.Domain, policy string, known facts.Facts) []ruleset.Table {
	t.Helper()
	c, err := config.Parse("config.toml", []byte("parents = [\""+known.Parent+"\"]\n"+policy))
	if err != nil {
		t.Fatal(err)
	}
	made, err := plan.Make(d, c, plan.Recorded{known})
	if err != nil {
		t.Fatal(err)
	}
	return made.Tables
}

// within runs f in a namespace with a context that ends in time.
func within(t testing.TB, ns *lab.Namespace, f func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	return ns.Do(func() error { return f(ctx) })
}

func create(t testing.TB, ns *lab.Namespace, made []ruleset.Table) {
	t.Helper()
	if err := within(t, ns, func(ctx context.Context) error { return kernel.Create(ctx, made) }); err != nil {
		t.Fatal(err)
	}
}

// boundIn gives tables as those of the devices that a namespace has.
func boundIn(t testing.TB, ns *lab.Namespace, made []ruleset.Table) []ruleset.Table {
	t.Helper()
	made = slices.Clone(made)
	for i, m := range made {
		device, _ := ruleset.TableDevice(m.Name)
		link, err := ns.Links().LinkByName(device)
		if err != nil {
			t.Fatalf("device %q: %v", device, err)
		}
		made[i] = m.Bind(link.Attrs().Index)
	}
	return made
}

// createPlain and readPlain are for tables that are no interfaces' rules.
func createPlain(t testing.TB, ns *lab.Namespace, made ...ruleset.Table) {
	t.Helper()
	if err := within(t, ns, func(ctx context.Context) error { return kernel.CreatePlain(ctx, made...) }); err != nil {
		t.Fatal(err)
	}
}

func readPlain(t testing.TB, ns *lab.Namespace, name string) ruleset.Table {
	t.Helper()
	var stands ruleset.Table
	err := within(t, ns, func(ctx context.Context) (err error) {
		stands, err = kernel.ReadPlain(ctx, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return stands
}

// standing lists the names of the tables in a namespace.
func standing(t testing.TB, ns *lab.Namespace) []string {
	t.Helper()
	var names []string
	err := within(t, ns, func(ctx context.Context) error {
		all, err := kernel.Tables(ctx)
		for _, s := range all {
			names = append(names, s.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// network makes a test network with one VM's tap on it.
func network(t testing.TB) (*lab.Network, *lab.Tap) {
	t.Helper()
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := n.SetOffload(false); err != nil {
		t.Fatal(err)
	}
	return n, addTap(t, n, "macvtap0", vmMAC)
}

func addTap(t testing.TB, n *lab.Network, name string, mac net.HardwareAddr) *lab.Tap {
	t.Helper()
	tap, err := n.AddMacvtap(name, mac)
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.OpenVirtio(); err != nil {
		t.Fatal(err)
	}
	if err := tap.Up(); err != nil {
		t.Fatal(err)
	}
	return tap
}

// namespace is an empty one.
func namespace(t testing.TB) *lab.Namespace {
	t.Helper()
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

func join(names []string) string { return strings.Join(names, " ") }
