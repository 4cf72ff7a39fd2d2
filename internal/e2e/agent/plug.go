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
	for end := time.Now().Add(p.Wait); ; time.Sleep(time.Millisecond) {
		if _, err := net.InterfaceByName(p.NIC); err == nil {
			break
		} else if time.Now().After(end) {
			return err
		}
	}
	if out, err := exec.Command("/nic.sh", p.Config).CombinedOutput(); err != nil {
		return fmt.Errorf("configure %s: %w: %s", p.NIC, err, bytes.TrimSpace(out))
	}
	return a.attend(p.NIC)
}
