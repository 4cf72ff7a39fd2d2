package leaks

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/patience"
)

var update = flag.Bool("update", false, "write the table of leaks into its page")

// program is the program, and shellHook what it is compared with.
var program, shellHook string

// soak is how many rounds there are, 0 for a short run.
var soak, _ = strconv.Atoi(os.Getenv("MACVTAP_FILTER_ROUNDS"))

// emulated says that this is another kernel, where nothing is fast enough to say more
// than is heard.
var emulated = os.Getenv("MACVTAP_FILTER_KERNEL") != ""

func TestMain(m *testing.M) {
	flag.Parse()
	patience.Lengthen(bound)
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "leaks-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	if err := findPrograms(folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if canGuard, err = findGuard(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// canGuard says that the kernel can have a guard.
var canGuard bool

// findGuard tries. A kernel that should be able is held to it.
func findGuard() (can bool, err error) {
	var name unix.Utsname
	var major, minor int
	if err := unix.Uname(&name); err != nil {
		return false, err
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false, err
	}
	if unix.Geteuid() != 0 {
		return true, nil // nothing will be tried
	}
	err = kernel.TryGuard(context.Background(), filter.Guard([]string{"macvtap"}))
	if errors.Is(err, kernel.ErrNoGuard) && (major < 6 || major == 6 && minor < 17) {
		return false, nil
	}
	return err == nil, err
}

// findPrograms builds the program. On another kernel, where there is no compiler, it
// was built before.
func findPrograms(folder string) error {
	if program = os.Getenv("MACVTAP_FILTER_BINARY"); program == "" {
		program = filepath.Join(folder, "macvtap-filter")
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "macvtap-filter/cmd/macvtap-filter")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build the program: %w: %s", err, output)
		}
	}
	// The repository's own copy need not be executable.
	script, err := os.ReadFile("../../cmd/bench/hook.sh")
	if err != nil {
		return err
	}
	shellHook = filepath.Join(folder, "hook.sh")
	return os.WriteFile(shellHook, script, 0o700)
}
