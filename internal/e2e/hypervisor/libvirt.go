package hypervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// startTime is how long libvirt may take until it answers, far above what it takes on a busy machine.
const startTime = 5 * time.Minute

// libvirtLog is where libvirtd's messages go, on the hypervisor.
const libvirtLog = "/var/log/libvirt/libvirtd.log"

// LibvirtSocket is where libvirtd listens, on the hypervisor.
const LibvirtSocket = "/run/libvirt/libvirt-sock"

// Configuration files that let libvirt and QEMU run as root without cgroups, security drivers and other daemons. Others
// than root have to ask polkit, which runs nowhere: as distributions have it. Each hypervisor needs a number of its own
// for libvirt to move guests between them.
const (
	qemuConfig = `security_driver = "none"
user = "root"
group = "root"
cgroup_controllers = [ ]
stdio_handler = "file"
namespaces = [ ]
remember_owner = 0
`
	libvirtConfig = `auth_unix_ro = "none"
auth_unix_rw = "polkit"
host_uuid = "6d616376-7461-4000-8000-%012x"
`
)

// StartLibvirt starts libvirtd and waits until it answers.
func (h *Hypervisor) StartLibvirt(ctx context.Context) error {
	if h.libvirt != nil {
		return errors.New("libvirtd is running already")
	}
	for path, text := range map[string]string{
		"/etc/libvirt/qemu.conf":     qemuConfig,
		"/etc/libvirt/libvirtd.conf": fmt.Sprintf(libvirtConfig, h.serial),
	} {
		if err := os.WriteFile(h.Path(path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	var err error
	if h.libvirt, err = h.start(libvirtLog, nil, "libvirtd"); err != nil {
		return err
	}
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
	return d.Stop(signal)
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
