// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"errors"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/lab"
)

// passes sends a frame that asks for a sum over the IPv4 destination.
func passes(t *testing.T, n *lab.Network, tap *lab.Tap) bool {
	t.Helper()
	frame := ether(0x0800, ipv4(17, 0, 0), make([]byte, 40))
	seen, err := n.Watch(func() error { return tap.SendRaw(append(header(1, 0, 0, 20, 10), frame...)) })
	if err != nil {
		t.Fatal(err)
	}
	return len(seen.Wire) > 0
}

// stands holds what the package says of a device, and what it does, against what is
// wanted.
func stands(t *testing.T, n *lab.Network, tap *lab.Tap, attached bool, drops uint64) {
	t.Helper()
	in(t, n, func() error {
		is, err := Attached(tap.Index)
		counted, dropsErr := Drops(tap.Index)
		if is != attached || counted != drops {
			t.Errorf("attached: %v, %d dropped; want %v, %d", is, counted, attached, drops)
		}
		return errors.Join(err, dropsErr)
	})
	if passed := passes(t, n, tap); passed == attached {
		t.Errorf("attached: %v, a bad frame passes: %v", attached, passed)
	}
}

func detach(t *testing.T, n *lab.Network, tap *lab.Tap) {
	t.Helper()
	in(t, n, func() error { return Detach(tap.Index) })
}

// single fails unless the device has one program of this package, of any version,
// which it takes away.
func single(t *testing.T, n *lab.Network, tap *lab.Tap) {
	t.Helper()
	detach(t, n, tap)
	in(t, n, func() error {
		if s, err := find(tap.Index); err != nil || s.id != 0 {
			t.Errorf("another program was there: %+v: %v", s, err)
		}
		return nil
	})
}

func TestLife(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			n, tap := network(t)
			other := addTap(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
			stands(t, n, tap, false, 0)
			detach(t, n, tap) // nothing there
			w.attach(t, n, tap)
			stands(t, n, tap, true, 0)
			attach(t, n, tap) // changes nothing: the count goes on
			stands(t, n, tap, true, 1)
			stands(t, n, other, false, 0)
			if err := errors.Join(tap.Down(), tap.Up()); err != nil {
				t.Fatal(err)
			}
			stands(t, n, tap, true, 2)
			single(t, n, tap)
			stands(t, n, tap, false, 0)
			detach(t, n, tap)
			attach(t, n, tap)
			stands(t, n, tap, true, 0)
		})
	}
}

// TestAnotherVersion finds a program of another version, which lets everything pass,
// and puts its own in that one's place.
func TestAnotherVersion(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			n, tap := network(t)
			w.attach(t, n, tap)
			in(t, n, func() error {
				const old = prefix + "000000"
				idle, err := loadProgram(old, []instruction{set(r0, next), exit()})
				if err != nil {
					return err
				}
				defer unix.Close(idle)
				s, err := find(tap.Index)
				switch {
				case err != nil:
					return err
				case s.tcx:
					return s.replaceTCX(idle)
				}
				return s.replaceClsact(idle, old)
			})
			stands(t, n, tap, false, 0)
			attach(t, n, tap)
			stands(t, n, tap, true, 0)
			single(t, n, tap)
		})
	}
}

// TestAtOnce has several attach at the same time.
func TestAtOnce(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			n, tap := network(t)
			w.attach(t, n, tap)
			detach(t, n, tap)
			const many = 8
			done := make(chan error, many)
			for range many {
				go func() { done <- n.Hypervisor.Do(func() error { return Attach(tap.Index) }) }()
			}
			for range many {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			stands(t, n, tap, true, 0)
			single(t, n, tap)
		})
	}
}

// TestNoPlace finds no place for the check on kernels before Linux 6.6, and says so:
// as a filter of the qdisc that stands there it would judge the other way.
func TestNoPlace(t *testing.T) {
	n, tap := network(t)
	addIngress(t, n, tap)
	err := n.Hypervisor.Do(func() error {
		program, err := newProgram(copyFrame())
		if err != nil {
			t.Error(err)
		}
		defer unix.Close(program)
		return standing{ifindex: tap.Index}.replace(program)
	})
	if !errors.Is(err, errIngress) {
		t.Errorf("got %v, want %v", err, errIngress)
	}
}

// TestOthersStay finds somebody else's filters beside the check, which stay when it
// goes.
func TestOthersStay(t *testing.T) {
	n, tap := network(t)
	links := n.Hypervisor.Links()
	theirs := standing{ifindex: tap.Index}
	if err := links.QdiscAdd(theirs.clsact()); err != nil {
		t.Fatal(err)
	}
	in(t, n, func() error {
		program, err := loadProgram("theirs", []instruction{set(r0, next), exit()})
		if err != nil {
			return err
		}
		defer unix.Close(program)
		for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			place := theirs.filter()
			place.Parent, place.Handle = parent, 1
			err = errors.Join(err, links.FilterAdd(&netlink.BpfFilter{FilterAttrs: place, Fd: program, Name: "theirs", DirectAction: true}))
		}
		return err
	})
	stands(t, n, tap, false, 0)
	attach(t, n, tap)
	stands(t, n, tap, true, 0)
	detach(t, n, tap)
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		if filters, err := theirs.filters(links, parent); err != nil || len(filters) != 1 {
			t.Errorf("%d filters of theirs: %v", len(filters), err)
		}
	}
}

// TestNothingIsLeft looks for the qdisc after the check is gone.
func TestNothingIsLeft(t *testing.T) {
	n, tap := network(t)
	attach(t, n, tap)
	detach(t, n, tap)
	addIngress(t, n, tap) // it is in the place of clsact, or fails
}

// TestNoDevice asks of a device that is not there.
func TestNoDevice(t *testing.T) {
	n, _ := network(t)
	in(t, n, func() error {
		const nobody = 1 << 20
		if Attach(nobody) == nil {
			t.Error("no device, and no error")
		}
		if attached, _ := Attached(nobody); attached {
			t.Error("no device, and attached")
		}
		if err := Detach(nobody); err != nil && !errors.Is(err, unix.ENODEV) {
			t.Errorf("detach from nothing: %v", err)
		}
		return nil
	})
}
