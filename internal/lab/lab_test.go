package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"testing"
)

var (
	vmMAC    = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	otherMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}
	lanMAC   = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x77}
	everyone = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

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
