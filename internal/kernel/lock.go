package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile is where processes of this program keep out of each other's way.
const lockFile = "/run/macvtap-filter.lock"

// Lock keeps other processes of this program from programming tables until unlock
// is called or the process ends. It stands around looking at a device and
// programming its table: between the two the device's name may go to another VM,
// whose rules would be overwritten. Where there is no place for a lock, as for a
// caller without privilege, there is none. An error says that another process
// held it until ctx ended.
func Lock(ctx context.Context) (unlock func(), err error) {
	file, err := os.OpenFile(lockFile, os.O_CREATE|os.O_RDONLY|unix.O_CLOEXEC, 0o600)
	for _, nowhere := range []unix.Errno{unix.EACCES, unix.EPERM, unix.EROFS, unix.ENOENT, unix.ENOTDIR} {
		if errors.Is(err, nowhere) {
			return func() {}, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	// The kernel queues who waits; trying again and again would cost the one
	// that has the lock its processor.
	var failure error
	locked := make(chan struct{})
	go func() {
		defer close(locked)
		failure = flock(file)
	}()
	select {
	case <-locked:
		if failure != nil {
			return nil, fmt.Errorf("lock %s: %w", lockFile, failure)
		}
		return func() { file.Close() }, nil
	case <-ctx.Done():
		// The lock may come yet: it is given back at once.
		go func() {
			<-locked
			file.Close()
		}()
		return nil, fmt.Errorf("another macvtap-filter holds %s: %w", lockFile, ctx.Err())
	}
}

func flock(file *os.File) error {
	for {
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
