//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Where `make install` puts things.
const (
	hookPath    = "/etc/libvirt/hooks/qemu.d/macvtap-filter"
	commandPath = "/usr/local/sbin/macvtap-filter"
	configPath  = "/etc/macvtap-filter/config.toml"
	unitPath    = "/usr/local/lib/systemd/system/macvtap-filter-watch.service"
)

// shieldedSite makes a site where the binary is installed, as `make install` does it for this parent NIC; "" leaves it to
// find the one of the default route.
func shieldedSite(t *testing.T, parent string) *site {
	t.Helper()
	s := newSite(t)
	s.install(t, parent)
	return s
}

// install installs the binary.
func (m *machine) install(t *testing.T, parent string) {
	t.Helper()
	// Both variables are said, since these tests may themselves be run by a make that was told others.
	out := m.run(t, "make", "-C", moduleRoot(t), "install", "DESTDIR=", "PARENT="+parent)
	t.Logf("make install said:\n%s", out)
	m.run(t, "test", "-x", hookPath)
	m.run(t, "test", "-s", configPath)
	m.run(t, "test", "-s", unitPath)
	if found := strings.TrimSpace(m.run(t, "sh", "-c", "command -v macvtap-filter")); found != commandPath {
		t.Errorf("the command on PATH is %q, want %s", found, commandPath)
	}
	// Libvirt looks for hooks when it starts.
	m.restartLibvirt(t, syscall.SIGTERM, func() {})
}

// restartLibvirt ends libvirtd by a signal and starts it again, with something else done in between.
func (m *machine) restartLibvirt(t *testing.T, signal syscall.Signal, between func()) {
	t.Helper()
	if err := m.hv.StopLibvirt(signal); err != nil {
		t.Fatal(err)
	}
	between()
	if err := m.hv.StartLibvirt(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// moduleRoot is the checkout.
func moduleRoot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// readConfig and writeConfig are the hypervisor's configuration.
func (m *machine) readConfig(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(m.hv.Path(configPath))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (m *machine) writeConfig(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(m.hv.Path(configPath), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs a program on the hypervisor, which must succeed, and returns what it printed.
func (m *machine) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := m.hv.Run(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
