package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

var (
	vmMAC    = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	otherMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}
	lanMAC   = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x77}
	everyone = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// bound ends what hangs, and decides nothing else: however busy the machine is, what
// should happen takes less.
const bound = 5 * time.Minute

// newNetwork makes a network that ends with the test. Without root it says so,
// and fails in CI.
func newNetwork(t *testing.T, options Options) *Network {
	t.Helper()
	needRoot(t)
	n, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close the network: %v", err)
		}
	})
	return n
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("NOT RUN: network namespaces and tap devices need root")
	}
	t.Skip("NOT RUN: network namespaces and tap devices need root")
}

// newTap adds an open macvtap device that is up.
func newTap(t *testing.T, n *Network, name string, mac net.HardwareAddr) *Tap {
	t.Helper()
	tap, err := n.AddMacvtap(name, mac)
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.Open(); err != nil {
		t.Fatal(err)
	}
	if err := tap.Up(); err != nil {
		t.Fatal(err)
	}
	return tap
}

// frame makes one with a payload that names it; tags go between the addresses
// and the EtherType.
func frame(to, from net.HardwareAddr, etherType uint16, name string, tags ...uint32) []byte {
	f := append(append([]byte{}, to...), from...)
	for _, tag := range tags {
		f = binary.BigEndian.AppendUint32(f, tag)
	}
	f = binary.BigEndian.AppendUint16(f, etherType)
	f = append(f, name...)
	return append(f, bytes.Repeat([]byte{0}, max(0, 60-len(f)))...)
}

func check(t *testing.T, what string, got bool, err error, want bool) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if got != want {
		t.Errorf("%s: crossed = %t, want %t", what, got, want)
	}
}

func tag(protocol, vid uint16) uint32 { return uint32(protocol)<<16 | uint32(vid) }

func marker(i int) string { return fmt.Sprintf("frame %06d", i) }

// Two hypervisors are on one LAN, each with a parent of its own.
func TestTwoHypervisors(t *testing.T) {
	n := newNetwork(t, Options{Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.10/24")}})
	second, err := n.AddHypervisor("uplink2", Options{Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.11/24")}})
	if err != nil {
		t.Fatal(err)
	}
	links := map[*Namespace]string{}
	for _, ns := range []*Namespace{n.Hypervisor, second} {
		link, err := ns.Links().LinkByName(n.Parent)
		if err != nil {
			t.Fatal(err)
		}
		links[ns] = link.Attrs().HardwareAddr.String()
	}
	if links[second] == links[n.Hypervisor] {
		t.Errorf("both parents have the address %s", links[second])
	}
	host, err := n.AddHost("asker", lanMAC, netip.MustParsePrefix("192.168.2.77/24"))
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"192.168.2.10", "192.168.2.11"} {
		answered, err := host.Ping(netip.MustParseAddr(addr), bound)
		if err != nil || !answered {
			t.Errorf("the hypervisor %s answers: %t, %v", addr, answered, err)
		}
	}
}
