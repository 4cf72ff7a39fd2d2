package lab

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// KernelIs reports whether the kernel is Linux major.minor or later (uname(2)).
func KernelIs(major, minor int) (bool, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false, err
	}
	release := unix.ByteSliceToString(name.Release[:])
	var isMajor, isMinor int
	if _, err := fmt.Sscanf(release, "%d.%d", &isMajor, &isMinor); err != nil {
		return false, fmt.Errorf("the kernel's release %q: %w", release, err)
	}
	return isMajor > major || isMajor == major && isMinor >= minor, nil
}

// A test is what NoGuard needs of one.
type test interface {
	Skip(...any)
	Fatal(...any)
}

// NoGuard skips a test on a kernel that has no guard and says why; it fails on one that should
// have it (Linux 6.17).
func NoGuard(t test, why any) {
	if should, err := KernelIs(6, 17); should || err != nil {
		t.Fatal("this kernel should have a guard: ", why, " ", err)
	}
	t.Skip("NOT RUN: a guard needs Linux 6.17: ", why)
}
