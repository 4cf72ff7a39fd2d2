package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestRunningGuestKeepsItsRouter has libvirtd come back to a VM that runs and whose rules
// have not heard of its router, on a host that has not sent anything to it: that is asked
// for. The VM's start never asks. A MAC address that is written is in the rules at once.
func TestRunningGuestKeepsItsRouter(t *testing.T) {
	needRootAndNFT(t)
	s := newCostSite(t)
	says := func(stdin, program string, args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "MACVTAP_FILTER_CONFIG="+s.config)
		cmd.Stdin = strings.NewReader(stdin)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := s.network.Hypervisor.Run(cmd); err != nil {
			t.Fatalf("%s %s: %v: %s", program, args, err, out.String())
		}
		return out.String()
	}
	call := func(operation string) string {
		t.Helper()
		return says(fmt.Sprintf(`<domain><name>web</name><uuid>4b1d2f6a-6c1d-4c5e-9d3b-7a0f3f2e9c11</uuid><devices>
<interface type='direct'><mac address='%s'/><source dev='%s' mode='bridge'/><target dev='%s'/></interface></devices></domain>`,
			s.tap.MAC, s.network.Parent, s.tap.Name), s.program, "web", operation, "begin", "-")
	}
	knows := func(mac string) bool {
		t.Helper()
		return strings.Contains(says("", "nft", "list", "set", "netdev", "macvtap-filter", "nic-routers-ipv4"), mac)
	}
	neighbours := func() string {
		t.Helper()
		return says("", "ip", "neigh")
	}
	if said := call("start") + neighbours(); said != "" {
		t.Errorf("a start asked, or said: %s", said)
	}
	call("reconnect")
	if !strings.Contains(neighbours(), "192.168.2.1 ") {
		t.Error("nobody asked for the router")
	}
	if _, err := s.network.AddHost("router", net.HardwareAddr{2, 0, 0, 0, 2, 1}, netip.MustParsePrefix("192.168.2.1/24")); err != nil {
		t.Fatal(err)
	}
	// A busy machine may take longer than one call waits.
	for end := time.Now().Add(bound); !knows("02:00:00:00:02:01"); call("reconnect") {
		if time.Now().After(end) {
			t.Fatal("the router answers, and the rules do not know it")
		}
	}
	if err := os.WriteFile(s.config, []byte("parents = [\"enp88s0\"]\n[policy.default]\ngateway_macs = [\"02:00:00:00:02:02\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	call("reconnect")
	if !knows("02:00:00:00:02:02") {
		t.Error("the rules do not know what was written since")
	}
}
