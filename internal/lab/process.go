package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Start starts cmd as a process inside the namespace, and inside its mount
// namespace when Overlay or Hide made one. The caller waits for it.
func (ns *Namespace) Start(cmd *exec.Cmd) error {
	if ns.mounts == nil {
		return ns.Do(cmd.Start)
	}
	if cmd.Dir == "" {
		// Entering a mount namespace moves the thread to its root folder.
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		cmd.Dir = dir
	}
	return onLostThread(func() error {
		if err := ns.enter(); err != nil {
			return err
		}
		// The Go runtime's threads share one working directory, which forbids
		// entering a mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare the working directory: %w", err)
		}
		if err := unix.Setns(int(ns.mounts.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter the mount namespace: %w", err)
		}
		return cmd.Start()
	})
}

// Run starts cmd as Start does and waits for its end.
func (ns *Namespace) Run(cmd *exec.Cmd) error {
	if err := ns.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Overlay shows the namespace's processes a file of their own at path, an
// absolute one, in place of what the machine has there. Nobody else sees it,
// and nothing is left behind.
//
// Where the machine has no such file, its folder is covered by an empty one
// that holds the file alone.
func (ns *Namespace) Overlay(path string, content []byte) error {
	source, err := os.CreateTemp("", "lab-overlay-")
	if err != nil {
		return err
	}
	_, err = source.Write(content)
	if err = errors.Join(err, source.Chmod(0o644), source.Close()); err == nil {
		err = ns.mount("overlay "+path, func() error { return bindFile(source.Name(), path) })
	}
	return errors.Join(err, os.Remove(source.Name()))
}

// Hide shows the namespace's processes an empty folder of their own in place of
// one of the machine's, in which they may write. A folder that is not there is
// no error.
func (ns *Namespace) Hide(folder string) error {
	return ns.mount("hide "+folder, func() error {
		err := unix.Mount("tmpfs", folder, "tmpfs", 0, "mode=755")
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// mount runs f in the mount namespace of the namespace's processes. The first
// call makes it, with the /sys that belongs to the network namespace.
func (ns *Namespace) mount(what string, f func() error) error {
	err := onLostThread(func() error {
		if err := ns.enterMounts(); err != nil {
			return err
		}
		return f()
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// enterMounts moves the calling thread into the namespace's mount namespace,
// and makes that when there is none.
func (ns *Namespace) enterMounts() error {
	if ns.mounts != nil {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		return unix.Setns(int(ns.mounts.Fd()), unix.CLONE_NEWNS)
	}
	// sysfs shows the network namespace of the thread that mounts it.
	if err := ns.enter(); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount the namespace's /sys: %w", err)
	}
	var err error
	ns.mounts, err = os.Open("/proc/thread-self/ns/mnt")
	return err
}

// bindFile shows the file source at path, in the calling thread's mount namespace.
func bindFile(source, path string) error {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return coverFolder(source, path)
	}
	if err != nil {
		return err
	}
	return unix.Mount(source, target, "", unix.MS_BIND, "")
}

// coverFolder mounts an empty folder over path's and copies source into it.
func coverFolder(source, path string) error {
	content, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", filepath.Dir(path), "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}
