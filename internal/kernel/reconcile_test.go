package kernel_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/offload"
	"macvtap-filter/internal/ruleset"
)

// TestReconcile has two devices' rules stand again after something was done to the first
// one's: these are programmed, and what stands as it should is let alone.
func TestReconcile(t *testing.T) {
	const first, second = "macvtap-filter-macvtap0", "macvtap-filter-macvtap1"
	by := func(script string) func(*testing.T, *lab.Network, *lab.Tap) {
		return func(t *testing.T, n *lab.Network, _ *lab.Tap) {
			t.Helper()
			nft(t, n.Hypervisor, strings.NewReplacer(" T ", " netdev "+ruleset.RulesTable+" ", "; f", "\nf", "; d", "\nd").Replace(script)+"\n", "-f", "-")
		}
	}
	for _, test := range []struct {
		about string
		spoil func(*testing.T, *lab.Network, *lab.Tap)
		kept  bool
		count bool // what was counted is kept, as what a device and VM learned is
	}{
		{"nothing happened", func(*testing.T, *lab.Network, *lab.Tap) {}, true, true},
		{"its base chains are gone", by("flush chain T from-vm-macvtap0; flush chain T to-vm-macvtap0; delete chain T from-vm-macvtap0; delete chain T to-vm-macvtap0"), false, false},
		{"a base chain is empty", by("flush chain T to-vm-macvtap0"), false, true},
		{"the chain that says whose they are is empty", by("flush chain T from-vm-macvtap0"), false, true},
		{"a chain of its policy is empty", by("flush chain T default-from-vm-ipv4"), false, true},
		{"a rule more", by("insert rule T to-vm-macvtap0 accept"), false, true},
		{"a rule more in its policy", by("insert rule T default-to-vm-ipv4 accept"), false, true},
		{"no host is allowed", by("flush set T default-allow-ipv4"), false, true},
		{"the table sleeps", by("add table T { flags dormant; }"), true, true},
		{"a counter more", by("add counter T mine"), true, true},
		{"the check of offloads is gone", func(t *testing.T, n *lab.Network, tap *lab.Tap) {
			t.Helper()
			if err := n.Hypervisor.Do(func() error { return offload.Detach(tap.Index) }); err != nil {
				t.Fatal(err)
			}
		}, true, true},
	} {
		t.Run(test.about, func(t *testing.T) {
			n, tap := network(t)
			ns := n.Hypervisor
			addTap(t, n, "macvtap1", otherMAC)
			made := boundIn(t, ns, append(tables(t, vm(vmUUID, tap.Name), notLearned), tables(t, vm(vmUUID, "macvtap1"), "[policy.default]\nallow = [\"gateway\"]")...))
			create(t, ns, made)
			denied := out.udp(t, "192.168.2.77", 53)
			crosses(t, n, tap, out, sample{"denied, by the rules as they were", denied, false})
			before := handles(t, ns)
			test.spoil(t, n, tap)
			// A stale table beside them goes all the same.
			create(t, ns, tables(t, vm(otherUUID, "lo"), "[policy.default]\noffload = \"pass\"\n"))

			err := within(t, ns, func(ctx context.Context) error { return kernel.Reconcile(ctx, made, owned(otherUUID)) })
			if err != nil {
				t.Fatal(err)
			}
			after := handles(t, ns)
			if names := slices.Sorted(maps.Keys(after)); !slices.Equal(names, []string{first, second}) {
				t.Fatalf("%q stand", names)
			}
			if kept := after[first] == before[first]; kept != test.kept {
				t.Errorf("kept: %t, want %t", kept, test.kept)
			}
			if after[second] != before[second] {
				t.Error("the other device's rules were programmed again")
			}
			for i, h := range read(t, ns, first, second) {
				if !ruleset.Same(made[i], h.Table) {
					t.Error(ruleset.Diff("should", made[i], "stands", h.Table))
				}
				want := 0
				if h.Name == first && test.count {
					want = 1
				}
				if got := int(h.Counts["from-vm-denied-ipv4"].Packets); got != want {
					t.Errorf("%s counted %d, want %d", h.Name, got, want)
				}
			}
			crosses(t, n, tap, out, sample{"denied", denied, false})
		})
	}
}

// TestSettleNewDevice has another device take the name of one whose rules were right when
// they were read. Its index is in the rules that should stand, and these are programmed:
// by Linux before 6.16 the former's chains went with it, and the check of offloads does
// with every kernel.
func TestSettleNewDevice(t *testing.T) {
	n, tap := network(t)
	ns := n.Hypervisor
	bound := func(tap *lab.Tap) []ruleset.Table {
		made := tables(t, vm(vmUUID, tap.Name), notLearned)
		return []ruleset.Table{made[0].Bind(tap.Index)}
	}
	create(t, ns, bound(tap))
	if err := tap.Delete(); err != nil {
		t.Fatal(err)
	}
	tap = addTap(t, n, tap.Name, vmMAC)
	err := within(t, ns, func(ctx context.Context) error {
		return kernel.Reconcile(ctx, bound(tap), func(kernel.Standing) bool { return false })
	})
	if err != nil {
		t.Fatal(err)
	}
	if stands := read(t, ns)[0].Table; !ruleset.Same(bound(tap)[0], stands) {
		t.Error(ruleset.Diff("should", bound(tap)[0], "stands", stands))
	}
	crosses(t, n, tap, out, sample{"denied", out.udp(t, "192.168.2.77", 53), false})
	crosses(t, n, tap, out, sample{"of the internet", out.udp(t, "8.8.8.8", 53), true})
}

// TestSettleWhileTablesChange has rules put back while others change tables of theirs all
// the time, so that nobody ever reads two parts of a table between two changes.
func TestSettleWhileTablesChange(t *testing.T) {
	n, tap := network(t)
	ns := n.Hypervisor
	made := tables(t, vm(vmUUID, tap.Name), "")
	create(t, ns, made)
	nft(t, ns, "", "insert", "rule", "netdev", ruleset.RulesTable, "from-vm-macvtap0", "accept")
	opened := out.udp(t, "192.168.2.77", 53)
	crosses(t, n, tap, out, sample{"accepted by somebody's rule", opened, true})

	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	none := func(kernel.Standing) bool { return false }
	var err error
	whileTablesChange(t, ns, func() { err = ns.Do(func() error { return kernel.Reconcile(ctx, made, none) }) })
	if err != nil {
		t.Fatal(err)
	}
	crosses(t, n, tap, out, sample{"denied again", opened, false})
}

// TestReadWhileTablesChange reads rules while others change tables of theirs all the time.
func TestReadWhileTablesChange(t *testing.T) {
	n, tap := network(t)
	made := boundIn(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), ""))
	create(t, n.Hypervisor, made)
	var held []kernel.Held
	whileTablesChange(t, n.Hypervisor, func() { held = read(t, n.Hypervisor) })
	if len(held) != 1 || !ruleset.Same(made[0], held[0].Table) {
		t.Errorf("read %+v, want the rules of %s", held, tap.Name)
	}
}

// whileTablesChange calls do while others change tables of theirs without a pause.
func whileTablesChange(t *testing.T, ns *lab.Namespace, do func()) {
	t.Helper()
	others, stop := context.WithCancel(t.Context())
	const changing = 3
	errs, begun := make(chan error, changing), make(chan bool, changing)
	for i := range changing {
		go func() {
			theirs := ruleset.Table{Name: fmt.Sprintf("theirs-%d", i)}
			errs <- ns.Do(func() error {
				for others.Err() == nil {
					if err := kernel.ReplacePlain(context.Background(), theirs); err != nil {
						return err
					}
					select {
					case begun <- true:
					default:
					}
				}
				return nil
			})
		}()
	}
	for range changing {
		select {
		case <-begun:
		case err := <-errs:
			t.Fatalf("somebody else's change: %v", err)
		}
	}
	do()
	stop()
	for range changing {
		if err := <-errs; err != nil {
			t.Errorf("somebody else's change: %v", err)
		}
	}
}

// TestSettleOwned has a table stand as it should that will go with another process: it is
// not let alone in silence.
func TestSettleOwned(t *testing.T) {
	n, tap := network(t)
	ns := n.Hypervisor
	made := boundIn(t, ns, tables(t, vm(vmUUID, tap.Name), ""))
	create(t, ns, made) // with the check of offloads, which is nobody's
	nft(t, ns, "", "delete", "table", "netdev", ruleset.RulesTable)
	end := ownTable(t, ns, made[0])
	if held := read(t, ns, made[0].Name); len(held) != 1 || held[0].Owner == 0 || !ruleset.Same(made[0], held[0].Table) {
		t.Fatalf("there is no table that is owned and as it should be: %+v", held)
	}
	reconcile := func() error {
		return within(t, ns, func(ctx context.Context) error {
			return kernel.Reconcile(ctx, made, func(kernel.Standing) bool { return false })
		})
	}
	if err := reconcile(); !errors.Is(err, unix.EPERM) {
		t.Errorf("beside the owner: %v, want %v", err, unix.EPERM)
	}
	end()
	if err := reconcile(); err != nil {
		t.Fatal(err)
	}
	crosses(t, n, tap, out, sample{"denied", out.udp(t, "192.168.2.77", 53), false})
}

// ownTable has an nft own a table until it is ended.
func ownTable(t *testing.T, ns *lab.Namespace, table ruleset.Table) (end func()) {
	t.Helper()
	head := "table netdev " + ruleset.RulesTable + " {\n"
	file := filepath.Join(t.TempDir(), "owned.nft")
	if err := os.WriteFile(file, []byte(strings.Replace(ruleset.Text([]ruleset.Table{table}), head, head+"flags owner\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "nft", "-i")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		in.Close()
		_ = cmd.Wait() // it says nothing of itself
	})
	t.Cleanup(end)
	fmt.Fprintf(in, "include \"%s\"\nlist tables netdev\n", file)
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if strings.HasSuffix(lines.Text(), "table netdev "+ruleset.RulesTable) {
			return end
		}
	}
	t.Fatalf("nft ended: %s", said.String())
	return nil
}

// handles gives the tables' identities in the kernel by their names.
func handles(t *testing.T, ns *lab.Namespace) map[string]uint64 {
	t.Helper()
	of := map[string]uint64{}
	err := within(t, ns, func(ctx context.Context) error {
		standing, err := kernel.Tables(ctx)
		for _, s := range standing {
			of[s.Name] = s.Handle
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return of
}
