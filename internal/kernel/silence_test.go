package kernel_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/lab"
)

// TestTheHostIsSilent has the host speak IPv6 on a macvtap device, as it does on most hosts,
// until the device has rules. Who looks for the VM finds it before and after, by the group
// that no one but the host's stack had the device join.
func TestTheHostIsSilent(t *testing.T) {
	if !lab.HasIPv6() {
		if os.Getenv("CI") != "" {
			t.Fatal("NOT RUN: this kernel has no IPv6")
		}
		t.Skip("NOT RUN: this kernel has no IPv6")
	}
	n, tap := network(t)
	folder := filepath.Join("/proc/sys/net/ipv6/conf", tap.Name)
	err := n.Hypervisor.Do(func() error {
		for _, setting := range [][2]string{{"addr_gen_mode", "0"}, {"disable_ipv6", "0"}} {
			if err := os.WriteFile(filepath.Join(folder, setting[0]), []byte(setting[1]), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	has := func() int {
		link, err := n.Hypervisor.Links().LinkByName(tap.Name)
		if err != nil {
			t.Fatal(err)
		}
		addresses, err := n.Hypervisor.Links().AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			t.Fatal(err)
		}
		return len(addresses)
	}
	if has() == 0 {
		t.Fatal("the host has no IPv6 address on the device: this test shows nothing")
	}
	link, err := n.Hypervisor.Links().LinkByName(tap.Name)
	if err == nil {
		err = n.Hypervisor.Links().LinkSetAllmulticastOff(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	// A request of the gateway for the VM, by its group, and by one that it is not in.
	target := site().VM.IPv6.String()
	for _, when := range []string{"before", "after"} {
		crosses(t, n, tap, in, sample{"a solicitation " + when, solicits(t, target, target), true})
		// A device tells groups apart by 256 values of a hash (drivers/net/macvlan.c, mc_hash): one may
		// be the same by chance.
		const others = 8
		arrived := 0
		for i := range others {
			passed, err := n.ToVM(tap, solicits(t, target, fmt.Sprintf("2001:db8:2::ab:cd%02x", i)))
			if err != nil {
				t.Fatal(err)
			}
			if passed {
				arrived++
			}
		}
		if arrived > others/2 {
			t.Errorf("%s: solicitations to %d of %d other groups arrive", when, arrived, others)
		}
		if when == "before" {
			create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
		}
	}
	if got := has(); got != 0 {
		t.Errorf("the host has %d IPv6 addresses on the device of a VM with rules", got)
	}
}

// solicits is the gateway's request for an address of the VM's, to the group of an address.
func solicits(t *testing.T, target, group string) []byte {
	frame := probes(t, in, target, group)
	gateway := netip.MustParseAddr("fe80::1").As16()
	copy(frame[6:], net.HardwareAddr(lan.GatewayMACs[0]))
	copy(frame[14+8:], gateway[:])
	return frame
}
