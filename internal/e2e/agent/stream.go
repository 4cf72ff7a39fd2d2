package main

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
)

// A stream sends frames on a NIC, round and round and without a pause, until it is stopped.
type stream struct {
	sent    atomic.Int64
	hostile *frames.Meter // nil for a NIC that is not attended to
	stop    chan struct{}
	ended   chan error
}

// Stream begins to send on a NIC, or goes on with other frames. On one that is yet to be plugged in it begins as soon as
// the kernel has it.
func (a *Agent) Stream(r guestrpc.Stream, _ *guestrpc.Nothing) error {
	if err := a.Silence(r.NIC, new(guestrpc.Streamed)); err != nil {
		return err
	}
	s := &stream{stop: make(chan struct{}), ended: make(chan error, 1)}
	if capture, err := a.capture(r.NIC); err == nil {
		capture.Meter(r.Frames)
		s.hostile = capture.Meter(r.Hostile)
	}
	a.mu.Lock()
	a.streams[r.NIC] = s
	a.mu.Unlock()
	go func() { s.ended <- s.run(r) }()
	return nil
}

// Streamed tells how many frames a stream has sent so far, and how many hostile ones have come. It fails when the stream
// has ended by itself.
func (a *Agent) Streamed(nic string, counts *guestrpc.Streamed) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.streams[nic]
	if !ok {
		return fmt.Errorf("no stream on %q", nic)
	}
	counts.Sent = int(s.sent.Load())
	if s.hostile != nil {
		counts.Came = s.hostile.Came()
	}
	select {
	case err := <-s.ended:
		s.ended <- err
		return err
	default:
		return nil
	}
}

// Silence stops a stream, if there is one, and tells the last of it.
func (a *Agent) Silence(nic string, counts *guestrpc.Streamed) error {
	a.mu.Lock()
	s := a.streams[nic]
	a.mu.Unlock()
	if s == nil {
		return nil
	}
	close(s.stop)
	s.ended <- <-s.ended // once it has ended
	err := a.Streamed(nic, counts)
	a.mu.Lock()
	delete(a.streams, nic)
	a.mu.Unlock()
	return err
}

func (s *stream) run(r guestrpc.Stream) error {
	if r.Plugged {
		if !s.awaitNIC(r.NIC) {
			return nil
		}
		if out, err := exec.Command("ip", "link", "set", r.NIC, "up").CombinedOutput(); err != nil {
			return fmt.Errorf("set %s up: %w: %s", r.NIC, err, out)
		}
	}
	sender, err := frames.OpenSender(r.NIC)
	if err != nil {
		return err
	}
	defer func() { _ = sender.Close() }()
	for {
		for _, frame := range r.Frames {
			select {
			case <-s.stop:
				return nil
			default:
			}
			switch err := sender.Send(frame); {
			case errors.Is(err, unix.ENOBUFS): // the queue is full: the next one may find room
			case err != nil:
				return err
			default:
				s.sent.Add(1)
			}
		}
	}
}

// awaitNIC waits until the kernel has a NIC, and tells whether it has before the stream is stopped.
func (s *stream) awaitNIC(name string) bool {
	for {
		if _, err := net.InterfaceByName(name); err == nil {
			return true
		}
		select {
		case <-s.stop:
			return false
		case <-time.After(time.Millisecond):
		}
	}
}
