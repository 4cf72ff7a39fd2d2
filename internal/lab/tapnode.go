package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openTapNode opens the character device behind a macvtap device of the
// namespace, as a descriptor that does not block.
//
// The usual way, /dev/tapN, is named after an interface index, which another
// namespace may have too, and needs devtmpfs. So the device number is read from
// the namespace's own sysfs, and the node made in a file system of its own;
// both are mounted nowhere and gone with their descriptors.
func (ns *Namespace) openTapNode(name string, index int) (int, error) {
	fd := -1
	err := ns.Do(func() error {
		number, err := tapNumber(name, index)
		if err != nil {
			return fmt.Errorf("device number of %s: %w", name, err)
		}
		if fd, err = openNode(number); err != nil {
			return fmt.Errorf("device node of %s: %w", name, err)
		}
		return nil
	})
	return fd, err
}

// tapNumber reads a macvtap device's number from the calling thread's sysfs.
func tapNumber(name string, index int) (uint64, error) {
	sys, err := detachedMount("sysfs")
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(sys) }()
	path := fmt.Sprintf("class/net/%s/tap%d/dev", name, index)
	fd, err := unix.Openat(sys, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open sysfs %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 64)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return 0, fmt.Errorf("read sysfs %s: %w", path, err)
	}
	return parseDevice(strings.TrimSpace(string(buf[:n])))
}

// parseDevice reads "major:minor".
func parseDevice(s string) (uint64, error) {
	left, right, _ := strings.Cut(s, ":")
	major, err := strconv.ParseUint(left, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("device %q: %w", s, err)
	}
	minor, err := strconv.ParseUint(right, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("device %q: %w", s, err)
	}
	return unix.Mkdev(uint32(major), uint32(minor)), nil
}

// openNode opens a character device by its number.
func openNode(number uint64) (int, error) {
	// /tmp is often mounted such that devices in it cannot be opened.
	dir, err := detachedMount("tmpfs")
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(dir) }()
	if err := unix.Mknodat(dir, "tap", unix.S_IFCHR|0o600, int(number)); err != nil {
		return -1, os.NewSyscallError("mknod", err)
	}
	fd, err := unix.Openat(dir, "tap", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	return fd, os.NewSyscallError("open", err)
}

// detachedMount gives the root folder of a fresh file system, mounted nowhere.
func detachedMount(kind string) (int, error) {
	context, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open the file system %s: %w", kind, err)
	}
	defer func() { _ = unix.Close(context) }()
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, fmt.Errorf("create the file system %s: %w", kind, err)
	}
	root, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("mount the file system %s: %w", kind, err)
	}
	return root, nil
}
