package watch_test

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/offload"
)

// TestMovesChecks shows the checks of checksum offload, which hooks attach the quick way,
// the one of a VM that ran before watch and the one of an interface that is plugged in,
// moved to where they cost less: the qdisc is gone, the check is not, and the rules were
// not touched for it. libvirt finds room for the qdisc of <bandwidth> then.
func TestMovesChecks(t *testing.T) {
	n := network(t)
	first := plug(t, n, "macvtap0", webMAC)
	hook(t, n)
	if !hasClsact(t, n, first) {
		t.Fatal("the hook made no qdisc: this test shows nothing")
	}
	before := handles(t, n)
	w := start(t, n, dmz, web)
	second := plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	w.until("the other interface is protected", func() bool { return !passes(t, n, second, "192.168.2.77") })
	if !hasTCX(t, n) {
		t.Log("this kernel has no programs without a qdisc (Linux 6.6): they stay")
		return
	}
	w.until("no qdisc is left", func() bool { return !hasClsact(t, n, first) && !hasClsact(t, n, second) })
	for _, tap := range []*lab.Tap{first, second} {
		err := n.Hypervisor.Do(func() error {
			is, err := offload.Attached(tap.Index)
			if !is {
				t.Errorf("%s: no check stands", tap.Name)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if got := handles(t, n)[first.Name]; got != before[first.Name] {
		t.Errorf("the table that stood and was right has the handle %d, before %d: it was programmed again", got, before[first.Name])
	}
	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: first.Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
	if err := n.Hypervisor.Links().QdiscAdd(ingress); err != nil {
		t.Errorf("no room for the qdisc ingress: %v", err)
	}
}

func hasClsact(t *testing.T, n *lab.Network, tap *lab.Tap) bool {
	t.Helper()
	qdiscs, err := n.Hypervisor.Links().QdiscList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: tap.Index}})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range qdiscs {
		if q.Type() == "clsact" {
			return true
		}
	}
	return false
}

// hasTCX asks the kernel on a device of its own.
func hasTCX(t *testing.T, n *lab.Network) (has bool) {
	t.Helper()
	tap := plug(t, n, "probe", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 9})
	err := n.Hypervisor.Do(func() (err error) {
		if err = offload.Attach(tap.Index); err == nil {
			has, err = offload.MoveToTCX(tap.Index)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return has
}
