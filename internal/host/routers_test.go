package host_test

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/host"
	"macvtap-filter/internal/lab"
)

// Whoever says that it is an IPv6 router is none until a default route makes it
// one: what counts beside the route's own address are its link-local ones.
func TestOnlyADefaultRouteMakesARouter(t *testing.T) {
	n := network(t, lab.Options{
		Addresses: prefixes("192.168.2.10/24", "2001:db8:2::10/64"),
		Gateways:  addrs("192.168.2.1", "2001:db8:2::1"),
	})
	parent, err := n.Hypervisor.Links().LinkByName(n.Parent)
	if err != nil {
		t.Fatal(err)
	}
	router, other := net.HardwareAddr{2, 0, 0, 0, 2, 1}, net.HardwareAddr{2, 0, 0, 0, 2, 0x4d}
	for _, neighbour := range []struct {
		ip    string
		mac   net.HardwareAddr
		flags int
	}{
		{"192.168.2.1", router, 0}, {"fe80::1", router, netlink.NTF_ROUTER},
		{"fe80::", router, netlink.NTF_ROUTER}, // answered by every machine that forwards
		{"2001:db8:2::9", router, netlink.NTF_ROUTER}, {"fe80::9", router, 0},
		{"fe80::77", other, netlink.NTF_ROUTER}, {"2001:db8:2::77", other, netlink.NTF_ROUTER}, {"192.168.2.77", other, 0},
	} {
		err := n.Hypervisor.Links().NeighSet(&netlink.Neigh{
			LinkIndex: parent.Attrs().Index, IP: net.ParseIP(neighbour.ip), HardwareAddr: neighbour.mac,
			Flags: neighbour.flags, State: netlink.NUD_PERMANENT,
		})
		if err != nil {
			t.Fatalf("neighbour %s: %v", neighbour.ip, err)
		}
	}
	f := factsOf(t, n.Hypervisor, n.Parent)
	want := addrs("192.168.2.1", "2001:db8:2::1", "fe80::1")
	if len(f.Gateway) != len(want) {
		t.Fatalf("gateways %v, want %v", f.Gateway, want)
	}
	for i, a := range want {
		if f.Gateway[i] != a {
			t.Errorf("gateways %v, want %v", f.Gateway, want)
		}
	}
	if len(f.GatewayMACs) != 1 || net.HardwareAddr(f.GatewayMACs[0]).String() != router.String() {
		t.Errorf("MAC addresses %v, want the router's alone", f.GatewayMACs)
	}
}

// A macvtap made on a macvlan device sits on the NIC below, as the kernel has it.
func TestMacvtapOnAMacvlan(t *testing.T) {
	n := network(t, lab.Options{})
	parent, err := n.Hypervisor.Links().LinkByName(n.Parent)
	if err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "shim0", parent.Attrs().Index
	if err := n.Hypervisor.Links().LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
		t.Fatal(err)
	}
	err = on(t, n.Hypervisor, func(h *host.Host) error {
		nic, err := h.NIC("shim0")
		if err != nil {
			return err
		}
		if nic.Index != parent.Attrs().Index || nic.Name != n.Parent || len(nic.Names) != 2 {
			t.Errorf("the NIC of shim0: %+v, want %s, known by both names", nic, n.Parent)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
