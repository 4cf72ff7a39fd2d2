//go:build e2e

package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/nftables"

	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/ruleset"
)

// former is the last commit whose rules are a table for each device.
const former = "12b3bf8"

// Running VMs whose rules the version before made, a table for each device, have those of this version after the package's
// upgrade, after their hook was called, and when watch begins. A guest that sends meanwhile loses not one frame to the
// internet, and not one that is denied gets out.
func TestUpgrade(t *testing.T) {
	before, now := formerPackage(t), buildPackages(t, "9.0.0")["deb"]
	for _, way := range []struct {
		name, script string
		guarded      bool
	}{
		{"package", "dpkg -i $1", false},
		{"package, guarded", "dpkg -i $1", true},
		{"hook", "dpkg --unpack $1; virsh dumpxml $2 | /etc/libvirt/hooks/qemu.d/macvtap-filter $2 reconnect begin -", false},
		{"watch", "dpkg --unpack $1; macvtap-filter watch & until macvtap-filter verify; do sleep 0.1; done; kill $!; wait $! || true", false},
	} {
		t.Run(way.name, func(t *testing.T) { testUpgrade(t, way.script, way.guarded, before, now) })
	}
}

func testUpgrade(t *testing.T, script string, guarded bool, before, now string) {
	s := packagedSite(t)
	s.do(t, "dpkg -i $1", before)
	s.restartLibvirt(t, syscall.SIGTERM, func() {})
	vm := s.start(t, "upgraded", s.nics(2)...)
	want := []string{ruleset.RulesTable}
	if guarded {
		raiseGuard(t, s)
		want = append(want, ruleset.GuardTable)
	}
	was := s.tables(t)
	t.Logf("before: %q", was)
	if len(was) != len(vm.NICs)+len(want)-1 || !slices.Contains(was, ruleset.TableName(s.deviceOf(t, vm))) {
		t.Fatal("these are not the tables of the version before")
	}

	s.whileSending(t, vm, func(ctx context.Context) (string, error) {
		return s.hv.Run(ctx, "sh", "-euc", "{ "+script+"; } 2>&1", "sh", now, vm.Name)
	})

	is := s.tables(t)
	t.Logf("after: %q", is)
	if !slices.Equal(is, want) {
		t.Errorf("want %q", want)
	}
	s.verify(t, false, "--all")
	s.expectShielded(t, vm)
}

// tables names the tables for network devices, sorted. nft 1.0.6 never ends to list them when the guard's is among them.
func (m *machine) tables(t *testing.T) []string {
	t.Helper()
	var names []string
	err := m.ns.Do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := conn.ListTablesOfFamily(nftables.TableFamilyNetdev)
		for _, table := range tables {
			names = append(names, table.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// whileSending does something while a guest sends denied frames and others by turns, and fails if one of those arrives, or
// one of these does not. It begins and ends between two batches; a batch is over when its last frame has arrived.
func (s *site) whileSending(t *testing.T, vm *hypervisor.VM, do func(context.Context) (string, error)) {
	t.Helper()
	const rest = 10 // batches after it is done
	for _, nic := range vm.NICs {
		s.reachGateway(t, vm, nic)
	}
	type result struct {
		said string
		err  error
	}
	done := make(chan result, 1)
	left := -1
	sent, lost, leaked := 0, 0, 0
	for n := 0; left != 0; n++ {
		if n == rest {
			go func() {
				said, err := do(t.Context())
				done <- result{said, err}
			}()
		}
		select {
		case r := <-done:
			t.Logf("it says:\n%s", r.said)
			if r.err != nil {
				t.Fatal(r.err)
			}
			left = rest
		default:
			left--
		}
		for _, nic := range vm.NICs {
			batch := s.mixed(t, nic)
			for i, came := range s.crossedOut(t, vm, nic, batch) {
				switch denied := i%2 == 0; {
				case denied && came:
					leaked++
				case !denied && !came:
					lost++
				}
				sent++
			}
		}
	}
	t.Logf("of %d frames to the internet %d were lost, of %d denied ones %d got out", sent/2, lost, sent/2, leaked)
	if lost > 0 || leaked > 0 {
		t.Error("frames were judged by no rules")
	}
}

// mixed gives frames that are denied, to the hidden host, and after each of them one to the internet, all of them different.
func (s *site) mixed(t *testing.T, nic hypervisor.NIC) [][]byte {
	t.Helper()
	const each = 50
	cast := s.cast(t, nic)
	var all [][]byte
	for i := range each {
		k := kinds[i%2]
		web := cast.Web.IPv4
		if k.ipv6 {
			web = cast.Web.IPv6
		}
		ends := s.ends(nic, k.ipv6)
		all = append(all, k.frame(t, nic.MAC, s.hidden.MAC, ends, token()),
			k.frame(t, nic.MAC, cast.Gateway.MAC, [2]net.IP{ends[0], web.AsSlice()}, token()))
	}
	return all
}

// formerPackage builds the package of the version before.
func formerPackage(t *testing.T) string {
	t.Helper()
	root, source := moduleRoot(t), t.TempDir()
	script := `git -C "$1" archive ` + former + ` | tar -x -C "$2"; exec make -C "$2" packages VERSION=1.0.0 OUT="$2/out"`
	if said, err := exec.CommandContext(t.Context(), "git", "-C", root, "cat-file", "-e", former+"^{commit}").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("NOT RUN: this checkout has no history: %s", said)
		}
		t.Skipf("NOT RUN: this checkout has no history: %s", said)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", script, "sh", root, source)
	cmd.Env = append(os.Environ(), "GOPROXY=off", "MAINTAINER=Former <former@example.org>")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make packages of %s: %v\n%s", former, err, said)
	}
	found, err := filepath.Glob(filepath.Join(source, "out", "*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages: %q, %v", found, err)
	}
	return found[0]
}
