package host_test

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/domain"
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

// In a container the NIC is a macvlan of the host's, whose own NIC is in another
// namespace: an index there is no device's here.
func TestMacvlanOfAnotherNamespace(t *testing.T) {
	n := network(t, lab.Options{})
	outside := n.Hypervisor.Links()
	parent, err := outside.LinkByName(n.Parent)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = inside.Close() })
	add := func(handle *netlink.Handle, link netlink.Link) {
		t.Helper()
		if err := handle.LinkAdd(link); err != nil {
			t.Fatal(err)
		}
	}
	wrong := netlink.NewLinkAttrs()
	wrong.Name, wrong.Index = "virbr1", parent.Attrs().Index // what the host's NIC has there
	add(inside.Links(), &netlink.Bridge{LinkAttrs: wrong})
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.Namespace = "eth0", parent.Attrs().Index, netlink.NsFd(inside.FD())
	add(outside, &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
	eth0, err := inside.Links().LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string, mac net.HardwareAddr) domain.Interface {
		tap := netlink.NewLinkAttrs()
		tap.Name, tap.HardwareAddr = name, mac
		tap.ParentIndex = eth0.Attrs().Index
		add(inside.Links(), &netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: tap, Mode: netlink.MACVLAN_MODE_BRIDGE}})
		return domain.Interface{Target: name, Parent: "eth0", MAC: mac}
	}
	i := of("macvtap0", mac)
	err = on(t, inside, func(h *host.Host) error {
		nic, err := h.NIC("eth0")
		if err != nil {
			return err
		}
		if nic.Name != "eth0" || nic.Index != eth0.Attrs().Index {
			t.Errorf("the NIC of eth0: %+v, want eth0 itself", nic)
		}
		if _, err := h.Check(i, nic, false); err != nil {
			t.Errorf("a device on eth0: %v", err)
		}
		bridge, err := h.NIC("virbr1")
		if err != nil {
			return err
		}
		i.Parent = "virbr1"
		if _, err := h.Check(i, bridge, false); err == nil {
			t.Error("a device on a NIC of another namespace passes for one on the device with that index here")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
