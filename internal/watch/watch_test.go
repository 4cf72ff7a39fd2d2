package watch_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/watch"
)

const (
	dmz = `
parents = ["enp88s0"]

[policy.dmz]
deny = ["192.168.0.0/16", "198.51.100.0/24"]

[[vm]]
name = "web-1"
policy = "dmz"
`
	webUUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
)

var webMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}

// web is the running VM web-1 with one direct interface, macvtap0.
var web = fmt.Sprintf(`<domain><name>web-1</name><uuid>%s</uuid><devices><interface type='direct'>
<mac address='%s'/><source dev='enp88s0'/><target dev='macvtap0'/></interface></devices></domain>`, webUUID, webMAC)

// TestHotPlug shows an interface that appears: open without watch; with it, closed
// to the LAN by the default policy, and then as its VM's own policy has it.
func TestHotPlug(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	if !passes(t, n, tap, "192.168.2.77") {
		t.Fatal("without watch nothing arrives: this test shows nothing")
	}
	w := start(t, n, dmz)
	w.until("the interface that was there is protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })

	other := plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	w.until("the new interface is protected", func() bool { return !passes(t, n, other, "192.168.2.77") })
	for to, want := range map[string]bool{"192.0.2.1": true, "192.168.2.1": true, "198.51.100.9": true} {
		if passes(t, n, tap, to) != want {
			t.Errorf("the default policy: a frame to %s passes: %v, want %v", to, !want, want)
		}
	}
	w.libvirt.run(web)
	w.until("the VM's own policy counts", func() bool { return !passes(t, n, tap, "198.51.100.9") })
	if !passes(t, n, other, "198.51.100.9") {
		t.Error("the other interface has the VM's policy, too")
	}
	w.libvirt.stop()
	w.nft("flush ruleset")
	w.until("the default policy counts again", func() bool { return len(w.tables()) == 2 && passes(t, n, tap, "198.51.100.9") })
	if passes(t, n, tap, "192.168.2.77") {
		t.Error("open to the LAN after its VM is gone")
	}
}

// TestPutsBack shows rules that others removed or changed.
func TestPutsBack(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	w.libvirt.run(web)
	w.until("protected", func() bool { return !passes(t, n, tap, "198.51.100.9") })
	for _, script := range []string{
		"flush ruleset",
		"insert rule netdev macvtap-filter dmz-from-vm-ipv4 accept",
		"delete table netdev macvtap-filter",
		"flush chain netdev macvtap-filter from-vm-macvtap0",
		"flush table netdev macvtap-filter",
		"insert rule netdev macvtap-filter from-vm-macvtap0 accept",
		"insert rule netdev macvtap-filter drop-from-vm-denied-ipv4 accept",
		"add chain netdev macvtap-filter from-vm-macvtap0 { policy accept; }; flush table netdev macvtap-filter",
	} {
		w.nft(script)
		w.until("put back after "+script, func() bool {
			return !passes(t, n, tap, "198.51.100.9") && w.healed()
		})
	}
	if !w.logged("VM \"web-1\": interface \"macvtap0\": rules were removed or changed by nft") {
		t.Error("the log does not say who changed the rules")
	}
	for _, why := range []journal.Reason{journal.Protected, journal.Restored} {
		if want := fmt.Sprintf(" %+v", journal.Fields{VM: "web-1", UUID: webUUID, Device: "macvtap0", Reason: why}); !w.logged(want) {
			t.Errorf("no entry has the fields %s", want)
		}
	}
}

// TestPutsBackUnknown shows rules of a VM that libvirt does not tell of: its hook's
// count until somebody leaves nothing of them that can be trusted.
func TestPutsBackUnknown(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	for _, script := range []string{
		"flush ruleset",
		"flush table netdev macvtap-filter",
		"flush chain netdev macvtap-filter from-vm-macvtap0",
		"flush table netdev macvtap-filter; delete chain netdev macvtap-filter from-vm-macvtap0",
		"insert rule netdev macvtap-filter from-vm-macvtap0 accept",
	} {
		hook(t, n)
		w.until("the VM's own policy counts", func() bool { return !passes(t, n, tap, "198.51.100.9") })
		w.nft(script)
		w.until("closed after "+script, func() bool { return !passes(t, n, tap, "192.168.2.77") && passes(t, n, tap, "192.0.2.1") })
	}
}

// TestPutsBackWithoutLibvirt shows the rules of a VM's hook where libvirt never answers: those
// come back, not the default policy's, which may open more.
func TestPutsBackWithoutLibvirt(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	away := func(time.Duration) (watch.Libvirt, error) { return nil, libvirt.ErrSlow }
	hook(t, n)
	w := begin(t, n, dmz, away, nil)
	w.until("ready", w.isReady)
	for range 3 {
		w.nft("flush ruleset")
		w.until("the VM's rules are back", func() bool { return len(w.tables()) == 1 && passes(t, n, tap, "192.0.2.1") })
		if passes(t, n, tap, "198.51.100.9") || passes(t, n, tap, "192.168.2.77") {
			t.Error("what came back opens what the VM's policy closes")
		}
	}
}

// TestFollowsTheNetwork shows a prefix and a router that the LAN gets later.
func TestFollowsTheNetwork(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, `parents = ["enp88s0"]`)
	w.until("protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })
	if !passes(t, n, tap, "198.51.100.7") || passes(t, n, tap, "192.168.2.9") {
		t.Fatal("the network is not as this test wants it")
	}
	links := n.Hypervisor.Links()
	parent, err := links.LinkByName(n.Parent)
	if err != nil {
		t.Fatal(err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IP{198, 51, 100, 2}, Mask: net.CIDRMask(24, 32)}}
	if err := links.AddrAdd(parent, address); err != nil {
		t.Fatal(err)
	}
	w.until("a new prefix is denied", func() bool { return !passes(t, n, tap, "198.51.100.7") })
	route := &netlink.Route{LinkIndex: parent.Attrs().Index, Gw: net.IP{192, 168, 2, 9}, Dst: &net.IPNet{IP: net.IP{0, 0, 0, 0}, Mask: net.CIDRMask(0, 32)}, Priority: 5}
	if err := links.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	w.until("a new router is allowed", func() bool { return passes(t, n, tap, "192.168.2.9") })
}

// TestFollowsTheConfiguration shows a file that is changed, broken, mended, and
// then one that does not name the parent any more.
func TestFollowsTheConfiguration(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	w.until("protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })

	w.configure("parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"203.0.113.0/24\", \"192.168.0.0/16\"]\n")
	w.until("the new policy counts", func() bool { return !passes(t, n, tap, "203.0.113.7") })
	w.configure("parents = [")
	w.until("the log tells of the broken file", func() bool { return w.logged("the last good configuration stays in force") })
	if passes(t, n, tap, "203.0.113.7") {
		t.Error("a broken configuration opened the interface")
	}
	if w.configure("parents = [\"eth*\"]\n"); w.took(2) && passes(t, n, tap, "192.168.2.77") {
		t.Error("its NIC is no parent any more, and the rules are gone")
	}
}

// TestMistypedParent shows one wrong letter in parents: what has rules keeps them,
// whoever flushes them, and whichever watch looks; what comes then is closed, and what was
// open stays open, since nobody says that its VM is to lose its network.
func TestMistypedParent(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	const mistyped = "parents = [\"enp88so\"]\n[policy.default]\ndeny = [\"203.0.113.0/24\", \"192.168.0.0/16\"]\n"
	w := start(t, n, dmz, web)
	w.until("protected", func() bool { return !passes(t, n, tap, "198.51.100.9") })
	w.configure(mistyped)
	w.until("the policy follows", func() bool { return passes(t, n, tap, "198.51.100.9") && !passes(t, n, tap, "203.0.113.7") })
	w.nft("flush ruleset")
	w.until("the rules are back", func() bool { return !passes(t, n, tap, "192.168.2.77") })
	fresh := plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	w.until("what is plugged in is closed", func() bool { return !passes(t, n, fresh, "192.0.2.1") })
	if !w.logged(`this host has no NIC "enp88so": did you mean "enp88s0"?`) {
		t.Error("the log does not say what may be meant")
	}
	r, err := ask(n)
	if err != nil || len(r.Devices) != 2 || !strings.Contains(r.Devices[0].Kept, `"macvtap-filter remove web-1"`) || r.Devices[1].State != watch.Closed {
		t.Errorf("%+v, %v", r, err)
	}

	w.stop()
	other := plug(t, n, "macvtap2", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 3})
	w = start(t, n, mistyped, web)
	w.until("another watch keeps the rules", func() bool { return w.logged("its rules stay") })
	if passes(t, n, tap, "192.168.2.77") || !passes(t, n, tap, "192.0.2.1") {
		t.Error("another watch did not keep the rules")
	}
	w.until("what was open is told of", func() bool { return w.logged("it gets no rules until that is mended") })
	if !passes(t, n, other, "192.0.2.1") {
		t.Error("what was open is closed")
	}
	w.configure(dmz)
	w.until("all is protected", func() bool { return passes(t, n, fresh, "192.0.2.1") && !passes(t, n, other, "192.168.2.77") })
}

// TestParentThatCame shows a parent that appears: others are let alone then.
func TestParentThatCame(t *testing.T) {
	n := network(t)
	w := start(t, n, "parents = [\"usb0\"]\n")
	tap := plug(t, n, "macvtap0", webMAC)
	w.until("closed", func() bool { return !passes(t, n, tap, "192.0.2.1") })
	if err := n.Hypervisor.Links().LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "usb0"}, PeerName: "usb1"}); err != nil {
		t.Fatal(err)
	}
	w.until("open", func() bool { return passes(t, n, tap, "192.168.2.77") })
}

// TestRename shows a device that gets another name.
func TestRename(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	w.libvirt.run(web)
	w.until("protected", func() bool { return !passes(t, n, tap, "198.51.100.9") })
	links := n.Hypervisor.Links()
	link, err := links.LinkByName("macvtap0")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func() error{
		func() error { return links.LinkSetDown(link) },
		func() error { return links.LinkSetName(link, "renamed0") },
		func() error { return links.LinkSetUp(link) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
	}
	w.until("the rules have the new name", func() bool {
		return slices.Equal(w.tables(), []string{"macvtap-filter-renamed0"}) && !passes(t, n, tap, "198.51.100.9")
	})
	if !passes(t, n, tap, "192.0.2.1") {
		t.Error("no internet after the device was renamed")
	}
}

var (
	guestMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 9}

	// trusting is web, whose guest may change the MAC address; libvirt 11.2 tells which
	// one it asked for.
	trusting = strings.NewReplacer("'direct'", "'direct' trustGuestRxFilters='yes'", "/><source", " currentAddress='"+guestMAC.String()+"'/><source").Replace(web)
)

// changeMAC changes a device's MAC address, as libvirt does for a guest.
func changeMAC(t *testing.T, n *lab.Network, tap *lab.Tap, mac net.HardwareAddr) {
	t.Helper()
	links := n.Hypervisor.Links()
	link, err := links.LinkByName(tap.Name)
	if err == nil {
		err = links.LinkSetHardwareAddr(link, mac)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestMACChanges shows a device that gets another MAC address, by its guest or somebody
// else: its rules stay with that of the domain XML, whether watch sees it happen, finds
// it, or makes the rules anew.
func TestMACChanges(t *testing.T) {
	for name, xml := range map[string]string{"by the guest": trusting, "by somebody": web} {
		t.Run(name, func(t *testing.T) {
			n := network(t)
			tap := plug(t, n, "macvtap0", webMAC)
			w := start(t, n, dmz)
			w.libvirt.run(xml)
			w.until("protected", func() bool { return !passes(t, n, tap, "198.51.100.9") })
			stays := func(when string) {
				t.Helper()
				if !passes(t, n, tap, "192.0.2.1") {
					t.Errorf("%s: no internet from the MAC address of the domain XML", when)
				}
				guest := *tap
				guest.MAC = guestMAC
				if passes(t, n, &guest, "192.0.2.1") {
					t.Errorf("%s: the guest may use the MAC address that it chose", when)
				}
			}
			const says = "its device has the MAC address 52:54:00:00:00:09"
			changeMAC(t, n, tap, guestMAC)
			w.until("it is said", func() bool {
				return w.logged(says) || w.logged("the guest gave its device the MAC address 52:54:00:00:00:09")
			})
			stays("changed")
			w.nft("flush ruleset")
			w.until("the rules are back", func() bool { return !passes(t, n, tap, "198.51.100.9") })
			stays("flushed")
			w.stop()
			w.nft("flush ruleset")
			w = start(t, n, dmz, xml)
			w.until("protected by the next one", func() bool { return !passes(t, n, tap, "198.51.100.9") })
			stays("found")
			if told := tells(t, n); told.Devices[0].Address == "" || told.Devices[0].State != watch.Right {
				t.Errorf("watch tells %+v", told.Devices[0])
			}
		})
	}
}

// TestMACChangesFollowed shows the key by which the rules follow the guest.
func TestMACChangesFollowed(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, strings.Replace(dmz, "[policy.dmz]", "[policy.dmz]\nmac_changes = \"follow\"", 1))
	w.libvirt.run(trusting)
	w.until("protected", func() bool { return !passes(t, n, tap, "198.51.100.9") })
	changeMAC(t, n, tap, guestMAC)
	tap.MAC = guestMAC
	w.until("the rules have the new MAC address", func() bool { return passes(t, n, tap, "192.0.2.1") })
	if passes(t, n, tap, "198.51.100.9") {
		t.Error("the VM's own policy does not count after its MAC address changed")
	}
	w.libvirt.run(web)
	w.until("the guest may not any more", func() bool { return !passes(t, n, tap, "192.0.2.1") })
}

// TestAnothersDevice shows a device of a name that libvirt still tells of another VM: its
// own hook's rules stay.
func TestAnothersDevice(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	hook(t, n)
	lease(t, n, tap, vmAddress)
	other := strings.NewReplacer(webUUID, "6695eb01-f6a4-8304-79aa-00000000000a", webMAC.String(), "52:54:00:00:00:0a", "web-1", "other").Replace(trusting)
	w := start(t, n, dmz, other)
	w.until("watch saw it", func() bool { return len(tells(t, n).Devices) == 1 })
	if told := tells(t, n).Devices[0]; told.State != watch.Left {
		t.Errorf("watch tells %+v", told)
	}
	if passes(t, n, tap, "198.51.100.9") || !passes(t, n, tap, "192.0.2.1") {
		t.Error("the VM's own rules are gone")
	}
}

// TestForeign shows a macvtap device that libvirt did not make, and a VM has all the same.
func TestForeign(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "kv0", webMAC)
	w := start(t, n, dmz)
	w.libvirt.run(strings.NewReplacer("'direct'", "'ethernet'", "<source dev='enp88s0'/>", "", "'macvtap0'", "'kv0' managed='no'").Replace(web))
	w.until("the VM's own policy counts", func() bool { return !passes(t, n, tap, "198.51.100.9") })
	if !passes(t, n, tap, "192.0.2.1") {
		t.Error("no internet")
	}
	if told := tells(t, n).Devices[0]; told.VM != "web-1" || told.Number != 1 {
		t.Errorf("watch tells %+v", told)
	}
}

// tells asks the watch that runs for all that it knows.
func tells(t *testing.T, n *lab.Network) watch.Report {
	t.Helper()
	told, err := ask(n)
	if err != nil {
		t.Fatal(err)
	}
	return told
}

// TestSweeps shows that a device's rules go with it, and nobody else's.
func TestSweeps(t *testing.T) {
	n := network(t)
	tap, stays := plug(t, n, "macvtap0", webMAC), plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	w := start(t, n, dmz)
	w.nft("add table netdev macvtap-filter-mine; add table netdev other; add table inet filter")
	w.until("both protected", func() bool { return len(w.tables()) == 3 })
	if err := tap.Delete(); err != nil {
		t.Fatal(err)
	}
	w.until("swept", func() bool {
		return slices.Equal(w.tables(), []string{"macvtap-filter-macvtap1", "macvtap-filter-mine"})
	})
	if passes(t, n, stays, "192.168.2.77") {
		t.Error("the other interface is open")
	}
}

// TestForgets shows a VM that stops: its device goes, and watch says nothing of that.
func TestForgets(t *testing.T) {
	n := network(t)
	w := start(t, n, dmz)
	for range 20 {
		tap := plug(t, n, "macvtap0", webMAC)
		w.libvirt.run(web)
		w.until("the VM's own policy counts", func() bool { return !passes(t, n, tap, "198.51.100.9") })
		if err := tap.Delete(); err != nil {
			t.Fatal(err)
		}
		w.libvirt.stop()
		w.until("swept", func() bool { return len(w.tables()) == 0 })
	}
	if w.logged("ERROR") {
		t.Error("the log says that something is wrong")
	}
}

// TestAdopts shows rules that hooks programmed before watch began, and while it
// runs: they are found right and left alone.
func TestAdopts(t *testing.T) {
	n := network(t)
	first, second := plug(t, n, "macvtap0", webMAC), plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	hook(t, n)
	before := handles(t, n)
	w := start(t, n, dmz, web)
	w.until("the other interface is protected", func() bool { return !passes(t, n, second, "192.168.2.77") })
	if got := handles(t, n)[first.Name]; got != before[first.Name] {
		t.Errorf("the table that stood and was right has the handle %d, before %d: it was programmed again", got, before[first.Name])
	}
	if passes(t, n, first, "198.51.100.9") {
		t.Error("the VM's own policy does not count")
	}
}

// TestLeavesStanding shows that the rules outlive watch, and that a second watch
// refuses.
func TestLeavesStanding(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	w.until("protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })
	if err := run(t, n, w.options()); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another watch runs already, process %d", os.Getpid())) {
		t.Errorf("a second watch: %v, want a refusal that names the first", err)
	}
	w.stop()
	if passes(t, n, tap, "192.168.2.77") {
		t.Error("open after watch ended")
	}
	w = start(t, n, dmz)
	w.nft("flush ruleset")
	w.until("the next one protects", func() bool { return !passes(t, n, tap, "192.168.2.77") })
}

// TestNoRules shows a policy that cannot be resolved: an interface that has rules
// keeps them, a new one is closed.
func TestNoRules(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	w.until("protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })
	links := n.Hypervisor.Links()
	parent, err := links.LinkByName(n.Parent)
	if err != nil {
		t.Fatal(err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IP{192, 168, 2, 2}, Mask: net.CIDRMask(24, 32)}}
	if err := links.AddrDel(parent, address); err != nil {
		t.Fatal(err)
	}
	w.until("the log says that the rules stay", func() bool { return w.logged("the rules stay as they are") })
	other := plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	w.until("the new interface is closed", func() bool { return !passes(t, n, other, "192.0.2.1") })
	if passes(t, n, tap, "192.168.2.77") || !passes(t, n, tap, "192.0.2.1") {
		t.Error("the old interface's rules did not stay")
	}
	if err := links.AddrAdd(parent, address); err != nil {
		t.Fatal(err)
	}
	// The route and the neighbour went with the address, and the VM's frames go to that router.
	route := &netlink.Route{LinkIndex: parent.Attrs().Index, Gw: net.IP{192, 168, 2, 1}}
	if err := links.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	knowsRouter(t, n)
	w.until("mended", func() bool { return passes(t, n, other, "192.0.2.1") && !passes(t, n, other, "192.168.2.77") })
}

// TestLibvirtsFaults shows a libvirt that hangs, says nonsense, goes away and comes
// back: every interface is protected meanwhile, and as its VM's policy has it in the
// end.
func TestLibvirtsFaults(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	w.libvirt.run("<domain><name>web-1")
	w.until("broken XML: the default policy", func() bool {
		return !passes(t, n, tap, "192.168.2.77") && w.logged("its interfaces get the default policy")
	})
	w.libvirt.run(web)
	w.until("its own policy", func() bool { return !passes(t, n, tap, "198.51.100.9") })
	w.libvirt.hang(true)
	w.until("the log tells that it hangs", func() bool { return w.logged("no answer in time") })
	w.nft("flush ruleset")
	w.until("what was known counts", func() bool { return !passes(t, n, tap, "198.51.100.9") })
	w.libvirt.hang(false)
	w.libvirt.leave()
	w.until("the log tells of it", func() bool { return w.logged("the connection ended") })
	w.nft("flush ruleset")
	w.until("what was known counts", func() bool { return !passes(t, n, tap, "198.51.100.9") })
	w.libvirt.stop() // nobody hears
	w.libvirt.come()
	w.until("the VM is known to be gone", func() bool {
		w.nft("flush ruleset")
		return passes(t, n, tap, "198.51.100.9")
	})
	w.until("the default policy counts", func() bool { return len(w.tables()) == 1 })
	if passes(t, n, tap, "192.168.2.77") {
		t.Error("open to the LAN")
	}
}

// TestBurst shows many devices and flushes at once.
func TestBurst(t *testing.T) {
	const devices = 60
	n := network(t)
	w := start(t, n, dmz)
	var taps []*lab.Tap
	for i := range devices {
		taps = append(taps, plug(t, n, fmt.Sprintf("macvtap%d", i), net.HardwareAddr{0x52, 0x54, 0, 0, 1, byte(i)}))
		w.nft("flush ruleset")
	}
	w.until("all are protected", func() bool { return len(w.tables()) == devices })
	for _, tap := range taps {
		if passes(t, n, tap, "192.168.2.77") {
			t.Errorf("%s is open", tap.Name)
		}
	}
}

func handles(t *testing.T, n *lab.Network) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	err := n.Hypervisor.Do(func() error {
		tables, err := kernel.Tables(context.Background())
		for _, s := range tables {
			out[strings.TrimPrefix(s.Name, "macvtap-filter-")] = s.Handle
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func network(t *testing.T) *lab.Network {
	t.Helper()
	if unix.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("SKIPPED: needs root, nothing was tried in the kernel")
	}
	n, err := lab.New(lab.Options{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.2/24")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.168.2.1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	knowsRouter(t, n)
	return n
}

// knowsRouter has the host know the router's MAC address, to which all frames of the
// tests' VMs go.
func knowsRouter(t *testing.T, n *lab.Network) {
	t.Helper()
	if err := n.Hypervisor.SetNeighbour(n.Parent, netip.MustParseAddr("192.168.2.1"), net.HardwareAddr{2, 0, 0, 0, 0, 1}); err != nil {
		t.Fatal(err)
	}
}

const guarded = "guard = true\n" + dmz

// TestReadyBeforeLibvirt shows a daemon that takes connections and does not answer, as
// systemd's socket for one that starts after watch: watch is ready where no interface
// waits for what libvirt says.
func TestReadyBeforeLibvirt(t *testing.T) {
	silent := func(end <-chan struct{}) func(time.Duration) (watch.Libvirt, error) {
		return func(time.Duration) (watch.Libvirt, error) {
			<-end
			return nil, libvirt.ErrSlow
		}
	}
	for name, plugged := range map[string]func(*lab.Network){
		"nothing runs": func(*lab.Network) {},
		"none of ours": func(n *lab.Network) { plug(t, n, "macvtap0", webMAC) },
	} {
		t.Run(name, func(t *testing.T) {
			n := network(t)
			plugged(n)
			w := begin(t, n, `parents = ["other*"]`, silent(t.Context().Done()), nil)
			w.until("ready", w.isReady)
		})
	}
	t.Run("an interface", func(t *testing.T) {
		n := network(t)
		plug(t, n, "macvtap0", webMAC)
		answer := make(chan struct{})
		w := begin(t, n, dmz, silent(answer), nil)
		w.until("the default policy holds", func() bool { return w.healed() })
		if w.isReady() {
			t.Error("ready, and libvirt has not said whose the interface is")
		}
		close(answer)
		w.until("ready", w.isReady)
	})
}

// TestGuard shows interfaces with guard = true: closed from the first moment, those
// whose rules somebody flushed, too, and when watch is gone; open again when the
// configuration wants no guard.
func TestGuard(t *testing.T) {
	n := network(t)
	if err := inside(n, func() error { return kernel.TryGuard(context.Background(), filter.Guard([]string{"macvtap"})) }); errors.Is(err, kernel.ErrNoGuard) {
		lab.NoGuard(t, err)
	}
	first := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, guarded, web)
	w.until("the guard stands", func() bool { return w.logged("the guard stands") })
	if !passes(t, n, first, "192.0.2.1") || passes(t, n, first, "198.51.100.9") {
		t.Error("the VM's own policy does not count behind the guard")
	}
	w.nft("flush ruleset")
	for range 20 {
		if passes(t, n, first, "192.168.2.77") {
			t.Fatal("open after a flush")
		}
	}
	w.until("the rules are back", func() bool { return passes(t, n, first, "192.0.2.1") })

	w.stop()
	w.nft("flush ruleset") // takes the guard along, which is nobody's now
	w = start(t, n, guarded, web)
	w.until("the guard stands again", func() bool { return w.logged("the guard stands") })
	w.stop()
	other := plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	if passes(t, n, other, "192.168.2.77") || passes(t, n, other, "192.0.2.1") {
		t.Error("a new interface is open while nobody watches")
	}
	w = start(t, n, guarded, web)
	w.until("the new interface has its rules", func() bool { return passes(t, n, other, "192.0.2.1") })
	if passes(t, n, other, "192.168.2.77") {
		t.Error("open to the LAN")
	}

	w.configure(dmz)
	w.until("the guard is gone", func() bool { return w.logged("removed the guard") })
	w.nft("flush ruleset")
	w.until("the rules are back without it", func() bool { return passes(t, n, first, "192.0.2.1") && !passes(t, n, first, "198.51.100.9") })
	w.configure(guarded)
	w.until("it stands again", func() bool { return w.count("the guard stands") == 2 })
	if !passes(t, n, first, "192.0.2.1") || passes(t, n, first, "198.51.100.9") {
		t.Error("the VM's own policy does not count behind the new guard")
	}
}

// TestOtherParents shows interfaces on a NIC that is no parent, behind the guard.
func TestOtherParents(t *testing.T) {
	n := network(t)
	if err := inside(n, func() error { return kernel.TryGuard(context.Background(), filter.Guard([]string{"macvtap"})) }); errors.Is(err, kernel.ErrNoGuard) {
		lab.NoGuard(t, err)
	}
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, "guard = true\nparents = [\"eth7*\"]\n")
	w.until("let through", func() bool { return w.logged("the guard stands") && passes(t, n, tap, "192.168.2.77") })
	w.configure("guard = true\nguard_others = \"drop\"\nparents = [\"eth7*\"]\n")
	w.until("closed", func() bool { return !passes(t, n, tap, "192.0.2.1") })
}

// TestRecycledName shows a device that takes the name of a dead VM's, whose rules
// still stand.
func TestRecycledName(t *testing.T) {
	n := network(t)
	dead := plug(t, n, "macvtap0", webMAC)
	hook(t, n)
	if err := dead.Delete(); err != nil {
		t.Fatal(err)
	}
	tap := plug(t, n, "macvtap0", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	w := start(t, n, dmz)
	w.until("it has the default policy", func() bool { return passes(t, n, tap, "198.51.100.9") })
	if passes(t, n, tap, "192.168.2.77") {
		t.Error("open to the LAN")
	}
}

// TestReport shows what watch tells of itself and of the devices.
func TestReport(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	if _, err := ask(n); !errors.Is(err, watch.ErrNotRunning) {
		t.Errorf("without watch: %v, want %v", err, watch.ErrNotRunning)
	}
	w := start(t, n, dmz, web)
	is := func(index int, want watch.State) bool {
		r, err := ask(n)
		if err != nil {
			return false // it has more to do than to answer
		}
		i := slices.IndexFunc(r.Devices, func(d watch.Device) bool { return d.Index == index })
		return i >= 0 && r.Devices[i].State == want && !r.Devices[i].Since.IsZero() && (r.Devices[i].Problem == "") == (want == watch.Right)
	}
	w.until("right", func() bool { return is(tap.Index, watch.Right) })
	r, err := ask(n)
	if err != nil || r.PID != os.Getpid() || r.Config != "" || r.Libvirt != "" || r.Guard || r.Devices[0].UUID != webUUID {
		t.Errorf("%+v, %v", r, err)
	}
	w.configure("parents = [")
	w.until("the configuration's fault is told", func() bool {
		r, err := ask(n)
		return err == nil && strings.Contains(r.Config, "the last good configuration")
	})
	w.configure(dmz + "[policy.default]\nallow = [\"dns\"]\ndeny = [\"onlink\"]\n")
	w.until("mended", func() bool { r, err := ask(n); return err == nil && r.Config == "" })
	links := n.Hypervisor.Links()
	parent, err := links.LinkByName(n.Parent)
	if err != nil {
		t.Fatal(err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IP{192, 168, 2, 2}, Mask: net.CIDRMask(24, 32)}}
	if err := links.AddrDel(parent, address); err != nil {
		t.Fatal(err)
	}
	w.libvirt.leave()
	other := plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	w.until("closed", func() bool { return is(other.Index, watch.Closed) })
	if r, err := ask(n); err != nil || !strings.Contains(r.Libvirt, "what is known of VMs stays") {
		t.Errorf("without libvirt: %+v, %v", r, err)
	}
}

func ask(n *lab.Network) (r watch.Report, err error) {
	err = inside(n, func() (err error) {
		r, err = watch.Ask(context.Background())
		return err
	})
	return r, err
}
