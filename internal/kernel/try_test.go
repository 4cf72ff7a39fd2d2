package kernel_test

import (
	"context"
	"os"
	"testing"

	"macvtap-filter/internal/kernel"
)

func TestTry(t *testing.T) {
	ns := namespace(t)
	try := func(device string) error {
		return within(t, ns, func(ctx context.Context) error {
			return kernel.Try(ctx, tables(t, vm(vmUUID, device), services))
		})
	}
	if err := try("lo"); err != nil {
		t.Error(err)
	}
	stands(t, ns) // nothing is left where the caller is
}

// What was tried leaves the process where it was: its main thread, which would stay in
// that network namespace for good, and the namespace with it, is never the one that tries.
func TestTryOnAnotherThread(t *testing.T) {
	const main = "/proc/self/ns/net" // the main thread's, whichever thread asks
	before, err := os.Readlink(main)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if err := kernel.Try(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if now, err := os.Readlink(main); err != nil || now != before {
			t.Fatalf("the process is in %s, and was in %s: %v", now, before, err)
		}
	}
}
