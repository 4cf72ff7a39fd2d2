package host_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/lab"
)

var mac = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}

func network(t *testing.T, o lab.Options) *lab.Network {
	t.Helper()
	n, err := lab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// on asks the host of a namespace.
func on(t *testing.T, ns *lab.Namespace, ask func(*host.Host) error) error {
	t.Helper()
	return ns.Do(func() error {
		h, err := host.Open(t.Context())
		if err != nil {
			return err
		}
		defer h.Close()
		return ask(h)
	})
}

func prefixes(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addrs(all ...string) []netip.Addr {
	out := []netip.Addr{}
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// factsOf reads a parent's facts, less the name servers, which are the machine's.
func factsOf(t *testing.T, ns *lab.Namespace, parent string) facts.Facts {
	t.Helper()
	var f facts.Facts
	if err := on(t, ns, func(h *host.Host) (err error) {
		f, err = h.Facts(parent)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	f.DNS = nil
	return f
}

func same(t *testing.T, got, want facts.Facts) {
	t.Helper()
	equal := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

func route(t *testing.T, n *lab.Network, r netlink.Route) {
	t.Helper()
	if err := n.Hypervisor.Links().RouteAdd(&r); err != nil {
		t.Fatalf("route %s: %v", r, err)
	}
}

func ipNet(s string) *net.IPNet {
	_, p, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return p
}

func TestFacts(t *testing.T) {
	n := network(t, lab.Options{
		Addresses: prefixes("192.168.2.10/24", "203.0.113.9/29", "2001:db8:2::10/64"),
		Gateways:  addrs("192.168.2.1", "2001:db8:2::1"),
	})
	parent, err := n.Hypervisor.Links().LinkByName(n.Parent)
	if err != nil {
		t.Fatal(err)
	}
	index := parent.Attrs().Index
	if err := n.Hypervisor.Links().LinkAddAltName(parent, "uplink-with-a-long-name"); err != nil {
		t.Fatal(err)
	}
	other := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "other"}}
	if err := n.Hypervisor.Links().LinkAdd(other); err != nil {
		t.Fatal(err)
	}
	if err := n.Hypervisor.Links().LinkSetUp(other); err != nil {
		t.Fatal(err)
	}
	// On the LAN without a router; a second router of two; and what is none of
	// the parent's business.
	route(t, n, netlink.Route{LinkIndex: index, Dst: ipNet("10.5.0.0/16"), Scope: netlink.SCOPE_LINK})
	route(t, n, netlink.Route{Dst: ipNet("0.0.0.0/0"), Priority: 9, MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: index, Gw: net.ParseIP("192.168.2.3")}, {LinkIndex: index, Gw: net.ParseIP("192.168.2.4")},
	}})
	route(t, n, netlink.Route{LinkIndex: index, Dst: ipNet("10.6.0.0/16"), Gw: net.ParseIP("192.168.2.9")})
	route(t, n, netlink.Route{LinkIndex: other.Attrs().Index, Dst: ipNet("10.7.0.0/16"), Scope: netlink.SCOPE_LINK})

	want := facts.Facts{
		Parent: n.Parent, Names: []string{"uplink-with-a-long-name"},
		Gateway:   addrs("192.168.2.1", "192.168.2.3", "192.168.2.4", "2001:db8:2::1"),
		Broadcast: addrs("192.168.2.255", "203.0.113.15", "255.255.255.255"),
		OnLink:    prefixes("10.5.0.0/16", "192.168.2.0/24", "203.0.113.8/29", "2001:db8:2::/64"),
		Host:      addrs("192.168.2.10", "203.0.113.9", "2001:db8:2::10"),
	}
	same(t, factsOf(t, n.Hypervisor, n.Parent), want)
	same(t, factsOf(t, n.Hypervisor, "uplink-with-a-long-name"), want)
}

func TestFactsOfAParentWithoutAddresses(t *testing.T) {
	n := network(t, lab.Options{})
	empty := facts.Facts{Parent: n.Parent, Names: nil, Gateway: addrs(), Broadcast: addrs("255.255.255.255"), OnLink: []netip.Prefix{}}
	same(t, factsOf(t, n.Hypervisor, n.Parent), empty)

	// A macvlan device of the host's own has the addresses instead.
	parent, err := n.Hypervisor.Links().LinkByName(n.Parent)
	if err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "macvlan0", parent.Attrs().Index
	own := &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}
	links := n.Hypervisor.Links()
	if err := links.LinkAdd(own); err != nil {
		t.Fatal(err)
	}
	if err := links.LinkSetUp(own); err != nil {
		t.Fatal(err)
	}
	address := &net.IPNet{IP: net.ParseIP("192.168.2.10"), Mask: net.CIDRMask(24, 32)}
	if err := links.AddrAdd(own, &netlink.Addr{IPNet: address}); err != nil {
		t.Fatal(err)
	}
	route(t, n, netlink.Route{Gw: net.ParseIP("192.168.2.1")})
	same(t, factsOf(t, n.Hypervisor, n.Parent), facts.Facts{
		Parent: n.Parent, Gateway: addrs("192.168.2.1"),
		Broadcast: addrs("192.168.2.255", "255.255.255.255"), OnLink: prefixes("192.168.2.0/24"), Host: addrs("192.168.2.10"),
	})
}

func TestFactsOfNoDevice(t *testing.T) {
	n := network(t, lab.Options{})
	err := on(t, n.Hypervisor, func(h *host.Host) error {
		_, err := h.Facts("nosuch0")
		return err
	})
	if err == nil || !strings.Contains(err.Error(), `no network device "nosuch0"`) {
		t.Errorf("got %v, want an error that names the device", err)
	}
}

func TestCheck(t *testing.T) {
	n := network(t, lab.Options{})
	tap, err := n.AddMacvtap("macvtap0", mac)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Hypervisor.Links().LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "other"}}); err != nil {
		t.Fatal(err)
	}
	otherMAC := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}
	err = on(t, n.Hypervisor, func(h *host.Host) error {
		for device, is := range map[string]bool{tap.Name: true, "other": false, "nosuch0": false} {
			name, parent, ok, err := h.Foreign(device)
			if err != nil || ok != is || ok && (name != device || parent != n.Parent) {
				t.Errorf("Foreign(%s): %q on %q, %t, %v", device, name, parent, ok, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	right := domain.Interface{Target: tap.Name, Parent: n.Parent, MAC: mac}
	edit := func(f func(*domain.Interface)) domain.Interface {
		i := right
		f(&i)
		return i
	}
	for _, c := range []struct {
		name    string
		i       domain.Interface
		running bool
		want    string // part of the error, "" for none
	}{
		{"right", right, false, ""},
		{"no MAC in the XML", edit(func(i *domain.Interface) { i.MAC = nil }), false, ""},
		{"no device", edit(func(i *domain.Interface) { i.Target = "" }), false, "no <target"},
		{"missing device", edit(func(i *domain.Interface) { i.Target = "macvtap9" }), false, `no network device "macvtap9"`},
		{"not a macvtap", edit(func(i *domain.Interface) { i.Target = "other" }), false, "not a macvtap"},
		{"another parent", edit(func(i *domain.Interface) { i.Parent = "other" }), false, "another NIC"},
		{"missing parent", edit(func(i *domain.Interface) { i.Parent = "nosuch0" }), false, `no network device "nosuch0"`},
		{"another MAC", edit(func(i *domain.Interface) { i.MAC = otherMAC }), false, otherMAC.String()},
		{"another MAC that somebody set", edit(func(i *domain.Interface) { i.MAC = otherMAC }), true, ""},
		{"another MAC that the guest chose", edit(func(i *domain.Interface) { i.MAC, i.TrustGuest = otherMAC, true }), true, ""},
		{"another MAC of a guest that is restored", edit(func(i *domain.Interface) { i.MAC, i.TrustGuest = otherMAC, true }), false, ""},
		{"another MAC of a device that libvirt did not make", edit(func(i *domain.Interface) { i.MAC, i.Foreign = otherMAC, true }), false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := on(t, n.Hypervisor, func(h *host.Host) error {
				parent, err := h.NIC(c.i.Parent)
				if err != nil {
					return err
				}
				_, err = h.Check(c.i, parent, c.running)
				return err
			})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestMatchNamesMasters(t *testing.T) {
	n := network(t, lab.Options{})
	links := n.Hypervisor.Links()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	if err := links.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	parent, err := links.LinkByName(n.Parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := links.LinkSetMaster(parent, bridge); err != nil {
		t.Fatal(err)
	}
	err = on(t, n.Hypervisor, func(h *host.Host) error {
		for pattern, want := range map[string]string{n.Parent: "br0", "br0": ""} {
			nics, err := h.Match(pattern)
			if err != nil {
				return err
			}
			if len(nics) != 1 || nics[0].Master != want {
				t.Errorf("%s: %+v, want one whose master is %q", pattern, nics, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
