package hypervisor

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"macvtap-filter/internal/guest"
)

// modules are what a guest needs beside the kernel itself, for its NICs, the port to the agent and the power button.
var modules = []string{"virtio_pci", "virtio_net", "virtio_console", "af_packet", "button", "evdev"}

//go:embed init.sh
var initScript []byte

//go:embed nic.sh
var nicScript []byte

//go:embed lease.sh
var leaseScript []byte

// An image is what all guests boot.
type image struct {
	kernel    string
	initramfs string
	domain    string // the <domain> type that runs it fastest here
}

// guestImage makes the image once a process.
var guestImage = sync.OnceValues(func() (image, error) {
	kernel, err := guest.Kernel(context.Background())
	if err != nil {
		return image{}, err
	}
	img := image{kernel: kernel.Vmlinuz, initramfs: filepath.Join("/run", "e2e-initramfs.gz"), domain: "qemu"}
	if guest.Accel() == guest.KVM {
		img.domain = "kvm"
	}
	dir, err := os.MkdirTemp("/run", "agent-") // the sandbox's own, gone with it
	if err != nil {
		return image{}, err
	}
	defer os.RemoveAll(dir)
	agent := filepath.Join(dir, "agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", agent, "macvtap-filter/internal/e2e/agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return image{}, fmt.Errorf("build the agent: %w: %s", err, out)
	}
	root := guest.NewInitramfs(kernel)
	root.AddFile("/init", 0o755, initScript)
	root.AddFile("/nic.sh", 0o755, nicScript)
	root.AddFile("/lease.sh", 0o755, leaseScript)
	err = errors.Join(
		root.AddBusybox(),
		root.AddModules(modules...),
		root.AddHostFile("/agent", agent),
		root.WriteFile(img.initramfs),
	)
	return img, err
})
