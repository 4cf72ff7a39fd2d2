// Package hypervisor runs a libvirtd of its own, with QEMU guests on macvtap devices, in a network and a mount namespace:
// it has its own /etc, /run, /var/lib/libvirt and /usr/local/sbin, so what is installed or started there touches nothing
// of the machine.
package hypervisor

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"macvtap-filter/internal/lab"
)

// Files below here are the tests' own, in the hypervisor's /run.
const workDir = "/run/e2e"

// searchPath is an administrator's, whatever the PATH of whoever runs the tests.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

//go:embed mounts.sh
var mountScript string

// A Hypervisor is a machine that can run libvirt.
type Hypervisor struct {
	anchor  *exec.Cmd // a process that does nothing but hold the mount namespace
	serial  int       // tells it from the process's other hypervisors
	apart   bool      // it has a process namespace of its own
	libvirt *Process  // nil when libvirtd is not running
	vms     []*VM     // those that are here
}

// New makes the hypervisor's files in a mount namespace of their own and numbers its devices such that their /dev/tapN
// are nobody else's. The network namespace is the caller's to close, after the hypervisor.
func New(network *lab.Namespace) (*Hypervisor, error) {
	serial, err := HighIndexes(network)
	if err != nil {
		return nil, fmt.Errorf("make a hypervisor: %w", err)
	}
	anchor := exec.Command("unshare", "--mount", "sh", "-euc", mountScript, "mounts", workDir)
	var said bytes.Buffer
	anchor.Stderr = &said
	ready, err := anchor.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make a hypervisor: %w", err)
	}
	if err := network.Start(anchor); err != nil {
		return nil, fmt.Errorf("make a hypervisor: %w", err)
	}
	h := &Hypervisor{anchor: anchor, serial: serial}
	if line, err := bufio.NewReader(ready).ReadString('\n'); err != nil || line != "ready\n" {
		h.release()
		return nil, fmt.Errorf("make a hypervisor's mounts: %s (are libvirt-daemon-system and iproute2 installed?)",
			strings.TrimSpace(said.String()))
	}
	return h, nil
}

// Of gives a machine that runs libvirt already, by its process 1, whose processes are numbered apart. Whoever made it
// closes it.
func Of(init *exec.Cmd) *Hypervisor { return &Hypervisor{anchor: init, apart: true} }

// Close ends libvirtd, all guests, and the namespace that held the hypervisor's files.
func (h *Hypervisor) Close() error {
	var err error
	for _, vm := range h.vms {
		err = errors.Join(err, vm.kill())
	}
	if h.libvirt != nil {
		err = errors.Join(err, h.StopLibvirt(syscall.SIGTERM))
	}
	h.release()
	return err
}

func (h *Hypervisor) release() {
	_ = h.anchor.Process.Kill()
	_ = h.anchor.Wait() // it says "killed"
}

// Path returns the path by which the caller finds a file of the hypervisor.
func (h *Hypervisor) Path(path string) string {
	return filepath.Join("/proc", fmt.Sprint(h.anchor.Process.Pid), "root", path)
}

// Command prepares a program to run on the hypervisor, from its root directory.
func (h *Hypervisor) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	pid := fmt.Sprint(h.anchor.Process.Pid)
	enter := []string{"--target", pid, "--mount", "--net"}
	if h.apart {
		enter = append(enter, "--pid")
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(append(enter, "--", name), args...)...)
	cmd.Env = append(os.Environ(), "PATH="+searchPath+":"+os.Getenv("PATH"), "LC_ALL=C")
	return cmd
}

// Run runs a program on the hypervisor and returns what it printed. An error carries what it said on standard error.
func (h *Hypervisor) Run(ctx context.Context, name string, args ...string) (string, error) {
	return run(h.Command(ctx, name, args...), name, args)
}

// Feed is [Hypervisor.Run] with text on the program's standard input.
func (h *Hypervisor) Feed(ctx context.Context, input, name string, args ...string) (string, error) {
	cmd := h.Command(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	return run(cmd, name, args)
}

func run(cmd *exec.Cmd, name string, args []string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err,
			strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
