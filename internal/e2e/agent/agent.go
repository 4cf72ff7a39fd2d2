package main

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
)

// Agent is what the tests can call.
type Agent struct {
	captures map[string]*frames.Capture
	clients  clients
}

// Hello returns once the guest's NICs are up and listened to.
func (a *Agent) Hello(_ guestrpc.Nothing, _ *guestrpc.Nothing) error {
	return nil
}

// Probe asks somebody on the network and tells whether the answer came.
func (a *Agent) Probe(p guestrpc.Probe, answer *guestrpc.Answer) error {
	ask, known := map[string]func(guestrpc.Probe) error{"udp": askUDP, "tcp": askTCP, "ping": ping}[p.Kind]
	if !known {
		return fmt.Errorf("probe of kind %q", p.Kind)
	}
	if err := ask(p); err != nil {
		answer.Reason = err.Error()
		return nil
	}
	answer.Answered = true
	return nil
}

// lag is how far the record of a NIC's frames may be behind.
const lag = 10 * time.Second

// Seen counts the frames that a NIC has received and that carry a token.
func (a *Agent) Seen(s guestrpc.Sight, count *int) error {
	capture, ok := a.captures[s.NIC]
	if !ok {
		return fmt.Errorf("no NIC %q", s.NIC)
	}
	if !capture.Await(lag, func(f frames.Frame) bool { return !f.Sent && f.Contains(s.Until) }) {
		return fmt.Errorf("no frame with %q has come to %s", s.Until, s.NIC)
	}
	*count = capture.Count(func(f frames.Frame) bool { return !f.Sent && f.Contains(s.Token) })
	return nil
}

// Heard tells which of some frames a NIC has received.
func (a *Agent) Heard(h guestrpc.Heard, heard *[]bool) error {
	capture, ok := a.captures[h.NIC]
	if !ok {
		return fmt.Errorf("no NIC %q", h.NIC)
	}
	for _, token := range h.Until {
		if !capture.Await(lag, func(f frames.Frame) bool { return !f.Sent && f.Contains(token) }) {
			return fmt.Errorf("no frame with %q has come to %s", token, h.NIC)
		}
	}
	*heard = capture.Carried(h.Frames, false)
	capture.Forget()
	return nil
}

// Addresses lists a NIC's addresses, with their prefixes.
func (a *Agent) Addresses(nic string, list *[]string) error {
	device, err := net.InterfaceByName(nic)
	if err != nil {
		return err
	}
	addrs, err := device.Addrs()
	for _, addr := range addrs {
		*list = append(*list, addr.String())
	}
	return err
}

// Send puts frames on a NIC as they are.
func (a *Agent) Send(r guestrpc.Raw, _ *guestrpc.Nothing) error {
	nic, err := net.InterfaceByName(r.NIC)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer unix.Close(fd)
	for i, frame := range r.Frames {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: nic.Index}); err != nil {
			return fmt.Errorf("send frame %d on %s: %w", i, r.NIC, err)
		}
	}
	return nil
}
