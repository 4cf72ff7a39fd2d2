package kernel_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// guard covers the devices that libvirt names.
var guard = filter.Guard([]string{"macvtap"})

// guarded are a device's tables as they are programmed beside a guard.
func guarded(t testing.TB, uuid string, tap *lab.Tap, policy ...string) []ruleset.Table {
	t.Helper()
	d := vm(uuid, tap.Name)
	d.Direct[0].MAC = tap.MAC
	made := tables(t, d, strings.Join(append([]string{notLearned}, policy...), ""))
	for i := range made {
		made[i] = filter.Mark(made[i]).Bind(tap.Index)
	}
	return made
}

func raise(t testing.TB, ns *lab.Namespace, table ruleset.Table) {
	t.Helper()
	if err := within(t, ns, func(ctx context.Context) error { return kernel.RaiseGuard(ctx, table) }); err != nil {
		t.Fatal(err)
	}
}

// own opens a guard that belongs to the test until it ends.
func own(t *testing.T, ns *lab.Namespace) *kernel.OwnedGuard {
	t.Helper()
	var owned *kernel.OwnedGuard
	err := within(t, ns, func(ctx context.Context) (err error) {
		owned, err = kernel.OpenGuard(ctx, guard)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = owned.Close() })
	return owned
}

func lookGuard(t *testing.T, ns *lab.Namespace) (kernel.Standing, bool) {
	t.Helper()
	var found kernel.Standing
	var standing bool
	err := within(t, ns, func(ctx context.Context) (err error) {
		found, standing, err = kernel.LookGuard(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, standing
}

// needGuard skips a test on kernels that cannot have a guard.
func needGuard(t *testing.T) {
	t.Helper()
	err := kernel.TryGuard(context.Background(), guard)
	if errors.Is(err, kernel.ErrNoGuard) {
		lab.NoGuard(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A kernel that cannot have a guard says so, whoever asks, and has no half of one
// after that; rules that mark are rules like any other there.
func TestKernelWithoutGuard(t *testing.T) {
	for _, minor := range []int{17, 16} {
		is, err := lab.KernelIs(6, minor)
		if err != nil {
			t.Fatal(err)
		}
		if is && minor == 17 {
			needGuard(t) // every other test of the guard is for these
		}
		if is {
			return // of 6.16, some have it, some have not
		}
	}
	n, tap := network(t)
	for name, try := range map[string]func(context.Context) error{
		"TryGuard":   func(ctx context.Context) error { return kernel.TryGuard(ctx, guard) },
		"RaiseGuard": func(ctx context.Context) error { return kernel.RaiseGuard(ctx, guard) },
		"OpenGuard": func(ctx context.Context) error {
			_, err := kernel.OpenGuard(ctx, guard)
			return err
		},
	} {
		if err := within(t, n.Hypervisor, try); !errors.Is(err, kernel.ErrNoGuard) {
			t.Errorf("%s: %v, want %v", name, err, kernel.ErrNoGuard)
		}
	}
	if found, standing := lookGuard(t, n.Hypervisor); standing {
		t.Errorf("a guard was left: %+v", found)
	}
	create(t, n.Hypervisor, guarded(t, vmUUID, tap))
	filters(t, n, tap)
}

// filters checks that a device's rules let the internet pass, and nothing else.
func filters(t *testing.T, n *lab.Network, tap *lab.Tap) {
	t.Helper()
	for _, peer := range []struct {
		address string
		passes  bool
	}{{"192.0.2.1", true}, {"192.168.2.77", false}} {
		passes(t, n, tap, peer.address, peer.passes)
	}
}

// passes checks whether frames to and from a peer pass a device.
func passes(t *testing.T, n *lab.Network, tap *lab.Tap, peer string, want bool) {
	t.Helper()
	from, to := out, in
	from.src, to.dst = tap.MAC, tap.MAC
	if got, err := n.FromVM(tap, from.udp(t, peer, 53)); err != nil || got != want {
		t.Errorf("%s to %s passes: %t (%v), want %t", tap.Name, peer, got, err, want)
	}
	if got, err := n.ToVM(tap, to.udp(t, peer, 53)); err != nil || got != want {
		t.Errorf("%s from %s passes: %t (%v), want %t", tap.Name, peer, got, err, want)
	}
}

// TestGuard holds the guard to what it is for, in both of its forms. Here nft may not
// know the one of them.
func TestGuard(t *testing.T) {
	needGuard(t)
	for _, test := range guardTests {
		t.Run(test.name, func(t *testing.T) {
			t.Cleanup(kernel.UsePrefixes(false))
			test.f(t)
		})
		if test.prefixes {
			t.Run(test.name+", prefixes", func(t *testing.T) {
				t.Cleanup(kernel.UsePrefixes(true))
				test.f(t)
			})
		}
	}
}

var guardTests = []struct {
	name     string
	f        func(*testing.T)
	prefixes bool // in that form, too
}{
	{"ownership", testOwnership, true},
	{"owner killed", testOwnerKilled, false},
	{"removal", testRemoval, false},
	{"owner again", testOwnerAgain, false},
	{"other kinds of devices", testOtherKinds, true},
	{"other prefixes", testOtherPrefixes, true},
	{"hot-plug", testPlug, true},
	{"recycled name", testRecycledName, false},
	{"flush", testFlush, true},
	{"two VMs", testBetween, true},
	{"mark is taken off", testMarkIsTakenOff, false},
	{"open table", testOpenTable, false},
	{"many at once", testMany, false},
	{"read back", testGuardReadBack, true},
	{"names", testNames, false},
	{"listing", testListing, false},
	{"text", testGuardText, false},
}

// While somebody owns the guard nobody else changes it, nft included. That is also
// why devices' tables are not owned: hooks could not replace them.
func testOwnership(t *testing.T) {
	n, tap := network(t)
	ns := n.Hypervisor
	raise(t, ns, guard) // a hook's; it is taken over
	owned := own(t, ns)
	create(t, ns, guarded(t, vmUUID, tap))
	first, _ := lookGuard(t, ns)
	if first.Owner == 0 {
		t.Error("the guard is nobody's")
	}
	for name, change := range map[string]func(context.Context) error{
		"RaiseGuard": func(ctx context.Context) error { return kernel.RaiseGuard(ctx, guard) },
		"RemoveGuard": func(ctx context.Context) error {
			_, err := kernel.RemoveGuard(ctx)
			return err
		},
		"OpenGuard": func(ctx context.Context) error {
			_, err := kernel.OpenGuard(ctx, guard)
			return err
		},
	} {
		if err := within(t, ns, change); !errors.Is(err, kernel.ErrGuardOwned) {
			t.Errorf("%s: %v, want %v", name, err, kernel.ErrGuardOwned)
		}
	}
	for _, command := range []string{"delete table netdev macvtap-filter-guard", "flush table netdev macvtap-filter-guard", "add chain netdev macvtap-filter-guard more"} {
		if output, err := nftFails(ns, command); err == nil || !strings.Contains(output, "not permitted") {
			t.Errorf("nft %s: %v: %s", command, err, output)
		}
	}
	filters(t, n, tap)
	nft(t, ns, "", "flush", "ruleset")
	stands(t, ns) // no device's
	if now, standing := lookGuard(t, ns); !standing || now != first {
		t.Errorf("the guard after a flush: %+v, %t", now, standing)
	}
	passes(t, n, tap, "192.0.2.1", false)
	ensure := func() {
		t.Helper()
		if err := within(t, ns, func(ctx context.Context) error { return owned.Ensure(ctx, guard) }); err != nil {
			t.Fatal(err)
		}
	}
	ensure()
	if now, _ := lookGuard(t, ns); now != first {
		t.Errorf("a guard that stands was made again: %+v", now)
	}
	if err := owned.Close(); err != nil {
		t.Error(err)
	}
	if now, standing := lookGuard(t, ns); !standing || now.Owner != 0 {
		t.Errorf("the guard without its owner: %+v, %t", now, standing)
	}
	passes(t, n, tap, "192.0.2.1", false)
	// What others do to it meanwhile does not last.
	nft(t, ns, "", "flush", "table", "netdev", ruleset.GuardTable)
	create(t, ns, guarded(t, vmUUID, tap))
	passes(t, n, tap, "192.0.2.1", false)
	own(t, ns)
	filters(t, n, tap)
}

// nftLoads has nft look whether it could load a text.
func nftLoads(ns *lab.Namespace, text string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", "--check", "--file", "-")
	var output strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &output, &output
	err := ns.Run(cmd)
	return output.String(), err
}

// nftFails runs nft and gives its output and how it ended.
func nftFails(ns *lab.Namespace, command string) (string, error) {
	cmd := exec.Command("nft", command)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	err := ns.Run(cmd)
	return output.String(), err
}

// ownerVariable turns the test into a process that owns the guard until it dies.
const ownerVariable = "KERNEL_TEST_OWNER"

// A guard outlives its owner's violent end, and the next one takes it over.
func testOwnerKilled(t *testing.T) {
	if os.Getenv(ownerVariable) != "" {
		owned, err := kernel.OpenGuard(context.Background(), guard)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("owned")
		for {
			time.Sleep(time.Hour)
			runtime.KeepAlive(owned) // else its socket is closed when memory is freed
		}
	}
	n, tap := network(t)
	create(t, n.Hypervisor, guarded(t, vmUUID, tap))
	for range 3 {
		kill := startOwner(t, n.Hypervisor)
		if found, standing := lookGuard(t, n.Hypervisor); !standing || found.Owner == 0 {
			t.Fatalf("the guard: %+v, %t", found, standing)
		}
		filters(t, n, tap)
		kill()
		if found, standing := lookGuard(t, n.Hypervisor); !standing || found.Owner != 0 {
			t.Fatalf("the guard after its owner's death: %+v, %t", found, standing)
		}
		filters(t, n, tap)
		replace(t, n.Hypervisor, nil, owned(vmUUID))
		passes(t, n, tap, "192.0.2.1", false)
		create(t, n.Hypervisor, guarded(t, vmUUID, tap))
	}
	own(t, n.Hypervisor)
	filters(t, n, tap)
}

// startOwner starts a process that owns the guard, and gives what kills it.
func startOwner(t *testing.T, ns *lab.Namespace) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestGuard$/^owner_killed$", "-test.v")
	cmd.Env = append(os.Environ(), ownerVariable+"=1")
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	dead := false
	kill = func() {
		if !dead {
			dead = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if lines.Text() == "owned" {
			return kill
		}
	}
	t.Fatalf("the owner ended: %v", lines.Err())
	return nil
}

// A socket that closes, which takes the kernel a while after a removal, takes no
// ownership with it of the guard that is opened meanwhile.
func testOwnerAgain(t *testing.T) {
	ns := namespace(t)
	for range 20 {
		raise(t, ns, guard)
		err := within(t, ns, func(ctx context.Context) error {
			_, err := kernel.RemoveGuard(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		lookGuard(t, ns)
		owned := own(t, ns)
		for range 3 {
			if found, _ := lookGuard(t, ns); found.Owner == 0 {
				t.Fatal("the guard lost its owner")
			}
		}
		if err := owned.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func testRemoval(t *testing.T) {
	n, tap := network(t)
	removeGuard := func() (removed bool) {
		t.Helper()
		err := within(t, n.Hypervisor, func(ctx context.Context) (err error) {
			removed, err = kernel.RemoveGuard(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return removed
	}
	if removeGuard() {
		t.Error("removed what there was not")
	}
	raise(t, n.Hypervisor, guard)
	passes(t, n, tap, "192.0.2.1", false)
	if !removeGuard() {
		t.Error("nothing removed")
	}
	passes(t, n, tap, "192.0.2.1", true)
	owned := own(t, n.Hypervisor)
	passes(t, n, tap, "192.0.2.1", false)
	err := within(t, n.Hypervisor, func(ctx context.Context) error {
		removed, err := owned.Remove(ctx)
		if !removed {
			t.Error("the owner removed nothing")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	passes(t, n, tap, "192.0.2.1", true)
	if err := within(t, n.Hypervisor, func(ctx context.Context) error { return owned.Ensure(ctx, guard) }); err != nil {
		t.Fatal(err)
	}
	passes(t, n, tap, "192.0.2.1", false)
}

// A device of another kind with a name of the guard's is let alone.
func testOtherKinds(t *testing.T) {
	n, err := lab.New(lab.Options{Parent: "macvtap9"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	raise(t, n.Hypervisor, guard)
	tap := addTap(t, n, "macvtap0", vmMAC)
	passes(t, n, tap, "192.0.2.1", false)
	create(t, n.Hypervisor, guarded(t, vmUUID, tap))
	filters(t, n, tap) // over a parent that the guard sees, too
}

// Names that are spelled out go with the numbers that there are, and a guard says how
// far they reach.
func testNames(t *testing.T) {
	n, tap := network(t)
	raise(t, n.Hypervisor, guard)
	reaches := func(device string, want bool) {
		t.Helper()
		if found, _ := lookGuard(t, n.Hypervisor); found.Reaches(device) != want {
			t.Errorf("reaches %s and more: %t (%s)", device, !want, found.Comment)
		}
	}
	reaches("macvtap511", true)
	reaches("macvtap512", false)
	reaches("macvtap-x", false) // no number, and none that there is
	reaches("macvtap1f", false)
	reaches("other0", false)
	far := addTap(t, n, "macvtap5000", otherMAC)
	odd := addTap(t, n, "macvtap-x", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 3})
	raise(t, n.Hypervisor, guard)
	reaches("macvtap5000", true)
	reaches("macvtap5500", false)
	reaches("macvtap-x", true)
	last := addTap(t, n, "macvtap5631", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 4}) // 4608 + 1023
	for _, tap := range []*lab.Tap{tap, far, odd, last} {
		passes(t, n, tap, "192.0.2.1", false)
	}
	owned := own(t, n.Hypervisor)
	if err := within(t, n.Hypervisor, func(ctx context.Context) error { return owned.Ensure(ctx, guard) }); err != nil {
		t.Fatal(err)
	}
	reaches("macvtap5631", true)
	held := read(t, n.Hypervisor, ruleset.GuardTable)[0]
	if diff := ruleset.Diff("made", guard, "read", held.Table); diff != "" {
		t.Error(diff)
	}
}

// What is printed of a guard with names is what is programmed. It is never printed as
// JSON, in which nft 1.0.6 reads no list of devices.
func testGuardText(t *testing.T) {
	programmed, loaded := namespace(t), namespace(t)
	var table ruleset.Table
	err := within(t, programmed, func(ctx context.Context) (err error) {
		table, err = kernel.Spell(ctx, guard)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	createPlain(t, programmed, table)
	nft(t, loaded, table.String(), "-f", "-")
	want := listing(t, programmed)
	if diff := cmp.Diff(want, listing(t, loaded)); diff != "" {
		t.Errorf("the text differs from what is programmed (-netlink +text):\n%s", diff)
	}
}

// No guard keeps nft from reading rules, whatever it knows: an nft that does not know
// prefixes looks for ever for a chain that it passed over.
func testListing(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, guarded(t, vmUUID, tap))
	nft(t, n.Hypervisor, "", "add table ip somebodys")
	nft(t, n.Hypervisor, "", "add chain ip somebodys in { type filter hook input priority 0; }")
	raise(t, n.Hypervisor, guard)
	for _, command := range []string{"list ruleset", "list tables", "list counters", "list table netdev macvtap-filter", "--echo --handle insert rule ip somebodys in accept"} {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		cmd := exec.CommandContext(ctx, "nft", strings.Fields(command)...)
		if err := n.Hypervisor.Run(cmd); err != nil {
			t.Errorf("nft %s: %v", command, err)
		}
		cancel()
	}
	// Many hosts save their firewall so, and would be left without any.
	loads := func(whose string) {
		t.Helper()
		if output, err := nftLoads(n.Hypervisor, nft(t, n.Hypervisor, "", "list", "ruleset")); err != nil {
			t.Errorf("what nft lists with %s does not load: %v: %s", whose, err, output)
		}
	}
	loads("a hook's guard")
	owned := own(t, n.Hypervisor) // nobody else can load it meanwhile
	if err := owned.Close(); err != nil {
		t.Error(err)
	}
	loads("a guard that watch left")
}

// A guard covers the names that it is told, and another set of names at once.
func testOtherPrefixes(t *testing.T) {
	n, tap := network(t)
	web := addTap(t, n, "web0", otherMAC)
	owned := own(t, n.Hypervisor)
	passes(t, n, tap, "192.0.2.1", false)
	passes(t, n, web, "192.0.2.1", true)
	err := within(t, n.Hypervisor, func(ctx context.Context) error {
		return owned.Ensure(ctx, filter.Guard([]string{"macvtap", "web"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	passes(t, n, tap, "192.0.2.1", false)
	passes(t, n, web, "192.0.2.1", false)
	create(t, n.Hypervisor, guarded(t, otherUUID, web))
	filters(t, n, web)
}

// testGuardReadBack reads the guard, owned and not, and a device's table beside it.
func testGuardReadBack(t *testing.T) {
	n, tap := network(t)
	made := append(guarded(t, vmUUID, tap), filter.Guard([]string{"web", "macvtap"}))
	create(t, n.Hypervisor, made[:1])
	raise(t, n.Hypervisor, made[1])
	for _, m := range made {
		got := read(t, n.Hypervisor, m.Name)[0]
		if diff := ruleset.Diff("made", m, "read", got.Table); diff != "" {
			t.Error(diff)
		}
		if err := got.Table.Validate(); err != nil {
			t.Error(err)
		}
	}
	own(t, n.Hypervisor)
	got := read(t, n.Hypervisor, ruleset.GuardTable)[0]
	if diff := ruleset.Diff("made", guard, "read", got.Table); diff != "" || got.Owner == 0 {
		t.Errorf("owned by %d:\n%s", got.Owner, diff)
	}
	if ruleset.Same(made[1], got.Table) {
		t.Error("a prefix less is the same")
	}
}
