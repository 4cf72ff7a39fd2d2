package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

var otherMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}

const otherUUID = "0d3f7c1e-5b2a-4c61-9e0f-1a2b3c4d5e6f"

// owned finds the tables of a VM.
func owned(uuid string) func(kernel.Standing) bool {
	return func(s kernel.Standing) bool { return filter.ParseOwner(s.Comment).UUID == uuid }
}

func replace(t *testing.T, ns *lab.Namespace, made []ruleset.Table, stale func(kernel.Standing) bool) {
	t.Helper()
	if err := within(t, ns, func(ctx context.Context) error { return kernel.Replace(ctx, made, stale) }); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, ns *lab.Namespace, stale func(kernel.Standing) bool) []kernel.Standing {
	t.Helper()
	var removed []kernel.Standing
	err := within(t, ns, func(ctx context.Context) (err error) {
		removed, err = kernel.Remove(ctx, stale)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return removed
}

func stands(t *testing.T, ns *lab.Namespace, want ...string) {
	t.Helper()
	got := standing(t, ns)
	slices.Sort(got)
	slices.Sort(want)
	if join(got) != join(want) {
		t.Errorf("tables: %q, want %q", got, want)
	}
}

// nft runs nft in a namespace with a script on its input, and gives its output.
func nft(t *testing.T, ns *lab.Namespace, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("nft", args...)
	cmd.Stdin = strings.NewReader(input)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := ns.Run(cmd); err != nil {
		skipByteOrder(t, output.String())
		t.Fatalf("nft %s: %v: %s", strings.Join(args, " "), err, output.String())
	}
	return output.String()
}

// skipByteOrder skips a test in which the kernel refuses what nft 1.0 makes of meta
// l4proto in a set of several fields and ranges: it turns round two bytes of the one
// that there is. Linux took that, and 6.12.117 and 7.3.4 do not. nft 1.1 makes
// nothing of it, and neither does this program.
func skipByteOrder(t *testing.T, output string) {
	t.Helper()
	if !refusedByteOrder.MatchString(output) {
		return
	}
	version, err := exec.Command("nft", "--version").Output()
	if err != nil || !strings.HasPrefix(string(version), "nftables v1.0.") {
		return
	}
	if os.Getenv("CI") != "" && os.Getenv("MACVTAP_FILTER_KERNEL") == "" {
		t.Fatalf("NOT RUN: this kernel needs nft 1.1 or later: %s", output)
	}
	t.Skipf("NOT RUN: this kernel needs nft 1.1 or later: %s", output)
}

var refusedByteOrder = regexp.MustCompile(`Operation not supported\n.* \. meta l4proto \. `)

func listing(t *testing.T, ns *lab.Namespace) string {
	t.Helper()
	return nft(t, ns, "", "--stateless", "list", "ruleset")
}

func TestOneVMsEventsTouchOnlyItsOwnTables(t *testing.T) {
	n, _ := network(t)
	addTap(t, n, "macvtap1", lanMAC)
	addTap(t, n, "macvtap2", otherMAC)
	ns := n.Hypervisor
	nft(t, ns, "table netdev filter { set mine { type ipv4_addr; elements = { 192.0.2.1 } }\n }\ntable ip macvtap-filter-x {}\n", "-f", "-")

	create(t, ns, tables(t, vm(vmUUID, "macvtap0", "macvtap1"), ""))
	create(t, ns, tables(t, vm(otherUUID, "macvtap2"), ""))
	stands(t, ns, "macvtap-filter-macvtap0", "macvtap-filter-macvtap1", "macvtap-filter-macvtap2")
	// What another VM's rules are, with their handles: what is changed has others.
	others := func() string {
		var all string
		for _, line := range strings.SplitAfter(nft(t, ns, "", "--handle", "--stateless", "list", "table", "netdev", ruleset.RulesTable), "\n\n") {
			if !strings.Contains(line, "-vm-macvtap0 {") && !strings.Contains(line, "-vm-macvtap1 {") && !strings.Contains(line, "set nic-") {
				all += line
			}
		}
		return all
	}
	other := others()

	// The first VM lost its second interface.
	replace(t, ns, tables(t, vm(vmUUID, "macvtap0"), ""), owned(vmUUID))
	stands(t, ns, "macvtap-filter-macvtap0", "macvtap-filter-macvtap2")

	removed := remove(t, ns, owned(vmUUID))
	if len(removed) != 1 || removed[0].Name != "macvtap-filter-macvtap0" {
		t.Errorf("removed %v, want the one table of the VM", removed)
	}
	stands(t, ns, "macvtap-filter-macvtap2")
	if now := others(); now != other {
		t.Errorf("the other VM's table changed:\n%s\nwas:\n%s", now, other)
	}
	if all := listing(t, ns); !strings.Contains(all, "set mine") || !strings.Contains(all, "table ip macvtap-filter-x") {
		t.Errorf("foreign tables are gone:\n%s", all)
	}
	if again := remove(t, ns, owned(vmUUID)); len(again) != 0 {
		t.Errorf("removed %v where nothing was", again)
	}
}

// TestNothingHalfProgrammed has the second table of a transaction refused.
func TestNothingHalfProgrammed(t *testing.T) {
	n, tap := network(t)
	addTap(t, n, "macvtap1", lanMAC)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), ""))
	before := listing(t, n.Hypervisor)
	made := tables(t, vm(vmUUID, tap.Name, "macvtap1"), services)
	// Overlapping ranges, which Validate does not look for and the kernel
	// refuses.
	for i := range made[1].Sets {
		if s := made[1].Sets[i]; s.Interval && len(s.Key) == 1 && len(s.Elements) > 1 { // the policy's are both NICs'
			s.Elements[0].To = [][]byte{{192, 168, 255, 255}}
			break
		}
	}
	for name, program := range map[string]func(context.Context) error{
		"create":  func(ctx context.Context) error { return kernel.Create(ctx, made) },
		"replace": func(ctx context.Context) error { return kernel.Replace(ctx, made, owned(vmUUID)) },
	} {
		err := within(t, n.Hypervisor, program)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if !strings.Contains(err.Error(), "default-"+lan.Parent+"-") {
			t.Errorf("%s: %q does not name the set of the policy", name, err)
		}
		if after := listing(t, n.Hypervisor); after != before {
			t.Errorf("%s: the failure changed the ruleset to:\n%s", name, after)
		}
	}
}

// TestDeadVMsRules starts a VM on a device whose name a dead VM's table still
// has.
func TestDeadVMsRules(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(otherUUID, tap.Name), notLearned+"allow = [\"192.168.2.77\"]\n"))
	crosses(t, n, tap, out, sample{"allowed by the dead VM's rules", out.udp(t, "192.168.2.77", 53), true})
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
	stands(t, n.Hypervisor, "macvtap-filter-macvtap0")
	crosses(t, n, tap, out, sample{"denied by the new VM's rules", out.udp(t, "192.168.2.77", 53), false})
	if removed := remove(t, n.Hypervisor, owned(otherUUID)); len(removed) != 0 {
		t.Errorf("the dead VM's late stop removed %v", removed)
	}
}

// TestDeviceGone removes the rules of a device that is gone: on older kernels its
// chains went with it, on later ones they stay.
func TestDeviceGone(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
	if err := tap.Delete(); err != nil {
		t.Fatal(err)
	}
	left := len(read(t, n.Hypervisor))
	if removed := remove(t, n.Hypervisor, owned(vmUUID)); len(removed) != left {
		t.Errorf("removed %v, want %d", removed, left)
	}
	stands(t, n.Hypervisor)
	if listed := nft(t, n.Hypervisor, "", "list", "tables"); listed != "" {
		t.Errorf("nft lists %q, want none: Linux 6.1 leaves the policy's rules and elements", listed)
	}

	again := addTap(t, n, tap.Name, vmMAC)
	crosses(t, n, again, out, sample{"after removal", out.udp(t, "192.168.2.77", 53), true})
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
	crosses(t, n, again, out, sample{"a device of the same name", out.udp(t, "192.168.2.77", 53), false})
}

// TestNoGap re-applies while the VM sends every frame of the attack suite over and
// over: not one gets out. What stops them are compares, hashes and trees, not all
// of which the kernel fills at the moment from which rules look them up.
func TestNoGap(t *testing.T) {
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, `"10.%d.128.0/17", "2001:db8:%x::/48", `, i, 0x100+2*i)
	}
	for name, policy := range map[string]string{
		"default":           "",
		"not learned":       notLearned,
		"many denied":       notLearned + "deny = [" + many.String() + `"private", "onlink"]`,
		"own addresses":     "[[vm]]\nname = \"web-1\"\naddresses = [\"192.168.2.100\", \"192.168.2.101\", \"2001:db8:2:0:5054:ff:fe00:1\", \"2001:db8:2::101\"]",
		"allowed prefixes":  notLearned + "allow = [\"gateway\", \"dns\", \"192.168.3.0/24\", \"192.168.2.64/29 udp/5000-5010\", \"fd00:3::/64\"]",
		"one entire family": notLearned + "ipv6 = \"drop\"",
	} {
		t.Run(name, func(t *testing.T) { noGap(t, policy) })
	}
}

func noGap(t *testing.T, policy string) {
	n, tap := network(t)
	made := tables(t, vm(vmUUID, tap.Name), policy)
	create(t, n.Hypervisor, made)
	if policy == "" {
		owns(t, n, tap, false)
	}
	var frames [][]byte
	names := map[string]string{}
	for _, c := range attacks(t) {
		if c.Way != attack.FromVM {
			continue
		}
		for _, f := range c.Frames {
			frames, names[string(f)] = append(frames, f), c.Name
		}
	}
	done := make(chan error)
	go func() {
		done <- within(t, n.Hypervisor, func(ctx context.Context) error {
			for range 20 {
				if err := kernel.Replace(ctx, made, owned(vmUUID)); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	sent := 0
	seen, err := n.Watch(func() error {
		for {
			select {
			case err := <-done:
				return err
			default:
			}
			// A dropped frame is no error on a tap.
			if err := tap.Send(frames[sent%len(frames)]); err != nil {
				return err
			}
			sent++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range seen.Wire {
		if name := names[string(f)]; policy != "" || !passLearned[name] {
			got[name]++
		}
	}
	if len(got) > 0 {
		t.Errorf("of %d frames got out: %v", sent, got)
	}
	t.Logf("%d frames sent during 20 re-applies", sent)
}

// TestManyAtOnce starts and stops VMs from many goroutines, as libvirt does from
// many processes.
func TestManyAtOnce(t *testing.T) {
	const vms = 60
	ns := namespace(t)
	devices := manyDevices(t, ns, vms)
	var group sync.WaitGroup
	for i := range vms {
		group.Go(func() {
			uuid := fmt.Sprintf("00000000-0000-0000-0000-%012d", i)
			made := tables(t, vm(uuid, devices[i]), "")
			err := within(t, ns, func(ctx context.Context) error {
				err := kernel.Create(ctx, made)
				if i%2 == 0 && err == nil {
					_, err = kernel.Remove(ctx, owned(uuid))
				}
				if i%4 == 0 && err == nil {
					err = kernel.Replace(ctx, made, owned(uuid))
				}
				return err
			})
			if err != nil {
				t.Errorf("VM %d: %v", i, err)
			}
		})
	}
	group.Wait()
	var want []string
	for i := range vms {
		if i%2 == 1 || i%4 == 0 {
			want = append(want, "macvtap-filter-"+devices[i])
		}
	}
	stands(t, ns, want...)
}

// TestTenThousandAllowed counts in the kernel what a long allow list became.
func TestTenThousandAllowed(t *testing.T) {
	n, tap := network(t)
	var entries strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&entries, "\"192.168.%d.%d\",", 100+i/250, 1+i%250)
	}
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned+"allow = ["+entries.String()+"]\n"))
	elements := strings.Count(nft(t, n.Hypervisor, "", "list", "set", "netdev", ruleset.RulesTable, "default-allow-ipv4"), "192.168.")
	if elements != 10000 {
		t.Errorf("the kernel has %d of 10000 hosts", elements)
	}
	for _, host := range []string{"192.168.100.1", "192.168.119.250", "192.168.139.250"} {
		crosses(t, n, tap, out, sample{"allowed host " + host, out.udp(t, host, 53), true})
	}
	crosses(t, n, tap, out, sample{"a host beside", out.udp(t, "192.168.139.251", 53), false})
}

// TestTenThousandOfEverything counts what became of entries of both families that lie
// beside and within each other: each address is in the kernel once.
func TestTenThousandOfEverything(t *testing.T) {
	ns := namespace(t)
	addDevices(t, ns, "macvtap0")
	var entries strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&entries, "\"192.168.%d.%d\",", 100+i/250, 1+i%250) // beside each other
		fmt.Fprintf(&entries, "\"192.168.%d.%d\",", 100+i/250, 1+i%250) // twice
		fmt.Fprintf(&entries, "\"fd00::%x\",", i)
		fmt.Fprintf(&entries, "\"fd00:0:0:%x::/64\",", 2*i) // with a gap between; the first holds all of the single ones
	}
	create(t, ns, tables(t, vm(vmUUID, "macvtap0"), "[policy.default]\nallow = ["+entries.String()+"]\n"))
	count := func(set, what string) int {
		return strings.Count(nft(t, ns, "", "list", "set", "netdev", ruleset.RulesTable, "default-"+set), what)
	}
	if n := count("allow-ipv4", "192.168."); n != 2500 {
		t.Errorf("%d IPv4 hosts, want 2500", n)
	}
	if n := count("allow-ranges-ipv6", "::/64"); n != 2500 {
		t.Errorf("%d IPv6 prefixes, want 2500", n)
	}
	for _, table := range tables(t, vm(vmUUID, "macvtap0"), "[policy.default]\nallow = ["+entries.String()+"]\n") {
		for _, s := range table.Sets {
			if s.Name == "allow-ipv6" {
				t.Errorf("%d single IPv6 hosts beside the prefix that holds them", len(s.Elements))
			}
		}
	}
}

func TestMissingPrivilege(t *testing.T) {
	ns := namespace(t)
	err := within(t, ns, func(ctx context.Context) error {
		if err := dropCapabilities(); err != nil {
			return err
		}
		return kernel.Create(ctx, tables(t, vm(vmUUID, "lo"), ""))
	})
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("got %v, want an EPERM that names the capability", err)
	}
}

// dropCapabilities takes the calling thread's capabilities away; lab ends the
// thread after its function.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}
