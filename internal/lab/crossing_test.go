package lab

import (
	"testing"
	"time"
)

// kinds are frames of every shape that a filter may have an opinion about.
var kinds = []struct {
	name      string
	etherType uint16
	tags      []uint32
}{
	{name: "IPv4", etherType: 0x0800},
	{name: "IPv6", etherType: 0x86dd},
	{name: "ARP", etherType: 0x0806},
	{name: "LLDP", etherType: 0x88cc},
	{name: "LLC", etherType: 46},
	{name: "VLAN 0", etherType: 0x0800, tags: []uint32{tag(0x8100, 0)}},
	{name: "VLAN 5", etherType: 0x0800, tags: []uint32{tag(0x8100, 5)}},
	{name: "VLAN 0 priority 3", etherType: 0x0800, tags: []uint32{tag(0x8100, 3<<13)}},
	{name: "802.1ad 5", etherType: 0x0800, tags: []uint32{tag(0x88a8, 5)}},
	{name: "VLAN 5 in 802.1ad 6", etherType: 0x0800, tags: []uint32{tag(0x88a8, 6), tag(0x8100, 5)}},
	{name: "VLAN 0 in VLAN 0", etherType: 0x0800, tags: []uint32{tag(0x8100, 0), tag(0x8100, 0)}},
}

func TestFramesCrossUnfiltered(t *testing.T) {
	n := newNetwork(t, Options{})
	vm, other := newTap(t, n, "macvtap0", vmMAC), newTap(t, n, "macvtap1", otherMAC)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			got, err := n.FromVM(vm, frame(lanMAC, vmMAC, k.etherType, "out "+k.name, k.tags...))
			check(t, "from the VM", got, err, true)
			got, err = n.FromVM(vm, frame(everyone, vmMAC, k.etherType, "out all "+k.name, k.tags...))
			check(t, "from the VM to everyone", got, err, true)
			got, err = n.ToVM(vm, frame(vmMAC, lanMAC, k.etherType, "in "+k.name, k.tags...))
			check(t, "to the VM", got, err, true)
			got, err = n.ToVM(vm, frame(everyone, lanMAC, k.etherType, "in all "+k.name, k.tags...))
			check(t, "to everyone", got, err, true)
			got, err = n.BetweenVMs(vm, other, frame(otherMAC, vmMAC, k.etherType, "across "+k.name, k.tags...))
			check(t, "between VMs", got, err, true)
			got, err = n.BetweenVMs(vm, other, frame(everyone, vmMAC, k.etherType, "across all "+k.name, k.tags...))
			check(t, "between VMs, to everyone", got, err, true)
		})
	}
}

func TestFramesDoNotCrossDownDevice(t *testing.T) {
	n := newNetwork(t, Options{})
	vm := newTap(t, n, "macvtap0", vmMAC)
	if err := vm.Down(); err != nil {
		t.Fatal(err)
	}
	got, err := n.ToVM(vm, frame(vmMAC, lanMAC, 0x0800, "in"))
	check(t, "to the VM", got, err, false)
	seen, err := n.Watch(func() error {
		_ = vm.Send(frame(lanMAC, vmMAC, 0x0800, "out")) // may be refused
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen.Wire) != 0 {
		t.Errorf("a device that is down sent %x", seen.Wire)
	}
}

// A burst is seen whole and in order, in both directions.
func TestWatchBurst(t *testing.T) {
	const burst = 15000
	n := newNetwork(t, Options{})
	vm := newTap(t, n, "macvtap0", vmMAC)
	wire, err := n.Wire()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	seen, err := n.Watch(func() error {
		for i := range burst {
			if err := vm.Send(frame(lanMAC, vmMAC, 0x0800, marker(i))); err != nil {
				return err
			}
			if err := wire.Send(frame(vmMAC, lanMAC, 0x0800, marker(i))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d frames each way in %v", burst, time.Since(start))
	for where, frames := range map[string][][]byte{"wire": seen.Wire, "tap": seen.Taps[vm]} {
		if len(frames) != burst {
			t.Fatalf("%s: %d frames of %d", where, len(frames), burst)
		}
		for i, f := range frames {
			if string(f[14:14+len(marker(i))]) != marker(i) {
				t.Fatalf("%s: frame %d is %x", where, i, f)
			}
		}
	}
}

func TestVirtioHeader(t *testing.T) {
	n := newNetwork(t, Options{})
	vm, err := n.AddMacvtap("macvtap0", vmMAC)
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.OpenVirtio(); err != nil {
		t.Fatal(err)
	}
	if err := vm.Up(); err != nil {
		t.Fatal(err)
	}
	got, err := n.FromVM(vm, frame(lanMAC, vmMAC, 0x0800, "out"))
	check(t, "from the VM", got, err, true)
	got, err = n.ToVM(vm, frame(vmMAC, lanMAC, 0x0800, "in"))
	check(t, "to the VM", got, err, true)
}

func BenchmarkFromVM(b *testing.B) {
	n, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	vm, err := n.AddMacvtap("macvtap0", vmMAC)
	if err != nil {
		b.Fatal(err)
	}
	if err := vm.Open(); err != nil {
		b.Fatal(err)
	}
	if err := vm.Up(); err != nil {
		b.Fatal(err)
	}
	f := frame(lanMAC, vmMAC, 0x0800, "out")
	for b.Loop() {
		if ok, err := n.FromVM(vm, f); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}
