//go:build e2e

package servers

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"macvtap-filter/internal/e2e/sandbox"
)

// program is macvtap-filter, built for these tests.
var program string

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(prepare, func() int { return withProgram(m.Run) }))
}

// prepare gets what needs the internet, which the sandbox has not.
func prepare(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "go", "mod", "download").CombinedOutput(); err != nil {
		return fmt.Errorf("go mod download: %w: %s", err, out)
	}
	return nil
}

func withProgram(run func() int) int {
	dir, err := os.MkdirTemp("", "servers-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "macvtap-filter")
	if out, err := exec.Command("go", "build", "-o", program, "macvtap-filter/cmd/macvtap-filter").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v: %s\n", err, out)
		return 1
	}
	_ = flag.Set("test.parallel", "16") // the rows of a table wait most of the time
	return run()
}
