package watch_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/watch"
)

const incus = `
parents = ["enp88s0"]

[policy.dmz]
deny = ["192.168.0.0/16", "198.51.100.0/24"]

[[device]]
name = "mac*"
policy = "dmz"
`

const incusDevice = "mac5f00163e" // Incus makes such names: eight digits of chance behind mac

var incusMAC = net.HardwareAddr{0, 0x16, 0x3e, 0, 0, 1}

// plugUp plugs a device in the way of Incus.
func plugUp(t *testing.T, n *lab.Network, name string, mac net.HardwareAddr) *lab.Tap {
	t.Helper()
	tap, err := n.AddMacvtapUp(name, mac)
	if err == nil {
		err = tap.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
	return tap
}

// TestDevices shows macvtap devices that libvirt has no VM for, made before watch came and
// after, as Incus makes them: they have the policy of their section, and lose it with it. Where
// libvirt answers nobody, it is the same.
func TestDevices(t *testing.T) {
	for about, away := range map[string]bool{"libvirt answers": false, "there is no libvirt": true} {
		t.Run(about, func(t *testing.T) {
			n := network(t)
			before := plugUp(t, n, incusDevice, incusMAC)
			if !passes(t, n, before, "192.168.2.77") {
				t.Fatal("without watch nothing arrives: this test shows nothing")
			}
			var w *running
			if away {
				w = begin(t, n, incus, func(time.Duration) (watch.Libvirt, error) { return nil, errors.New("no daemon") }, nil)
				w.until("ready", w.isReady)
			} else {
				w = start(t, n, incus)
			}
			section := func(tap *lab.Tap) func() bool {
				return func() bool { return !passes(t, n, tap, "198.51.100.9") && passes(t, n, tap, "192.0.2.1") }
			}
			w.until("the section's policy counts", section(before))
			after := plugUp(t, n, "mac1", net.HardwareAddr{0, 0x16, 0x3e, 0, 0, 2})
			w.until("it counts for a new device", section(after))
			other := plug(t, n, "kv0", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 9})
			// It may be too new for any frame to pass, whatever its rules are.
			w.until("a device of no section has the default policy, and not the section's", func() bool {
				return !passes(t, n, other, "192.168.2.77") && passes(t, n, other, "198.51.100.9")
			})
			w.nft("flush ruleset")
			w.until("the rules are back", section(before))
			told := tells(t, n)
			if d := told.Devices[0]; d.Section != "mac*" || d.VM != "" || d.UUID != "" || d.Policy != "dmz" || d.State != watch.Right {
				t.Errorf("watch tells %+v", d)
			}
			if !w.logged(`device "` + incusDevice + `" is protected`) {
				t.Error("the log does not name the device")
			}
			if err := after.Delete(); err != nil {
				t.Fatal(err)
			}
			w.until("its rules are gone", func() bool { return len(w.tables()) == 2 })
			after = plugUp(t, n, "mac1", net.HardwareAddr{0, 0x16, 0x3e, 0, 0, 3})
			w.until("another device of that name has rules of its own", section(after))
			w.configure(strings.Replace(incus, "mac*", "kv*", 1))
			w.until("sections follow the file", section(other))
			w.until("what is none any more has the default policy", func() bool { return passes(t, n, before, "198.51.100.9") && !passes(t, n, before, "192.168.2.77") })
		})
	}
}

// TestDevicesOfVMs shows a section that matches what a VM has: the VM's own policy counts, once
// libvirt names it, and where it does not, what its hook made.
func TestDevicesOfVMs(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	open := dmz + "[policy.open]\ndeny = [\"203.0.113.0/24\"]\n[[device]]\nname = \"macvtap*\"\npolicy = \"open\"\n"
	w := start(t, n, open)
	w.until("the section's policy counts", func() bool { return w.healed() && passes(t, n, tap, "192.168.2.77") })
	w.libvirt.run(web)
	w.until("the VM's own policy counts", func() bool { return !passes(t, n, tap, "198.51.100.9") })
	w.stop()
	w.nft("flush ruleset")
	hook(t, n)
	w = begin(t, n, open, func(time.Duration) (watch.Libvirt, error) { return nil, errors.New("no daemon") }, nil)
	w.until("ready", w.isReady)
	if passes(t, n, tap, "198.51.100.9") {
		t.Error("without libvirt the section's policy took the place of what the VM's hook made")
	}
}

// TestDeviceMAC shows the MAC address that a device may use: that which it had when it came
// up, whatever it has later, for the next watch, too.
func TestDeviceMAC(t *testing.T) {
	n := network(t)
	tap, err := n.AddMacvtap(incusDevice, net.HardwareAddr{0x52, 0x54, 0, 0, 0, 7}) // the kernel's choice
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, n, incus)
	changeMAC(t, n, tap, incusMAC)
	tap.MAC = incusMAC
	if err := errors.Join(tap.Up(), tap.Open()); err != nil {
		t.Fatal(err)
	}
	w.until("it has the address of its coming up", func() bool { return !passes(t, n, tap, "198.51.100.9") && passes(t, n, tap, "192.0.2.1") })
	const says = "it has the MAC address 52:54:00:00:00:09 by now"
	for about, again := range map[string]bool{"this watch": false, "the next one": true} {
		if again {
			w.stop()
			w = start(t, n, incus)
		}
		changeMAC(t, n, tap, guestMAC)
		w.until(about+" says so", func() bool { return w.logged(says) })
		guest := *tap
		guest.MAC = guestMAC
		if passes(t, n, &guest, "192.0.2.1") {
			t.Errorf("%s: the device may use the MAC address that the guest chose", about)
		}
		if !passes(t, n, tap, "192.0.2.1") {
			t.Errorf("%s: no internet from its own MAC address", about)
		}
	}
}

// TestDeviceOnNoParent shows a section for a device whose NIC is no parent: it is said.
func TestDeviceOnNoParent(t *testing.T) {
	n := network(t)
	plugUp(t, n, incusDevice, incusMAC)
	w := start(t, n, strings.Replace(incus, "enp88s0", "eth7*", 1))
	w.until("it is said", func() bool {
		return w.logged(`device "` + incusDevice + `": a [[device]] section is for it, and it has no rules: its NIC "enp88s0" is none of the parents`)
	})
}

// TestDevicesGuarded shows the guard, which closes a device from its first frame on until
// its own rules stand. Where nft knows no prefixes, the name must be a whole one (see Spell).
func TestDevicesGuarded(t *testing.T) {
	n := network(t)
	if err := inside(n, func() error { return kernel.TryGuard(context.Background(), filter.Guard([]string{incusDevice})) }); errors.Is(err, kernel.ErrNoGuard) {
		lab.NoGuard(t, err)
	}
	text := "guard = true\nguard_prefixes = [\"" + incusDevice + "\"]\n" + incus
	w := start(t, n, text)
	w.until("the guard stands", func() bool { return w.logged("the guard stands") })
	w.stop()
	tap := plugUp(t, n, incusDevice, incusMAC)
	if passes(t, n, tap, "192.168.2.77") || passes(t, n, tap, "192.0.2.1") {
		t.Error("a new device is open while nobody watches")
	}
	w = start(t, n, text)
	w.until("it has its rules", func() bool { return passes(t, n, tap, "192.0.2.1") })
	if passes(t, n, tap, "198.51.100.9") {
		t.Error("its own policy does not count behind the guard")
	}
}
