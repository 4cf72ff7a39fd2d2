package kernel_test

import (
	"context"
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
