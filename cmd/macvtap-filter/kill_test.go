package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
)

// VMs start and end on devices whose names are used again and again, several at once, and half of their hooks are killed
// with signal 9 at some point. A VM that libvirt would let run has all of its rules and nobody else's; in the end the
// rules that stand are those of the devices that are there.
func TestKilledHooks(t *testing.T) {
	needRootAndNFT(t)
	const (
		workers = 6
		turns   = 25 // of each worker
		names   = 4  // that each worker gives its devices, in any order
	)
	c := newChaos(t)
	devices := make([]string, workers) // where each worker's last VM runs
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for turn := range turns {
				last := turn == turns-1
				vm := fmt.Sprintf("vm-%d-%d", w, turn)
				device := fmt.Sprintf("macvtap%d", w*names+rand.IntN(names))
				if err := c.turn(vm, device, last); err != nil {
					t.Errorf("%s on %s: %v", vm, device, err)
				}
				devices[w] = device
			}
		})
	}
	all.Wait()
	t.Logf("of %d hook calls %d were killed; %d of %d VMs started", c.calls.Load(), c.killed.Load(), c.started.Load(), workers*turns)
	if c.killed.Load() == 0 || c.killed.Load() == c.calls.Load() || c.started.Load() < 2*workers {
		t.Error("this shows nothing")
	}

	err := c.network.Hypervisor.Do(func() error {
		if _, err := sweep(context.Background(), streams{out: io.Discard, err: io.Discard}, options{}); err != nil {
			return err
		}
		standing, err := kernel.Tables(context.Background())
		if err != nil {
			return err
		}
		want := map[string]bool{}
		for _, device := range devices {
			want["macvtap-filter-"+device] = true
		}
		got := map[string]bool{}
		for _, s := range standing {
			got[s.Name] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("tables: -want +in the kernel:\n%s", diff)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// chaosMAC is every VM's: their devices are never up. So their rules differ in names alone.
var chaosMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}

// A chaos is a hypervisor on which hooks are killed.
type chaos struct {
	program, config string

	devices sync.Mutex // the lab is not made to be used by several
	network *lab.Network

	whole                  atomic.Pointer[string] // what any VM's rules say, but for the names
	calls, killed, started atomic.Int32
	wrong                  atomic.Bool  // a VM's rules were, and stayed
	took                   atomic.Int64 // nanoseconds: the last call that was left in peace
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	c := new(chaos)
	c.took.Store(int64(10 * time.Millisecond)) // until one was
	var err error
	c.network, err = lab.New(lab.Options{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.2/24")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.168.2.1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.network.Close() })
	// Their lock is their own, and what they log nobody's.
	if err := c.network.Hypervisor.Hide("/run"); err != nil {
		t.Fatal(err)
	}
	if c.program, err = exec.LookPath("macvtap-filter"); err != nil {
		t.Fatal(err)
	}
	c.config = filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(c.config, []byte("parents = [\"enp88s0\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return c
}

// turn is a VM's life: its device comes, libvirt asks whether it may start, it ends and its device goes. The last one's
// hook is left in peace, and the VM runs on.
func (c *chaos) turn(vm, device string, last bool) error {
	tap, err := c.addDevice(device)
	if err != nil {
		return err
	}
	var wrong error
	if c.hook(vm, device, "start", "begin", !last) == nil {
		c.started.Add(1)
		wrong = c.awaitRules(vm, device)
	} else if last {
		return errors.New("the hook of the last VM failed")
	}
	if last {
		return wrong
	}
	// Libvirt ends it whatever they say.
	_ = c.hook(vm, device, "stopped", "end", true)
	if err := c.deleteDevice(tap); err != nil {
		return err
	}
	_ = c.hook(vm, device, "release", "end", true)
	return wrong
}

// awaitRules is whoseRules. What nft lists while others' transactions are under way is not always of one moment; what
// is wrong stays wrong, and once something did nobody waits any more.
func (c *chaos) awaitRules(vm, device string) (err error) {
	for end := time.Now().Add(bound); ; time.Sleep(20 * time.Millisecond) {
		if err = c.whoseRules(vm, device); err == nil {
			return nil
		}
		if c.wrong.Load() || time.Now().After(end) {
			c.wrong.Store(true)
			return err
		}
	}
}

// hook calls the program as libvirt does. Half of the calls that may be killed are, at some point.
func (c *chaos) hook(vm, device, operation, suboperation string, mayDie bool) error {
	target := ""
	if operation == "start" {
		target = fmt.Sprintf("<target dev='%s'/>", device)
	}
	cmd := exec.Command(c.program, vm, operation, suboperation, "-")
	cmd.Env = append(os.Environ(), "MACVTAP_FILTER_CONFIG="+c.config)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`<domain><name>%s</name><uuid>%s</uuid><devices><interface type='direct'>
<mac address='%s'/><source dev='enp88s0' mode='bridge'/>%s</interface></devices></domain>`, vm, uuidOf(vm), chaosMAC, target))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	c.calls.Add(1)
	if err := c.network.Hypervisor.Start(cmd); err != nil {
		return err
	}
	began := time.Now()
	doomed := mayDie && rand.IntN(2) == 0
	if doomed {
		// Anywhere in what a call takes while the machine is as busy as now.
		end := time.AfterFunc(rand.N(time.Duration(c.took.Load())), func() { _ = cmd.Process.Kill() })
		defer end.Stop()
	}
	err := cmd.Wait()
	if !doomed {
		c.took.Store(int64(time.Since(began)))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && !exit.Exited() {
		c.killed.Add(1)
	} else if err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return err
}

// whoseRules fails unless the device's rules are the VM's, and whole: as everybody else's.
func (c *chaos) whoseRules(vm, device string) error {
	list := exec.Command("nft", "--stateless", "list", "table", "netdev", "macvtap-filter")
	var text bytes.Buffer
	list.Stdout = &text
	if err := c.network.Hypervisor.Run(list); err != nil {
		return fmt.Errorf("a VM that may start has no rules: %w", err)
	}
	said := rulesOfDevice(text.String(), device)
	if !strings.Contains(said, uuidOf(vm)) {
		return fmt.Errorf("a VM that may start has no rules, or another's:\n%s", said)
	}
	said = strings.NewReplacer(uuidOf(vm), "UUID", vm, "VM", device, "DEVICE").Replace(said)
	c.whole.CompareAndSwap(nil, &said)
	if diff := cmp.Diff(*c.whole.Load(), said); diff != "" {
		return fmt.Errorf("a VM that may start has other rules than others: -other +this one\n%s", diff)
	}
	return nil
}

// rulesOfDevice gives of what nft lists what a device's frames meet: its base chains, its
// elements, and all chains and sets that are no interface's own. Chains come in any order.
func rulesOfDevice(listed, device string) string {
	var parts []string
	for _, block := range regexp.MustCompile(`(?ms)^\t(?:chain|set) .*?^\t}`).FindAllString(listed, -1) {
		kind, name, _ := strings.Cut(strings.TrimSpace(block), " ")
		name, _, _ = strings.Cut(name, " ")
		base := strings.HasPrefix(name, "from-vm-m") || strings.HasPrefix(name, "to-vm-m")
		switch {
		case strings.HasSuffix(name, "-drops"), base && !strings.HasSuffix(name, "-"+device):
			continue
		case kind == "set" && strings.HasPrefix(name, "nic-"):
			own := regexp.MustCompile(`"`+device+`" \. [^\s,]+`).FindAllString(block, -1)
			block = name + " " + strings.Join(own, ", ")
		}
		parts = append(parts, block)
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}

func (c *chaos) addDevice(name string) (*lab.Tap, error) {
	c.devices.Lock()
	defer c.devices.Unlock()
	return c.network.AddMacvtap(name, chaosMAC)
}

func (c *chaos) deleteDevice(tap *lab.Tap) error {
	c.devices.Lock()
	defer c.devices.Unlock()
	return tap.Delete()
}

// uuidOf is made of a VM's name.
func uuidOf(vm string) string {
	var w, turn int
	_, _ = fmt.Sscanf(vm, "vm-%d-%d", &w, &turn) // any other name has none of its own
	return fmt.Sprintf("6d616376-7461-4000-8000-%06d%06d", w, turn)
}

// needRootAndNFT says loudly that a test is not run, and fails in CI.
func needRootAndNFT(t *testing.T) {
	t.Helper()
	reason := ""
	if _, err := exec.LookPath("nft"); err != nil {
		reason = "nft is missing"
	}
	if unix.Geteuid() != 0 {
		reason = "network namespaces and devices need root"
	}
	switch {
	case reason == "":
	case os.Getenv("CI") != "":
		t.Fatal("NOT RUN: " + reason)
	default:
		t.Skip("NOT RUN: " + reason)
	}
}
