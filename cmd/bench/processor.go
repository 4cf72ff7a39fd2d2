package main

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// onProcessor runs f with its thread kept on the last processor it may use: the
// first one usually has more interrupts to serve.
func onProcessor(f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read the thread's processors: %w", err)
	}
	last, left := 0, before.Count()
	for ; left > 0; last++ {
		if before.IsSet(last) {
			left--
		}
	}
	one.Set(last - 1)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("keep the thread on processor %d: %w", last-1, err)
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &before)) }()
	return f()
}
