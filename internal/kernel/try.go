package kernel

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// Try programs tables in a network namespace of its own that ends with the call,
// and so finds out what the kernel can do without touching the host's rules. The
// tables' device must be "lo", the one that such a namespace has. It needs
// CAP_SYS_ADMIN.
func Try(ctx context.Context, tables []ruleset.Table) error {
	return inOwnNamespace(func() error {
		err := Create(ctx, tables)
		forgetTrust() // nobody comes back to the namespace
		return err
	})
}

// inOwnNamespace runs f in a network namespace of its own that ends with the call. A panic
// of f is an error: nobody else could recover it.
func inOwnNamespace(f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if fault := recover(); fault != nil {
				done <- fmt.Errorf("a fault of the program: %v", fault)
			}
		}()
		// The thread is not unlocked: it ends with this goroutine, and the
		// namespace with it.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// But for the first, which never ends, and whose namespace /proc shows as the
			// process's. While this goroutine holds it, the next gets another.
			defer runtime.UnlockOSThread()
			done <- inOwnNamespace(f)
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// TryGuard finds out, in a network namespace of its own, whether the kernel can
// have this guard: whether it takes it, and whether rules for the beginning of a
// name hold frames of a device that comes to such a name later. ErrNoGuard says
// that it cannot. It needs CAP_SYS_ADMIN.
func TryGuard(ctx context.Context, guard ruleset.Table) error {
	return inOwnNamespace(func() error {
		if err := RaiseGuard(ctx, guard); err != nil {
			return err
		}
		return tryLate(ctx)
	})
}

// tryLate sends a frame on a device before and after it has a name that is closed. The
// device is the loopback device: every namespace has one, and no module needs to be
// loaded.
func tryLate(ctx context.Context) error {
	const closed = "closed"
	empty, err := Spell(ctx, ruleset.Table{Name: "try", Chains: []ruleset.Chain{
		{Name: "in", Hook: &ruleset.Hook{Type: ruleset.Ingress, Prefixes: []string{closed}}},
		{Name: "out", Hook: &ruleset.Hook{Type: ruleset.Egress, Prefixes: []string{closed}}},
	}})
	if err != nil {
		return err
	}
	if err := createPlain(ctx, empty); err != nil {
		return err
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer links.Close()
	const loopback = 1 // its index in every namespace
	device, err := links.LinkByIndex(loopback)
	if err != nil {
		return fmt.Errorf("find the loopback device: %w", err)
	}
	send := func() error { return errors.Join(links.LinkSetUp(device), sendOn(loopback)) }
	if err := send(); err != nil {
		return fmt.Errorf("send on the loopback device: %w", err)
	}
	if err := errors.Join(links.LinkSetDown(device), links.LinkSetName(device, closed+"0")); err != nil {
		return fmt.Errorf("rename the loopback device: %w", err)
	}
	switch err := send(); {
	case err == nil:
		return fmt.Errorf("%w: it took them, and let a frame pass all the same", ErrNoGuard)
	case !errors.Is(err, unix.ENOBUFS): // what a drop is to the sender
		return fmt.Errorf("send on the renamed loopback device: %w", err)
	}
	return nil
}

// sendOn sends a frame on a device.
func sendOn(index int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, make([]byte, 60), 0, &unix.SockaddrLinklayer{Ifindex: index})
}
