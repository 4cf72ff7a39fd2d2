package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/libvirt/daemon"
	"macvtap-filter/internal/offload"
	"macvtap-filter/internal/watch"
)

// enterLab gives a script the stories as $CASES and a hypervisor of its own: a
// network namespace with a parent enp88s0, and a look at the file system that lacks what the machine has
// of libvirt, of a log and of a configuration. The script's goroutine stays in
// it, on a thread that nobody else uses and that ends with it.
func enterLab(env *testscript.Env) error {
	network, err := lab.New(lab.Options{
		Parent:    "enp88s0",
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.2/24")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.168.2.1")},
	})
	if err != nil {
		return err
	}
	env.Defer(func() { _ = network.Close() })
	cases, err := filepath.Abs(filepath.Join("..", "..", "testdata", "cases"))
	if err != nil {
		return err
	}
	env.Setenv("CASES", cases)
	env.Values[labKey{}] = network
	runtime.LockOSThread()
	if err := unix.Setns(network.Hypervisor.FD(), unix.CLONE_NEWNET); err != nil {
		return err
	}
	return hideMachine()
}

type labKey struct{}

// hideMachine covers the folders of which a script must neither depend nor be
// seen in: libvirt, the journal and what this program notes are in /run.
func hideMachine() error {
	// Go's threads share what CLONE_FS does, and then cannot have mounts of
	// their own.
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, folder := range []string{"/run", "/etc/macvtap-filter"} {
		if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "mode=755"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := unix.Mount("/dev/null", "/dev/log", "", unix.MS_BIND, ""); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// exits runs a program and wants an exit code: exits CODE PROGRAM ARGUMENT…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENT…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// callHook calls the program as libvirt does, with the XML on standard input, and
// wants an exit code and nothing on standard output, which libvirt may take for
// XML: hook CODE XML NAME OPERATION SUBOPERATION
func callHook(ts *testscript.TestScript, neg bool, args []string) {
	callAs(ts, "macvtap-filter", neg, args)
}

// callNetworkHook does so with libvirt's hook of networks, which is network.d/macvtap-filter:
// network CODE XML NAME OPERATION SUBOPERATION
func callNetworkHook(ts *testscript.TestScript, neg bool, args []string) {
	callAs(ts, "$WORK/network.d/macvtap-filter", neg, args)
}

func callAs(ts *testscript.TestScript, program string, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: hook CODE XML NAME OPERATION SUBOPERATION")
	}
	exits(ts, false, append([]string{args[0], "sh", "-c", "exec " + program + ` "$@" - <"$0"`}, args[1:]...))
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("a hook call wrote to standard output: %q", out)
	}
}

// addMacvtap makes a device as libvirt does before it calls the hook, or, with up,
// as it is while its VM runs: macvtap NAME MAC [up]
func addMacvtap(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 || len(args) == 3 && args[2] != "up" {
		ts.Fatalf("usage: macvtap NAME MAC [up]")
	}
	mac, err := net.ParseMAC(args[1])
	ts.Check(err)
	tap, err := ts.Value(labKey{}).(*lab.Network).AddMacvtap(args[0], mac)
	ts.Check(err)
	if len(args) == 3 {
		ts.Check(tap.Up())
	}
}

// sendFromLAN sends a frame from the LAN: wire HEX
func sendFromLAN(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: wire HEX")
	}
	f, err := frame.ParseHex(args[0])
	ts.Check(err)
	wire, err := ts.Value(labKey{}).(*lab.Network).Wire()
	ts.Check(err)
	ts.Check(wire.Send(f))
}

// hasGuard is the condition that this kernel can have a guard.
func hasGuard(condition string) (bool, error) {
	if condition != "guard" {
		return false, fmt.Errorf("unknown condition %q", condition)
	}
	err := kernel.TryGuard(context.Background(), filter.Guard([]string{"macvtap"}))
	if errors.Is(err, kernel.ErrNoGuard) {
		return false, nil
	}
	return err == nil, err
}

// wantGuard wants a guard to stand, or none: [!] guard
func wantGuard(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) > 0 {
		ts.Fatalf("usage: [!] guard")
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	_, standing, err := kernel.LookGuard(ctx)
	ts.Check(err)
	if standing == neg {
		ts.Fatalf("a guard stands: %t", standing)
	}
}

// hangLibvirt has the script see a libvirt that takes connections, and never answers:
// hanging
func hangLibvirt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: hanging")
	}
	listenAsLibvirt(ts)
}

// runLibvirt has the script see a libvirt with one VM, that of a file, which runs, or is
// shut off: libvirt FILE [off]
func runLibvirt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 || len(args) == 2 && args[1] != "off" {
		ts.Fatalf("usage: libvirt FILE [off]")
	}
	xml := ts.ReadFile(args[0])
	vm := daemon.VM("web-1", [16]byte{0x66, 0x95}, 7)
	results := map[uint32][]byte{
		daemon.AuthList: daemon.Words(1, 0), daemon.LookupByName: vm, daemon.GetXML: daemon.Text(xml),
		daemon.ListAll: slices.Concat(daemon.Words(1), vm, daemon.Words(1)),
	}
	if len(args) == 2 {
		results[daemon.IsActive] = daemon.Words(0)
	}
	listener := listenAsLibvirt(ts)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for {
					call, err := daemon.Read(conn)
					if err != nil {
						return
					}
					result, known := results[call.Procedure]
					if !known {
						result = daemon.Words(1)
					}
					if _, err := conn.Write(call.Answer(result, false)); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// listenAsLibvirt listens where libvirt does, until the script ends.
func listenAsLibvirt(ts *testscript.TestScript) net.Listener {
	const folder = "/run/libvirt"
	ts.Check(os.MkdirAll(folder, 0o755))
	listener, err := net.Listen("unix", folder+"/libvirt-sock")
	ts.Check(err)
	ts.Defer(func() { _ = listener.Close() })
	return listener
}

// awaitWatch waits for a watch to run, or, with a part of a problem, to tell of it:
// watching [PART]
func awaitWatch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: watching [PART]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	for {
		told, err := watch.Ask(ctx)
		if err == nil && (len(args) == 0 || strings.Contains(fmt.Sprintf("%+v", told), args[0])) {
			return
		}
		if ctx.Err() != nil {
			ts.Fatalf("watch never tells so: %+v, %v", told, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// wantTables wants the tables of the program in the kernel to be these: tables
// NAME…
func wantTables(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: tables NAME…")
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	standing, err := kernel.Tables(ctx)
	ts.Check(err)
	got := []string{}
	for _, s := range standing {
		got = append(got, s.Name)
	}
	slices.Sort(got)
	want := append([]string{}, args...)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		ts.Fatalf("tables: -want +in the kernel:\n%s", diff)
	}
}

// wantOffload wants a device's offloads to be checked, or not to be: [!] offload
// DEVICE
func wantOffload(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] offload DEVICE")
	}
	link, err := ts.Value(labKey{}).(*lab.Network).Hypervisor.Links().LinkByName(args[0])
	ts.Check(err)
	checked, err := offload.Attached(link.Attrs().Index)
	ts.Check(err)
	if checked == neg {
		ts.Fatalf("the offloads of %s are checked: %t", args[0], checked)
	}
}
