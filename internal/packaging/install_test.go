package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// "make install" needs no Go where the program was built, puts manual pages and
// completions, and "make uninstall" takes away all that but the configuration.
func TestInstall(t *testing.T) {
	to := t.TempDir()
	built := filepath.Join(t.TempDir(), "macvtap-filter")
	writeProgram(t, built, "exit 0")
	run := func(target, bin string) (string, error) {
		cmd := exec.Command("make", "-C", "../..", target, "DESTDIR="+to, "PARENT=enp88s0", "BIN="+bin, "GO=no-such-go")
		cmd.Env = append(os.Environ(), "MAKEFLAGS=")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if said, err := run("install", built+"-missing"); err == nil || !strings.Contains(said, "run make first") {
		t.Errorf("neither Go nor the program: %v\n%s", err, said)
	}
	if said, err := run("install", built); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, name := range []string{
		"etc/libvirt/hooks/network.d/macvtap-filter",
		"etc/libvirt/hooks/qemu.d/macvtap-filter",
		"usr/local/share/man/man8/macvtap-filter.8.gz",
		"usr/local/share/man/man5/macvtap-filter.toml.5.gz",
		"usr/local/share/bash-completion/completions/macvtap-filter",
		"usr/local/share/zsh/site-functions/_macvtap-filter",
		"usr/local/share/fish/vendor_completions.d/macvtap-filter.fish",
	} {
		if _, err := os.Stat(filepath.Join(to, name)); err != nil {
			t.Error(err)
		}
	}
	said, err := run("uninstall", built)
	if err != nil || !strings.Contains(said, "VMs start open to the local network from now on") {
		t.Errorf("%v\n%s", err, said)
	}
	var left []string
	err = filepath.WalkDir(to, func(file string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			left = append(left, strings.TrimPrefix(file, to))
		}
		return err
	})
	if err != nil || len(left) != 1 || left[0] != "/etc/macvtap-filter/config.toml" {
		t.Errorf("left: %q, %v", left, err)
	}
}

// A parent is a NIC of this host that can carry macvtap devices.
func TestCheckParent(t *testing.T) {
	sys := t.TempDir()
	for _, dir := range []string{"lo", "eth0", "eth1/brport", "eth2/bonding_slave", "br0"} {
		if err := os.MkdirAll(filepath.Join(sys, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for nic, master := range map[string]string{"eth1": "br0", "eth2": "bond0"} {
		if err := os.Symlink("../"+master, filepath.Join(sys, nic, "master")); err != nil {
			t.Fatal(err)
		}
	}
	for parent, want := range map[string]string{
		"eth0": "", "eth*": "", "br0": "",
		"eth9":       "PARENT=eth9: this host has no such NIC; it has br0 eth0 eth1 eth2",
		"wlan*":      "PARENT=wlan*: this host has no such NIC",
		"eth1":       "PARENT=eth1: it is a port of the bridge br0",
		"eth2":       "PARENT=eth2: it is part of bond0",
		"lo":         "no VM can be on the loopback device",
		"eth0\"]\nx": "not a name that a NIC can have",
		"eth0 eth1":  "not a name that a NIC can have",
		"../x":       "not a name that a NIC can have",
	} {
		cmd := exec.Command("sh", "-euc", `. ./setup.sh; check_parent "$1"`, "sh", parent)
		cmd.Env = append(os.Environ(), "SYS="+sys)
		out, err := cmd.CombinedOutput()
		if (err != nil) != (want != "") || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, %q, want %q", parent, err, out, want)
		}
	}
}
