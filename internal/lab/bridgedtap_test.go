package lab

import "testing"

// A VM on a plain tap in the hypervisor's bridge talks with the LAN like one on macvtap.
func TestBridgedTap(t *testing.T) {
	n := newNetwork(t, Options{})
	wire, err := n.Wire()
	if err != nil {
		t.Fatal(err)
	}
	tap, err := n.AddBridgedTap("tap0", vmMAC)
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.OpenVirtio(); err != nil {
		t.Fatal(err)
	}
	if err := tap.Up(); err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct {
		name     string
		from, to []byte
		send     func([]byte) error
		arrives  func([]byte) (bool, error)
	}{
		{"from the VM", vmMAC, lanMAC, tap.Send, func(m []byte) (bool, error) { return wire.Arrives(m, bound) }},
		{"to the VM", lanMAC, vmMAC, wire.Send, func(m []byte) (bool, error) { return tap.Arrives(m, bound) }},
	} {
		marker := []byte("a frame " + way.name)
		frame := append(append(append(append([]byte{}, way.to...), way.from...), 0x88, 0xb5), marker...)
		if err := way.send(append(frame, make([]byte, 64)...)); err != nil {
			t.Fatal(err)
		}
		if arrives, err := way.arrives(marker); err != nil || !arrives {
			t.Errorf("%s: arrives %t, %v", way.name, arrives, err)
		}
	}
}
