package leaks

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

var update = flag.Bool("update", false, "write the table of leaks into the README")

// program is the program, and shellHook what it is compared with.
var program, shellHook string

// soak is how many rounds there are, 0 for a short run.
var soak, _ = strconv.Atoi(os.Getenv("MACVTAP_FILTER_ROUNDS"))

func TestMain(m *testing.M) {
	flag.Parse()
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
	return m.Run()
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
