package main

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"time"

	"macvtap-filter/internal/e2e/guestrpc"
)

// Plugged waits for a NIC that is plugged in while the guest runs, configures it and attends to it.
func (a *Agent) Plugged(p guestrpc.Plugged, _ *guestrpc.Nothing) error {
	if err := awaitNIC(p.NIC, p.Wait); err != nil {
		return err
	}
	if out, err := exec.Command("/nic.sh", p.Config).CombinedOutput(); err != nil {
		return fmt.Errorf("configure %s: %w: %s", p.NIC, err, bytes.TrimSpace(out))
	}
	return a.attend(p.NIC)
}

// awaitNIC waits until the kernel has a NIC.
func awaitNIC(name string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		_, err := net.InterfaceByName(name)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
