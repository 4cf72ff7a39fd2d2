//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/lab"
)

// A dhcpServer is busybox's on a host, until it is stopped.
type dhcpServer struct {
	stop func()

	mu   sync.Mutex
	said bytes.Buffer
}

// Write takes what the server says.
func (d *dhcpServer) Write(text []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.Write(text)
}

// log returns what the server has said so far.
func (d *dhcpServer) log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.String()
}

// serveDHCP has a host hand out one address, to one NIC, and itself as the router. More is further lines of its
// configuration.
func serveDHCP(t *testing.T, host *lab.Host, nic hypervisor.NIC, addr netip.Addr, more ...string) *dhcpServer {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "udhcpd.conf")
	self := host.Addr(4)
	text := fmt.Sprintf(`start %[1]s
end %[1]s
interface eth0
lease_file %[2]s/leases
pidfile %[2]s/pid
static_lease %[3]s %[1]s
option subnet 255.255.255.0
option router %[4]s
option dns %[5]s53
option lease 3600
`, addr, dir, nic.MAC, self, lan4) + strings.Join(more, "\n")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "leases"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	server := new(dhcpServer)
	cmd := exec.Command("busybox", "udhcpd", "-f", config)
	cmd.Stdout, cmd.Stderr = server, server
	if err := host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	server.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it says "killed"
	})
	t.Cleanup(server.stop)
	server.await(t, "started", answerTime)
	return server
}

// await fails unless the server says so in time.
func (d *dhcpServer) await(t *testing.T, text string, limit time.Duration) {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(d.log(), text) {
			return
		}
	}
	t.Fatalf("the DHCP server has not said %q, but:\n%s", text, d.log())
}

// lease has a guest's DHCP client get a lease, or renew it, and returns what it then says.
func lease(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, renew bool, wait time.Duration) (string, error) {
	t.Helper()
	var line string
	err := vm.Call(t.Context(), "Lease", guestrpc.Lease{NIC: nic.Name, Renew: renew, Wait: wait}, &line)
	return line, err
}

// expectLease has a guest get its NIC's address from the gateway and renew it, while the hidden host, which hears the
// questions too, offers another in vain.
func (s *site) expectLease(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	rogue := serveDHCP(t, s.hidden, nic, netip.MustParseAddr(lan4+"66"))
	defer rogue.stop()
	if line, err := lease(t, vm, nic, false, 3*silenceTime); err == nil {
		t.Errorf("a lease of the hidden host: %s", line)
	}
	rogue.await(t, "sending OFFER", answerTime)
	if log := rogue.log(); strings.Contains(log, "sending ACK") {
		t.Errorf("the guest has accepted the hidden host's offer:\n%s", log)
	}

	addr, gateway := nic.Addr4.Addr(), s.peers[0]
	server := serveDHCP(t, gateway.host, nic, addr)
	defer server.stop()
	line, err := lease(t, vm, nic, false, answerTime)
	if want := fmt.Sprintf("bound %s %s", addr, gateway.addr); err != nil || line != want {
		t.Fatalf("the DHCP client says %q, want %q: %v\nthe server says:\n%s", line, want, err, server.log())
	}
	s.wire.Forget()
	line, err = lease(t, vm, nic, true, answerTime)
	if want := fmt.Sprintf("renew %s %s", addr, gateway.addr); err != nil || line != want {
		t.Errorf("the DHCP client says %q, want %q: %v\nthe server says:\n%s", line, want, err, server.log())
	}
	direct := s.wire.Count(func(f frames.Frame) bool {
		src, dst, ok := f.Addrs()
		return ok && !f.Sent && f.From(nic.MAC) && src == addr && dst == gateway.addr
	})
	if direct == 0 {
		t.Error("the lease was not renewed by unicast")
	}
}

// expectRogueLease has a guest get a lease from the hidden host.
func (s *site) expectRogueLease(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	addr := netip.MustParseAddr(lan4 + "66")
	serveDHCP(t, s.hidden, nic, addr)
	line, err := lease(t, vm, nic, false, answerTime)
	if want := fmt.Sprintf("bound %s %s", addr, s.hidden.Addr(4)); err != nil || line != want {
		t.Errorf("the DHCP client says %q, want %q: %v", line, want, err)
	}
}
