package kernel

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// Try programs tables in a network namespace of its own that ends with the call,
// and so finds out what the kernel can do without touching the host's rules. The
// tables' device must be "lo", the one that such a namespace has. It needs
// CAP_SYS_ADMIN.
func Try(ctx context.Context, tables []ruleset.Table) error {
	done := make(chan error, 1)
	go func() {
		// The thread is not unlocked: it ends with this goroutine, and the
		// namespace with it.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		done <- Create(ctx, tables)
	}()
	return <-done
}
