package lab

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Seen holds the frames that came out somewhere.
type Seen struct {
	// Wire holds what left the hypervisor, in order.
	Wire [][]byte
	// Taps holds what reached each open tap, in order.
	Taps map[*Tap][][]byte
}

// Watch runs send and says where the frames came out that it sent on taps and
// the wire: exactly, without waiting for what does not come. What came before
// is thrown away. Frames of others, hosts that answer for one, may be among
// those seen.
//
// The kernel delivers most frames before the sending call returns, but hands
// broadcasts from the wire to VMs by way of a worker, and everything by way of
// another thread when it is busy. So the end of delivery is not guessed from a
// clock: see Settle.
//
// send runs on a thread that stays on one processor, where the kernel keeps
// frames in order; it must send on its own goroutine.
func (n *Network) Watch(send func() error) (*Seen, error) {
	wire, err := n.Wire()
	if err != nil {
		return nil, err
	}
	if _, err := n.seen(wire); err != nil {
		return nil, err
	}
	err = onProcessor(func() error {
		if err := send(); err != nil {
			return err
		}
		return n.Settle()
	})
	if err != nil {
		return nil, err
	}
	return n.seen(wire)
}

func (n *Network) seen(wire *Wire) (*Seen, error) {
	var err error
	seen := &Seen{Taps: make(map[*Tap][][]byte)}
	if seen.Wire, err = wire.Drain(); err != nil {
		return nil, fmt.Errorf("receive from the wire: %w", err)
	}
	for _, tap := range n.taps {
		if tap.frames == nil {
			continue
		}
		if seen.Taps[tap], err = tap.Drain(); err != nil {
			return nil, fmt.Errorf("receive from %s: %w", tap.Name, err)
		}
	}
	return seen, nil
}

// OnWire reports whether the very frame left the hypervisor.
func (s *Seen) OnWire(frame []byte) bool { return contains(s.Wire, frame) }

// OnTap reports whether the very frame reached a tap.
func (s *Seen) OnTap(tap *Tap, frame []byte) bool { return contains(s.Taps[tap], frame) }

func contains(frames [][]byte, frame []byte) bool {
	for _, f := range frames {
		if bytes.Equal(f, frame) {
			return true
		}
	}
	return false
}

// FromVM sends a frame on a tap and reports whether it left the hypervisor.
func (n *Network) FromVM(tap *Tap, frame []byte) (bool, error) {
	seen, err := n.Watch(func() error { return tap.Send(frame) })
	if err != nil {
		return false, err
	}
	return seen.OnWire(frame), nil
}

// ToVM puts a frame on the wire and reports whether it reached a tap.
func (n *Network) ToVM(tap *Tap, frame []byte) (bool, error) {
	wire, err := n.Wire()
	if err != nil {
		return false, err
	}
	seen, err := n.Watch(func() error { return wire.Send(frame) })
	if err != nil {
		return false, err
	}
	return seen.OnTap(tap, frame), nil
}

// BetweenVMs sends a frame on one tap and reports whether it reached another.
func (n *Network) BetweenVMs(from, to *Tap, frame []byte) (bool, error) {
	seen, err := n.Watch(func() error { return from.Send(frame) })
	if err != nil {
		return false, err
	}
	return seen.OnTap(to, frame), nil
}

// onProcessor runs f with its thread kept on the processor it is on.
func onProcessor(f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read the thread's processors: %w", err)
	}
	var cpu uint32
	if _, _, errno := unix.Syscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); errno != 0 {
		return fmt.Errorf("ask which processor this is: %w", errno)
	}
	var one unix.CPUSet
	one.Set(int(cpu))
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("keep the thread on processor %d: %w", cpu, err)
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &before)) }()
	return f()
}
