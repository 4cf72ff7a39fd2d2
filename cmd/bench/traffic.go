package main

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/lab"
)

// Traffic sends frames through the macvtap device, from the VM and to it, as fast
// as one processor can, and counts those that the rules let pass.
//
// From the VM: each frame is one write to the tap. The writing thread itself
// carries it through the egress hook, across the cable, and into the LAN's
// bridge, which has nobody to give it to.
//
// To the VM: a packet socket at the far end of the cable. The sending thread
// itself carries each frame, in the softirq that its sending raises, through the
// ingress hook and to the tap's queue. That queue has room for one frame and
// nobody empties it, so all others are thrown away there, right after the rules
// let them pass: neither a reader on the other processor, nor its waking, nor the
// memory of waiting frames is in the time. That a frame was thrown away there,
// and not before, the device counts.
//
// Before each frame, both ways, is a virtio header, as QEMU and vhost-net have it; the
// tap takes frames that are still to be cut up, as a Linux guest does.
type traffic struct {
	hypervisor *lab.Namespace
	tap        *lab.Tap
	socket     int
	counters   map[bench.Way]counter
}

// A counter tells how many frames a device passed on, or had no room for.
type counter struct {
	device int
	of     func(*netlink.LinkStatistics) uint64
}

func passedOn(s *netlink.LinkStatistics) uint64 { return s.TxPackets }

// batch is how many frames are sent between two looks at the clock. One system
// call sends so many to the VM.
const batch = 64

func startTraffic(n *lab.Network, tap *lab.Tap) (*traffic, error) {
	t := &traffic{hypervisor: n.Hypervisor, tap: tap, socket: -1, counters: map[bench.Way]counter{
		bench.FromVM: {tap.Index, passedOn},
		bench.ToVM:   {tap.Index, func(s *netlink.LinkStatistics) uint64 { return s.RxDropped }},
	}}
	link, err := t.hypervisor.Links().LinkByIndex(t.tap.Index)
	if err != nil {
		return nil, err
	}
	if err := t.hypervisor.Links().LinkSetTxQLen(link, 1); err != nil {
		return nil, fmt.Errorf("shorten the tap's queue: %w", err)
	}
	if err := errors.Join(t.tap.OpenVirtio(), t.tap.TakeOffloads(), t.tap.Up()); err != nil {
		return nil, err
	}
	if t.socket, err = openCable(n); err != nil {
		return nil, fmt.Errorf("open the cable's far end: %w", err)
	}
	return t, nil
}

// openCable opens a socket that sends on the LAN end of the hypervisor's cable.
// It listens to nothing, which would cost time on every frame.
func openCable(n *lab.Network) (int, error) {
	cable, err := n.LAN.Links().LinkByName("uplink")
	if err != nil {
		return -1, err
	}
	fd := -1
	err = n.LAN.Do(func() error {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: cable.Attrs().Index})
	})
	return fd, err
}

func (t *traffic) close() error { return errors.Join(unix.Close(t.socket), t.tap.Close()) }

// round sends a frame over and over for a time and gives the ns that one took:
// the median of the batches', since other processes interrupt a few of them. It
// fails when the rules let fewer than all pass.
func (t *traffic) round(way bench.Way, frame []byte, slice time.Duration) (ns float64, err error) {
	return t.roundOf(way, [][]byte{frame}, slice)
}

// roundOf sends frames that differ, each of them once if there is more than one.
func (t *traffic) roundOf(way bench.Way, frames [][]byte, slice time.Duration) (ns float64, err error) {
	send := t.sender(way, frames)
	before, err := t.passed(way)
	if err != nil {
		return 0, err
	}
	var took bench.Series
	for begin := time.Now(); len(took) == 0 || time.Since(begin) < slice; {
		if len(frames) > 1 && (len(took)+1)*batch > len(frames) {
			break
		}
		start := time.Now()
		if err := send(); err != nil {
			return 0, fmt.Errorf("send %s: %w", way, err)
		}
		took = append(took, float64(time.Since(start))/batch)
	}
	sent := uint64(len(took) * batch)
	passed, err := t.settled(way, before+sent-sent/100, time.Minute)
	if err != nil {
		return 0, err
	}
	if passed-before < sent-sent/100 {
		return 0, fmt.Errorf("%d of %d frames passed", passed-before, sent)
	}
	return took.Median(), nil
}

// drops reports whether the rules stop a frame.
func (t *traffic) drops(way bench.Way, frame []byte) (bool, error) {
	before, err := t.passed(way)
	if err != nil {
		return false, err
	}
	if err := t.sender(way, [][]byte{frame})(); err != nil {
		return false, err
	}
	after, err := t.settled(way, before+1, 50*time.Millisecond)
	return after == before, err
}

// sender sends a batch with each call: the same frame again and again, or the next ones.
func (t *traffic) sender(way bench.Way, frames [][]byte) func() error {
	if way == bench.ToVM {
		return t.toVM(frames)
	}
	next := 0
	return func() error {
		for range batch {
			if err := t.tap.SendRaw(frames[next%len(frames)]); err != nil {
				return err
			}
			next++
		}
		return nil
	}
}

// message is the kernel's struct mmsghdr.
type message struct {
	header unix.Msghdr
	_      uint32 // bytes sent, and room up to the next header
}

func (t *traffic) toVM(frames [][]byte) func() error {
	messages := make([]message, max(batch, len(frames)/batch*batch))
	for i := range messages {
		frame := frames[i%len(frames)]
		messages[i].header.Iov = &unix.Iovec{Base: &frame[0]}
		messages[i].header.Iov.SetLen(len(frame))
		messages[i].header.Iovlen = 1
	}
	next := 0
	return func() error {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(t.socket), uintptr(unsafe.Pointer(&messages[next%len(messages)])), batch, 0, 0, 0)
		next += batch
		switch {
		case errno != 0:
			return errno
		case n != batch:
			return fmt.Errorf("sent %d of %d frames", n, batch)
		}
		return nil
	}
}

// passed counts the frames that the rules let pass: those that the device passed
// on, or those that it had no room for in the tap's queue.
func (t *traffic) passed(way bench.Way) (uint64, error) {
	counter := t.counters[way]
	link, err := t.hypervisor.Links().LinkByIndex(counter.device)
	if err != nil {
		return 0, err
	}
	return counter.of(link.Attrs().Statistics), nil
}

// settled waits for the last frames, should the kernel have put them off, until so many
// have passed or the limit is over, and counts those that passed.
func (t *traffic) settled(way bench.Way, expected uint64, limit time.Duration) (uint64, error) {
	for end := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		passed, err := t.passed(way)
		if err != nil || passed >= expected || time.Now().After(end) {
			return passed, err
		}
	}
}
