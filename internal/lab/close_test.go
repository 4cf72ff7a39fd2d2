package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// What a network used is gone after Close: descriptors, threads inside it,
// nodes in /dev, names in /run/netns.
func TestCloseLeavesNothing(t *testing.T) {
	needRoot(t)
	before := traces(t)
	n, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.AddHost("host", lanMAC, prefixes(t, "192.168.2.77/24")...); err != nil {
		t.Fatal(err)
	}
	vm := newTap(t, n, "macvtap0", vmMAC)
	if _, err := n.AddMacvtap("macvtap1", otherMAC); err != nil {
		t.Fatal(err)
	}
	if err := n.Hypervisor.Overlay("/etc/resolv.conf", []byte("nameserver 192.168.2.53\n")); err != nil {
		t.Fatal(err)
	}
	got, err := n.FromVM(vm, frame(lanMAC, vmMAC, 0x0800, "out"))
	check(t, "from the VM", got, err, true)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	after := traces(t)
	for end := time.Now().Add(bound); !maps.Equal(before, after) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // a thread takes a moment to end
		after = traces(t)
	}
	for what, there := range after {
		if was := before[what]; was != there {
			t.Errorf("%s: %d before, %d after", what, was, there)
		}
	}
	if _, err := os.Stat(fmt.Sprintf("/dev/tap%d", vm.Index)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("/dev/tap%d after Close: %v", vm.Index, err)
	}
}

// Deleting a device twice, or one that is gone with its network, is no error.
func TestDeleteTwice(t *testing.T) {
	n := newNetwork(t, Options{})
	vm := newTap(t, n, "macvtap0", vmMAC)
	for range 2 {
		if err := vm.Delete(); err != nil {
			t.Fatal(err)
		}
	}
	again := newTap(t, n, "macvtap0", vmMAC)
	if again.Index == vm.Index {
		t.Errorf("index %d is used again at once", vm.Index)
	}
}

// Do gives the function's error, and says so when the function never returned.
func TestDoReportsErrors(t *testing.T) {
	needRoot(t)
	ns, err := NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	boom := errors.New("boom")
	if err := ns.Do(func() error { return boom }); !errors.Is(err, boom) {
		t.Errorf("Do gives %v, want %v", err, boom)
	}
	if err := ns.Do(func() error { runtime.Goexit(); return nil }); !errors.Is(err, errAbandoned) {
		t.Errorf("Do gives %v, want %v", err, errAbandoned)
	}
}

// traces counts what a leak would show in.
func traces(t *testing.T) map[string]int {
	t.Helper()
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	count := func(what, pattern, inside string) {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		k := 0
		for _, path := range paths {
			target, _ := os.Readlink(path) // a thread may have ended since
			if inside == "" || strings.HasPrefix(target, inside) && target != home {
				k++
			}
		}
		found[what] = k
	}
	count("open network namespaces", "/proc/self/fd/*", "net:")
	count("open sockets", "/proc/self/fd/*", "socket:")
	count("threads in another network namespace", "/proc/self/task/*/ns/net", "net:")
	count("named network namespaces", "/run/netns/*", "")
	count("tap nodes of this process", fmt.Sprintf("/dev/tap%d*", indexBase>>8), "")
	count("temporary files", filepath.Join(os.TempDir(), "lab-*"), "")
	return found
}
