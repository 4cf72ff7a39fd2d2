package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// errAbandoned is what a function gives that ended its goroutine.
var errAbandoned = errors.New("the function left by runtime.Goexit")

// onThread runs f on an OS thread of its own and puts the thread's network
// namespace back. A thread whose namespace cannot be put back is never
// unlocked: the runtime ends it with its goroutine, so that no other code ever
// runs there.
func onThread(f func() error) error {
	return onLockedThread(func() (bool, error) {
		home, err := os.Open(threadNetwork)
		if err != nil {
			return true, fmt.Errorf("hold the thread's network namespace: %w", err)
		}
		defer home.Close()
		err = f()
		return unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil, err
	})
}

// onLostThread runs f on an OS thread that ends with it: for what cannot be
// undone on a thread.
func onLostThread(f func() error) error {
	return onLockedThread(func() (bool, error) { return false, f() })
}

// onLockedThread runs f on a locked OS thread, which serves others afterwards
// if f says that it is clean, and ends otherwise.
//
// The process's first thread cannot end: it would keep the namespace it is in,
// and show it to everybody as /proc/self/ns. So it only waits for another.
func onLockedThread(f func() (clean bool, err error)) error {
	done := make(chan error, 1)
	go func() {
		err := errAbandoned
		defer func() { done <- err }()
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			err = onLockedThread(f)
			runtime.UnlockOSThread()
			return
		}
		var clean bool
		if clean, err = f(); clean {
			runtime.UnlockOSThread()
		}
	}()
	return <-done
}
