package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
)

// Agent is what the tests can call.
type Agent struct {
	clients clients

	mu       sync.Mutex // calls are served at once
	captures map[string]*frames.Capture
	streams  map[string]*stream
}

// attend listens on a NIC and answers what comes to it.
func (a *Agent) attend(nic string) error {
	capture, err := frames.Listen(nic)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.captures[nic] = capture
	a.mu.Unlock()
	return serve(nic)
}

// capture returns what was recorded of a NIC that is attended to.
func (a *Agent) capture(nic string) (*frames.Capture, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	capture, ok := a.captures[nic]
	if !ok {
		return nil, fmt.Errorf("no NIC %q", nic)
	}
	return capture, nil
}

// Hello returns once the guest's NICs are up and listened to. It tells one boot from another.
func (a *Agent) Hello(_ guestrpc.Nothing, boot *string) error {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	*boot = string(id)
	return err
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
const lag = 2 * time.Minute

// Seen counts the frames that a NIC has received and that carry a token.
func (a *Agent) Seen(s guestrpc.Sight, count *int) error {
	capture, err := a.capture(s.NIC)
	if err != nil {
		return err
	}
	if !capture.Await(lag, func(f frames.Frame) bool { return !f.Sent && f.Contains(s.Until) }) {
		return fmt.Errorf("no frame with %q has come to %s", s.Until, s.NIC)
	}
	*count = capture.Count(func(f frames.Frame) bool { return !f.Sent && f.Contains(s.Token) })
	return nil
}

// Heard tells which of some frames a NIC has received.
func (a *Agent) Heard(h guestrpc.Heard, heard *[]bool) error {
	capture, err := a.capture(h.NIC)
	if err != nil {
		return err
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
	sender, err := frames.OpenSender(r.NIC)
	if err != nil {
		return err
	}
	defer func() { _ = sender.Close() }()
	if r.VirtioHeaders {
		if err := sender.TakeVirtioHeaders(); err != nil {
			return err
		}
	}
	for i, frame := range r.Frames {
		if err := sender.Send(frame); err != nil {
			return fmt.Errorf("frame %d: %w", i, err)
		}
	}
	return nil
}

// Shell runs a line as the guest's shell does, and gives all that it printed, whether it failed or not.
func (a *Agent) Shell(line string, said *string) error {
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		return err
	}
	*said = string(out)
	return nil
}
