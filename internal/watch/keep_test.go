package watch_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

const learning = "parents = [\"enp88s0\"]\n[policy.default]\nlearn = \"dhcp\"\n"

// TestKeepsWhatWasLearned has what rules learn of a VM stand in its metadata: when there is
// something, when that changes, and no longer than rules learn.
func TestKeepsWhatWasLearned(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, learning, web)
	says := func(want string, times int) {
		t.Helper()
		w.until("the metadata say "+want, func() bool { said, _ := w.libvirt.says(t); return said == want })
		// What watch wrote it is told of: nothing of that is written again.
		read := time.Now()
		w.until("it was read again what rules learned", func() bool { return time.Since(read) > 11*time.Second })
		if _, written := w.libvirt.says(t); written != times {
			t.Errorf("written %d times, want %d", written, times)
		}
	}
	w.until("protected", func() bool { return w.healed() })
	says("", 0)
	lease(t, n, tap, netip.MustParseAddr("192.0.2.200"))
	says("192.0.2.200 dhcp", 1)
	lease(t, n, tap, netip.MustParseAddr("192.0.2.201"))
	says("192.0.2.200 dhcp, 192.0.2.201 dhcp", 2)
	w.configure("parents = [\"enp88s0\"]\n[policy.default]\nlearn = \"off\"\n")
	says("", 3)
}

// TestKeepingHangs has libvirt not answer who writes metadata, as about a VM that moves: rules
// are put back all the same. Then it refuses, which is said once.
func TestKeepingHangs(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, learning, web)
	held := make(chan struct{})
	w.libvirt.mu.Lock()
	w.libvirt.holds, w.libvirt.refuses = held, errors.New("libvirt: cannot acquire state change lock")
	w.libvirt.mu.Unlock()
	stands := func() bool { return w.healed() }
	w.until("protected", stands)
	lease(t, n, tap, netip.MustParseAddr("192.0.2.200"))
	w.until("what was learned is being written", func() bool {
		w.libvirt.mu.Lock()
		defer w.libvirt.mu.Unlock()
		return w.libvirt.asked > 0
	})
	w.nft("flush ruleset")
	w.until("put back while libvirt hangs", func() bool { return stands() && w.hasLearned(t) })
	close(held)
	w.until("it is said", func() bool {
		return w.logged("cannot acquire state change lock: the addresses that rules learned do not stand in the VM's metadata")
	})
	if _, written := w.libvirt.says(t); written != 1 {
		t.Errorf("written %d times while it hung, want once", written)
	}
}

// hasLearned reports whether rules that stand have an IPv4 address.
func (w *running) hasLearned(t *testing.T) bool {
	t.Helper()
	var learned map[string][]ruleset.Element
	err := w.n.Hypervisor.Do(func() (err error) {
		learned, err = kernel.Learned(context.Background(), "nic-addresses-ipv4")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(learned["nic-addresses-ipv4"]) > 0
}
