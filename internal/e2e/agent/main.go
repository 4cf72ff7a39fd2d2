// Command agent runs in a guest of the end-to-end tests. It answers what comes to the guest's NICs, and probes and sends
// what the tests ask for over a virtio serial port (package guestrpc).
package main

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"path/filepath"
	"strings"
	"time"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
)

func main() {
	fmt.Fprintln(os.Stderr, "agent:", run())
	os.Exit(1)
}

// run serves until something breaks.
func run() error {
	agent := &Agent{captures: map[string]*frames.Capture{}, streams: map[string]*stream{}}
	nics, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list NICs: %w", err)
	}
	for _, nic := range nics {
		if nic.Flags&net.FlagLoopback != 0 {
			continue
		}
		if err := agent.attend(nic.Name); err != nil {
			return err
		}
	}
	server := rpc.NewServer()
	if err := server.Register(agent); err != nil {
		return err
	}
	path, err := findPort()
	if err != nil {
		return err
	}
	// Ends when the tests close their end of the port, and begins anew when they come back.
	for {
		port, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		server.ServeCodec(jsonrpc.NewServerCodec(port))
		time.Sleep(20 * time.Millisecond)
	}
}

// findPort returns the device of the virtio serial port that is for the agent.
func findPort() (string, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, file := range names {
		name, err := os.ReadFile(file)
		if err == nil && strings.TrimSpace(string(name)) == guestrpc.PortName {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(file))), nil
		}
	}
	return "", errors.New("no virtio serial port named " + guestrpc.PortName)
}
