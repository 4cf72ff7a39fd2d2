package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"macvtap-filter/internal/e2e/guestrpc"
)

// clients are the DHCP clients that hold leases, by NIC.
type clients struct {
	mu      sync.Mutex
	running map[string]*client
}

// A client is a udhcpc that stays.
type client struct {
	process *os.Process
	ended   chan struct{} // closed when it has ended
}

// leasePath is the file to which udhcpc's script writes what became of a lease.
func leasePath(nic string) string { return "/lease." + nic }

// Lease gets an address by DHCP, or has the client that got one renew it.
func (a *Agent) Lease(l guestrpc.Lease, line *string) error {
	a.clients.mu.Lock()
	defer a.clients.mu.Unlock()
	if err := os.Remove(leasePath(l.NIC)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var err error
	if l.Renew {
		*line, err = a.clients.renew(l)
	} else {
		*line, err = a.clients.first(l)
	}
	return err
}

// first starts a client, which gives up in time.
func (c *clients) first(l guestrpc.Lease) (string, error) {
	if old := c.running[l.NIC]; old != nil {
		_ = old.process.Kill() // it may have ended
		<-old.ended
	}
	cmd := exec.Command("udhcpc", "-f", "-n", "-t", strconv.Itoa(int(l.Wait.Seconds())), "-T", "1", "-i", l.NIC, "-s", "/lease.sh")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", err
	}
	now := &client{process: cmd.Process, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the script has written how it went
		close(now.ended)
	}()
	if c.running == nil {
		c.running = map[string]*client{}
	}
	c.running[l.NIC] = now
	for {
		select {
		case <-now.ended:
			return "", errors.New("no lease")
		case <-time.After(50 * time.Millisecond):
		}
		if line := said(l.NIC, "bound"); line != "" {
			return line, nil
		}
	}
}

func (c *clients) renew(l guestrpc.Lease) (string, error) {
	holder := c.running[l.NIC]
	if holder == nil {
		return "", fmt.Errorf("%s has no lease to renew", l.NIC)
	}
	if err := holder.process.Signal(syscall.SIGUSR1); err != nil {
		return "", err
	}
	for end := time.Now().Add(l.Wait); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if line := said(l.NIC, "renew"); line != "" {
			return line, nil
		}
	}
	return "", errors.New("not renewed")
}

// said returns the script's line about an event.
func said(nic, event string) string {
	text, _ := os.ReadFile(leasePath(nic)) // not there: nothing said yet
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, event+" ") && strings.HasSuffix(line, "\n") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
