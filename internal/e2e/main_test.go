//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"macvtap-filter/internal/e2e/sandbox"
	"macvtap-filter/internal/guest"
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(prepare, m.Run))
}

// prepare gets what needs the internet, which the sandbox has not: the guests' kernel, and the modules of everything
// that is built in there.
func prepare(ctx context.Context) error {
	if _, err := guest.Kernel(ctx); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "go", "mod", "download").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go mod download: %w: %s", err, out)
	}
	return nil
}
