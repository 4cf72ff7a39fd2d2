package hypervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Limits on what libvirt may take. They are far above what it takes on a busy machine.
const (
	startTime = 60 * time.Second
	stopTime  = 20 * time.Second
)

// libvirtLog is where libvirtd's messages go, on the hypervisor.
const libvirtLog = "/var/log/libvirt/libvirtd.log"

// Configuration files that let libvirt and QEMU run as root without cgroups, security drivers and other daemons.
var libvirtConfig = map[string]string{
	"/etc/libvirt/qemu.conf": `security_driver = "none"
user = "root"
group = "root"
cgroup_controllers = [ ]
stdio_handler = "file"
namespaces = [ ]
remember_owner = 0
`,
	"/etc/libvirt/libvirtd.conf": `auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "6d616376-7461-4000-8000-66696c746572"
`,
}

// A daemon is a running libvirtd.
type daemon struct {
	process *os.Process
	ended   chan struct{} // closed when it has ended
}

// StartLibvirt starts libvirtd and waits until it answers.
func (h *Hypervisor) StartLibvirt(ctx context.Context) error {
	if h.libvirt != nil {
		return errors.New("libvirtd is running already")
	}
	for path, text := range libvirtConfig {
		if err := os.WriteFile(h.Path(path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(h.Path(libvirtLog), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	// Not bound to ctx: it lives until StopLibvirt.
	cmd := h.Command(context.Background(), "libvirtd")
	cmd.Stdout, cmd.Stderr = log, log
	// The terminal's interrupts are for the tests alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("libvirtd: %w", err)
	}
	h.libvirt = &daemon{process: cmd.Process, ended: make(chan struct{})}
	go h.libvirt.wait(cmd)
	if err := h.answers(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, h.LibvirtLog())
	}
	return nil
}

// StopLibvirt ends libvirtd with a signal; guests live on.
func (h *Hypervisor) StopLibvirt(signal syscall.Signal) error {
	d := h.libvirt
	if d == nil {
		return errors.New("libvirtd is not running")
	}
	h.libvirt = nil
	if err := d.process.Signal(signal); err != nil {
		return fmt.Errorf("stop libvirtd: %w", err)
	}
	select {
	case <-d.ended:
		return nil
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("libvirtd did not end within %s", stopTime), d.process.Kill())
	}
}

// LibvirtLog returns what libvirtd has said so far.
func (h *Hypervisor) LibvirtLog() string {
	text, err := os.ReadFile(h.Path(libvirtLog))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Virsh runs virsh on the hypervisor, and returns what it printed. An error carries what it said on standard error.
func (h *Hypervisor) Virsh(ctx context.Context, args ...string) (string, error) {
	out, err := h.Run(ctx, "virsh", append([]string{"--connect", "qemu:///system"}, args...)...)
	return strings.TrimSpace(out), err
}

// answers waits until libvirt answers.
func (h *Hypervisor) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		_, err := h.Virsh(ctx, "list")
		if err == nil {
			return nil
		}
		select {
		case <-h.libvirt.ended:
			h.libvirt = nil
			return fmt.Errorf("libvirtd ended at once: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("libvirtd does not answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (d *daemon) wait(cmd *exec.Cmd) {
	_ = cmd.Wait() // how it ended is in its log
	close(d.ended)
}
