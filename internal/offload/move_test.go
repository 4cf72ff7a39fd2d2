// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMoveToTCX moves the check while the VM sends bad frames without a pause, none of
// which comes out. The qdisc is gone then, so that another finds its place.
func TestMoveToTCX(t *testing.T) {
	n, tap := network(t)
	if !hasTCX(t, n, tap) {
		attach(t, n, tap)
		if moveToTCX(t, n, tap) {
			t.Error("moved, on a kernel that cannot (Linux 6.6)")
		}
		stands(t, n, tap, true, 0)
		return
	}
	if moveToTCX(t, n, tap) {
		t.Error("moved, and it did not stand")
	}
	stands(t, n, tap, false, 0)
	attach(t, n, tap)
	frame := append(header(1, 0, 0, 20, 10), ether(0x0800, ipv4(17, 0, 0), make([]byte, 40))...)
	sent := 0
	seen, err := n.Watch(func() error {
		moved := make(chan error, 1)
		go func() {
			moved <- n.Hypervisor.Do(func() error {
				is, err := MoveToTCX(tap.Index)
				if err == nil && !is {
					err = errors.New("not moved")
				}
				return err
			})
		}()
		for {
			if err := tap.SendRaw(frame); err != nil {
				return err
			}
			sent++
			select {
			case err := <-moved:
				return err
			default:
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen.Wire) > 0 || sent < 2 {
		t.Errorf("%d of %d bad frames came out meanwhile", len(seen.Wire), sent)
	}
	if moveToTCX(t, n, tap) {
		t.Error("moved twice")
	}
	addIngress(t, n, tap)
	attach(t, n, tap)
	if passes(t, n, tap) {
		t.Error("a bad frame passes")
	}
	single(t, n, tap)
	stands(t, n, tap, false, 0)
}

// TestMoveToTCXBesideOthers leaves the check where it is beside somebody else's program
// of the newer kind: only who may look at that can tell that it is not the check.
// Interrupted between its two steps it leaves the check in both places, which go
// together.
func TestMoveToTCXBesideOthers(t *testing.T) {
	n, tap := network(t)
	if !hasTCX(t, n, tap) {
		t.Log("this kernel has no such programs (Linux 6.6): nothing to try")
		return
	}
	addTCX := func(name string, program []instruction) {
		t.Helper()
		in(t, n, func() error {
			fd, err := loadProgram(name, program)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			s, err := findTCX(tap.Index)
			if err != nil {
				return err
			}
			s.id = 0 // beside what stands
			return s.replaceTCX(fd)
		})
	}
	attach(t, n, tap)
	addTCX("theirs", []instruction{set(r0, next), exit()})
	if moveToTCX(t, n, tap) {
		t.Error("moved beside a program that may be anybody's")
	}
	stands(t, n, tap, true, 0)
	addTCX(name(), []instruction{set(r0, next), exit()})
	detach(t, n, tap)
	stands(t, n, tap, false, 0)
	attach(t, n, tap)
	if !moveToTCX(t, n, tap) {
		in(t, n, func() error {
			if s, err := findTCX(tap.Index); err != nil || s.count != 1 || s.id != 0 {
				t.Errorf("their program alone is to stand: %+v, %v", s, err)
			}
			return nil
		})
	}
}

// TestAsService does all that watch does with the capabilities that its unit leaves it,
// on devices with one kind of check and the other.
func TestAsService(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			n, tap := network(t)
			asService := func(do func() error) {
				t.Helper()
				in(t, n, func() error { return withCapabilities(do, unix.CAP_NET_ADMIN, unix.CAP_BPF, unix.CAP_PERFMON) })
			}
			w.attach(t, n, tap)
			stands(t, n, tap, true, 0)
			asService(func() error { return Detach(tap.Index) })
			stands(t, n, tap, false, 0)
			asService(func() error { return Attach(tap.Index) })
			stands(t, n, tap, true, 0)
			asService(func() error {
				_, err := MoveToTCX(tap.Index)
				return errors.Join(err, Attach(tap.Index))
			})
			in(t, n, func() error {
				if is, err := Attached(tap.Index); !is || err != nil {
					return fmt.Errorf("attached: %v, %w", is, err)
				}
				return nil
			})
			asService(func() error { return Detach(tap.Index) })
			stands(t, n, tap, false, 0)
		})
	}
}

// withCapabilities does something on a thread that can use only these meanwhile.
func withCapabilities(do func() error, only ...uint) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all [2]unix.CapUserData
	if err := unix.Capget(&header, &all[0]); err != nil {
		return err
	}
	few := all
	few[0].Effective, few[1].Effective = 0, 0
	for _, c := range only {
		few[c/32].Effective |= 1 << (c % 32)
	}
	if err := unix.Capset(&header, &few[0]); err != nil {
		return err
	}
	return errors.Join(do(), unix.Capset(&header, &all[0]))
}

// TestCast finds the kernel's function, and loads the program that calls it, where the
// kernel has it; what that does is what the other one does (TestEveryPlace, moved to tcx).
func TestCast(t *testing.T) {
	if _, err := functionNumber("mvfilter_no_such_function"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no such function: %v, want %v", err, unix.ENOENT)
	}
	number, err := functionNumber("bpf_cast_to_kern_ctx")
	if errors.Is(err, unix.ENOENT) {
		t.Logf("this kernel has no such function (Linux 6.2)")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err := newProgram(castFrame(number))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(program); err != nil {
		t.Error(err)
	}
}
