package watch_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// hold has another process make a table that nobody else can change, and gives a
// function that ends it, and the table with it.
func (w *running) hold(table string) (release func()) {
	w.t.Helper()
	cmd := exec.Command("nft", "-i")
	input, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.n.Hypervisor.Start(cmd); err != nil {
		w.t.Fatal(err)
	}
	release = func() {
		input.Close()
		if err := cmd.Wait(); err != nil {
			w.t.Errorf("nft: %v", err)
		}
	}
	if _, err := fmt.Fprintf(input, "delete table netdev %s; add table netdev %s { flags owner; }\n", table, table); err != nil {
		w.t.Fatal(err)
	}
	w.until("nft owns the table", func() bool { return w.owned(table) })
	return release
}

func (w *running) owned(table string) bool {
	cmd := exec.Command("nft", "list", "table", "netdev", table)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, io.Discard
	return w.n.Hypervisor.Run(cmd) == nil && strings.Contains(out.String(), "flags owner")
}

// forget empties the log.
func (w *running) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = nil
}

// TestSwept has somebody's chain in the table go to one that has the name of an interface's:
// both go, and the interfaces get their rules.
func TestSwept(t *testing.T) {
	n := network(t)
	tap, other := plug(t, n, "macvtap0", webMAC), plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	w := start(t, n, dmz)
	protected := func() bool { return !passes(t, n, tap, "192.168.2.77") && !passes(t, n, other, "192.168.2.77") }
	w.until("both are protected", protected)
	const table = "netdev macvtap-filter"
	w.nft("delete table " + table + "; add table " + table + "; add chain " + table + " from-vm-macvtap0; add chain " + table + " mine; add rule " + table + " mine jump from-vm-macvtap0")
	w.until("both are protected again", protected)
	w.until("the log says so", func() bool {
		return w.logged(`interface "macvtap0" is protected`) || w.logged(`interface "macvtap0": rules were removed`)
	})
}

// TestRefusedTable shows the table in the hands of another process: the log says of each
// device once what is wrong, and what to do, and all is mended when that process ends.
func TestRefusedTable(t *testing.T) {
	n := network(t)
	tap, other := plug(t, n, "macvtap0", webMAC), plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	w := start(t, n, dmz)
	w.until("both are protected", func() bool {
		return !passes(t, n, tap, "192.168.2.77") && !passes(t, n, other, "192.168.2.77")
	})
	release := w.hold("macvtap-filter")
	said := `nftables refuses table "macvtap-filter"`
	w.until("the log says what is wrong, and what to do", func() bool {
		return w.count(said) >= 2 && w.logged("a table of that name that no other process owns")
	})
	if !passes(t, n, tap, "192.168.2.77") {
		t.Fatal("another's table protects: this test shows nothing")
	}
	w.forget()
	release()
	w.until("protected again", func() bool {
		return !passes(t, n, tap, "192.168.2.77") && !passes(t, n, other, "192.168.2.77")
	})
	w.until("the log says so", func() bool {
		return w.logged(`interface "macvtap0" is protected`) || w.logged(`interface "macvtap0": rules were removed`)
	})
}

// TestReadyDespite shows that a watch is ready though the kernel refuses something
// for good: its service would be ended otherwise, and the other devices with it.
func TestReadyDespite(t *testing.T) {
	n := network(t)
	plug(t, n, "macvtap0", webMAC)
	other := plug(t, n, "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	(&running{t: t, n: n}).nft("add table netdev macvtap-filter; add chain netdev macvtap-filter from-vm-macvtap0; " +
		"add chain netdev macvtap-filter mine; add rule netdev macvtap-filter mine jump from-vm-macvtap0")
	start(t, n, dmz)
	if passes(t, n, other, "192.168.2.77") {
		t.Error("ready, and the other interface is open")
	}
}

// TestNameOfAVersionBefore shows another process's table under the name that a version before
// gave a device's: it keeps the device from nothing.
func TestNameOfAVersionBefore(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	holder := &running{t: t, n: n}
	holder.nft("add table netdev macvtap-filter-macvtap0")
	defer holder.hold("macvtap-filter-macvtap0")()
	start(t, n, dmz)
	if passes(t, n, tap, "192.168.2.77") {
		t.Error("ready, and open")
	}
}

// TestForeignTable shows a table under a device's name that is none of ours: the
// device does not count as protected by it.
func TestForeignTable(t *testing.T) {
	n := network(t)
	w := start(t, n, dmz)
	w.nft("add table netdev macvtap-filter-macvtap0; add chain netdev macvtap-filter-macvtap0 c")
	tap := plug(t, n, "macvtap0", webMAC)
	w.until("protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })
}

// TestUnreadableConfiguration shows a file that is gone, cannot be read, or is a
// folder: the last good one stays in force, and the next good one counts.
func TestUnreadableConfiguration(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	w.until("protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })
	for _, spoil := range []func() error{
		func() error { return os.Remove(w.file) },
		func() error { return os.Mkdir(w.file, 0o755) },
		func() error {
			return errors.Join(os.Remove(w.file), os.WriteFile(w.file, []byte("parents = [\"enp88s0\"]\n\xff"), 0o600))
		},
		func() error { return os.WriteFile(w.file, nil, 0o600) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		w.until("the log says that it cannot be read", func() bool {
			return w.logged("the last good configuration stays in force")
		})
		w.forget()
		w.nft("flush ruleset")
		w.until("protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })
	}
	w.configure("parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"192.168.0.0/16\", \"203.0.113.0/24\"]\n")
	w.until("the new configuration counts", func() bool { return !passes(t, n, tap, "203.0.113.7") })
}
