package kernel_test

import (
	"context"
	"net"
	"testing"
	"time"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
)

var plugged = time.Unix(1_700_000_000, 0)

// TestPlugs plugs NICs in that were told of before: each is closed from its first frame on, and
// opened by its own rules alone.
func TestPlugs(t *testing.T) {
	needGuard(t)
	n, other := network(t)
	passes(t, n, other, "192.168.2.77", true)
	macs := []net.HardwareAddr{{0x52, 0x54, 0, 0, 0, 0x51}, {0x52, 0x54, 0, 0, 0, 0x52}}
	plug := func(mac net.HardwareAddr, uuid string) {
		t.Helper()
		err := within(t, n.Hypervisor, func(ctx context.Context) error {
			return kernel.Plug(ctx, []string{"macvtap"}, filter.Plug{MAC: mac, Owner: filter.Owner{UUID: uuid, Name: "web-1"}, Since: plugged})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const secondUUID = "7f0e3a52-9c1d-4e7a-8b66-0d2c4f5a6b7d"
	plug(macs[0], vmUUID)
	plug(macs[0], vmUUID) // libvirt may try again
	plug(macs[1], secondUUID)
	closed(t, n, macs...)
	taps := []*lab.Tap{addTap(t, n, "macvtap1", macs[0]), addTap(t, n, "macvtap2", macs[1])}
	for _, tap := range taps {
		passes(t, n, tap, "192.0.2.1", false)
		passes(t, n, tap, "192.168.2.77", false)
	}
	passes(t, n, other, "192.168.2.77", true)

	made := vm(vmUUID, taps[0].Name)
	made.Direct[0].MAC = macs[0]
	err := within(t, n.Hypervisor, func(ctx context.Context) error {
		return kernel.Reconcile(ctx, tables(t, made, notLearned), func(kernel.Standing) bool { return false })
	})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, n, macs[1])
	filters(t, n, taps[0])
	passes(t, n, taps[1], "192.0.2.1", false)

	// Its VM is gone, whatever became of the NIC.
	err = within(t, n.Hypervisor, func(ctx context.Context) error {
		return kernel.Unplug(ctx, func(p filter.Plug) bool { return p.Owner.UUID == secondUUID })
	})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, n)
	passes(t, n, taps[1], "192.168.2.77", true)
}

// closed checks which NICs are closed since they are about to be plugged.
func closed(t *testing.T, n *lab.Network, want ...net.HardwareAddr) {
	t.Helper()
	var all []filter.Plug
	err := within(t, n.Hypervisor, func(ctx context.Context) (err error) {
		all, err = kernel.Plugs(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(want) {
		t.Fatalf("closed are %v, want %v", all, want)
	}
	for i, p := range all {
		if p.MAC.String() != want[i].String() || p.Owner.UUID == "" || !p.Since.Equal(plugged) {
			t.Errorf("closed is %s of %+v, want %s", p.MAC, p.Owner, want[i])
		}
	}
}
