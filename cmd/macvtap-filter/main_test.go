package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/patience"
)

var update = flag.Bool("update", false, "write what the program prints to the golden files, instead of comparing")

// TestMain lets scripts call the program by its name, "unprivileged", which calls
// another program without any privilege, and "without-bpf", without those that
// programs in the kernel need. Only what a limit of time does is shown with the program
// as it is shipped, or with a hasty one.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"macvtap-filter": patient, "shipped": main, "hasty": hasty, "unprivileged": unprivileged, "without-bpf": withoutBPF,
	})
}

// bound ends what hangs, and decides nothing else: however busy the machine is, what
// should happen takes less.
const bound = 5 * time.Minute

// patient is the program with limits of time that only a hang meets.
func patient() {
	if line, err := os.ReadFile("/proc/self/cmdline"); err == nil { // testscript takes its folder away
		os.Args[0], _, _ = strings.Cut(string(line), "\x00")
	}
	hookLimit, commandLimit, logLimit = bound, bound, bound
	patience.Lengthen(bound)
	main()
}

// hasty is the program whose hook gives up soon.
func hasty() {
	hookLimit = time.Second
	main()
}

// TestScripts runs the scripts, which show what the program does as its caller
// sees it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		Setup:               enterLab,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"hanging":  hangLibvirt,
			"libvirt":  runLibvirt,
			"hook":     callHook,
			"network":  callNetworkHook,
			"macvtap":  addMacvtap,
			"wire":     sendFromLAN,
			"tables":   wantTables,
			"guard":    wantGuard,
			"offload":  wantOffload,
			"watching": awaitWatch,
		},
		Condition: hasGuard,
	})
}

// unprivileged runs os.Args[1:] as root without any capability: it owns its files,
// and may do nothing else that root may.
func unprivileged() {
	runtime.LockOSThread() // capabilities are the thread's, and the exec's
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		dropCapability(c)
	}
	none := [2]unix.CapUserData{}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		panic(err)
	}
	execute()
}

// withoutBPF runs os.Args[1:] as on a kernel that refuses BPF programs, and nothing
// else that the program needs.
func withoutBPF() {
	runtime.LockOSThread()
	for _, c := range []uintptr{unix.CAP_BPF, unix.CAP_SYS_ADMIN} {
		dropCapability(c)
	}
	execute()
}

// dropCapability keeps what is executed later from having a capability.
func dropCapability(c uintptr) {
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
		panic(err) // EINVAL: one that this kernel does not have
	}
}

func execute() {
	program, err := exec.LookPath(os.Args[1])
	if err != nil {
		panic(err)
	}
	panic(syscall.Exec(program, os.Args[1:], os.Environ()))
}
