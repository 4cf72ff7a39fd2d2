package watch

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// alone makes sure that no other process watches the same network namespace, until
// release is called or the process ends.
func alone() (release func(), err error) {
	name, err := lockName()
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("watch needs root: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			text, _ := os.ReadFile(name)
			return nil, fmt.Errorf("another watch runs already, process %s; stop that first (systemctl stop macvtap-filter-watch)", strings.TrimSpace(string(text)))
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	if err := file.Truncate(0); err == nil {
		fmt.Fprintln(file, os.Getpid())
	}
	return func() { file.Close() }, nil
}

// lockName gives the file for the network namespace that the process is in: those of
// one host may share their files.
func lockName() (string, error) {
	var namespace unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &namespace); err != nil {
		return "", fmt.Errorf("which network namespace: %w", err)
	}
	return fmt.Sprintf("/run/macvtap-filter-watch-%d.lock", namespace.Ino), nil
}
