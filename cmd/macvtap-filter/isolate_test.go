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

// TestIsolatedStartOnAHostThatJustBooted shows a VM that starts before the host has sent
// anything to its gateway: its start asks. While no gateway answers it fails, and says why.
func TestIsolatedStartOnAHostThatJustBooted(t *testing.T) {
	needRootAndNFT(t)
	s := newCostSite(t)
	if err := os.WriteFile(s.config, []byte("parents = [\"enp88s0\"]\n[policy.default]\nisolate = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() (said string, err error) {
		cmd := exec.Command(s.program, "web", "start", "begin", "-")
		cmd.Env = append(os.Environ(), "MACVTAP_FILTER_CONFIG="+s.config)
		cmd.Stdin = strings.NewReader(fmt.Sprintf(`<domain><name>web</name><uuid>4b1d2f6a-6c1d-4c5e-9d3b-7a0f3f2e9c11</uuid><devices>
<interface type='direct'><mac address='%s'/><source dev='%s' mode='bridge'/><target dev='%s'/></interface></devices></domain>`,
			s.tap.MAC, s.network.Parent, s.tap.Name))
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		err = s.network.Hypervisor.Run(cmd)
		return out.String(), err
	}
	if said, err := start(); err == nil || !strings.Contains(said, "knows no MAC address of a gateway") {
		t.Errorf("without a gateway: %v: %s", err, said)
	}
	if _, err := s.network.AddHost("router", net.HardwareAddr{2, 0, 0, 0, 2, 1}, netip.MustParsePrefix("192.168.2.1/24")); err != nil {
		t.Fatal(err)
	}
	// A busy machine may take longer than one start waits; nobody but starts asks.
	said, err := start()
	for end := time.Now().Add(5 * time.Minute); err != nil && time.Now().Before(end); {
		said, err = start()
	}
	if err != nil {
		t.Errorf("with a gateway that answers: %v: %s", err, said)
	}
}
