// Package sandbox runs a test binary in mount, process and network namespaces of its own. Mounts, daemons, guests and
// NICs made in there end with it, even when it is killed, so no test needs code that cleans up after a failure.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// stageVar tells a started copy of the test binary which of the three stages it is.
const stageVar = "MACVTAP_FILTER_E2E_STAGE"

const (
	stageInit = "init" // process 1 of the sandbox: mounts, starts the tests, reaps
	stageTest = "test" // runs the tests
)

// Main runs the tests inside a sandbox and returns the exit code. It is the whole of a TestMain. Before the sandbox is
// entered, prepare runs once in the machine's own namespaces; it may download, and must do nothing else.
func Main(prepare func(context.Context) error, run func() int) int {
	var code int
	var err error
	switch os.Getenv(stageVar) {
	case stageTest:
		return run()
	case stageInit:
		code, err = supervise()
	default:
		code, err = enter(prepare)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}

// enter starts process 1 of the sandbox and waits for it.
func enter(prepare func(context.Context) error) (int, error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("these tests make namespaces and run libvirtd: run them as root")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := prepare(ctx); err != nil {
		return 1, err
	}

	// The death signal follows the thread that forked, so this one must live as long as the sandbox.
	runtime.LockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageVar+"="+stageInit)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL,
	}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if ctx.Err() != nil {
		return 1, errors.New("interrupted")
	}
	if err != nil {
		return 1, fmt.Errorf("sandbox: %w", err)
	}
	return 0, nil
}

// supervise is process 1: it makes the mounts private, starts the tests and reaps whatever is orphaned (a guest's QEMU
// is nobody's child, and libvirt waits for it to be gone). Its end is the end of every process in the sandbox.
func supervise() (int, error) {
	if err := mounts(); err != nil {
		return 1, err
	}
	if err := os.Setenv(stageVar, stageTest); err != nil {
		return 1, err
	}
	tests, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return 1, fmt.Errorf("start the tests: %w", err)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 1, fmt.Errorf("wait for the tests: %w", err)
		case pid == tests.Pid && status.Signaled():
			return 1, fmt.Errorf("the tests ended by signal: %s", status.Signal())
		case pid == tests.Pid:
			return status.ExitStatus(), nil
		}
	}
}

// mounts cuts the mounts off from the machine's and gives the sandbox its own /proc, as its process numbers are its
// own, and its own /run, where `ip netns` keeps its names and daemons their sockets.
func mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return nil
}
