package guest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A VM is a guest with one processor and no disk.
type VM struct {
	Kernel    string    // path of the bootable image
	Initramfs string    // path of its root file system; may be empty
	Append    string    // what to add to the kernel's command line
	Accel     string    // as [Accel] returns it
	MemoryMiB int       // 0 is 256
	Console   io.Writer // takes what the kernel and /init print (ttyS0)
	Output    io.Writer // takes what the guest writes to /dev/ttyS1; may be nil
	NIC       *NIC      // nil: no network
}

// A NIC is a VM's virtio NIC.
type NIC struct {
	Tap   *os.File // of a tap or macvtap device, with a virtio header before each frame
	MAC   net.HardwareAddr
	Vhost bool // the host's kernel carries the frames, by /dev/vhost-net, instead of QEMU
}

// arguments are QEMU's, with the tap's descriptor.
func (n *NIC) arguments(descriptor int) []string {
	vhost := "off"
	if n.Vhost {
		vhost = "on"
	}
	return []string{
		"-netdev", fmt.Sprintf("tap,id=net0,fd=%d,vhost=%s", descriptor, vhost),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=net0,mac=%s,romfile=", n.MAC),
	}
}

// Run boots the VM and returns when it has powered off or rebooted. It fails
// when QEMU does, and when ctx ends first; QEMU is then killed.
func (v *VM) Run(ctx context.Context) error {
	memory := v.MemoryMiB
	if memory == 0 {
		memory = 256
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35", "-accel", v.Accel, "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(memory),
		"-kernel", v.Kernel,
		"-append", strings.TrimSpace("console=ttyS0 panic=-1 " + v.Append),
		"-serial", "stdio",
	}
	if v.Initramfs != "" {
		args = append(args, "-initrd", v.Initramfs)
	}
	qemu, err := hostProgram("qemu-system-x86_64")
	if err != nil {
		return fmt.Errorf("guest: %w (install qemu-system-x86)", err)
	}
	cmd := exec.CommandContext(ctx, qemu, args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = v.Console, &said
	cmd.WaitDelay = 5 * time.Second

	finish := func() error { return nil }
	if v.Output != nil {
		if finish, err = secondSerial(cmd, v.Output); err != nil {
			return fmt.Errorf("guest: %w", err)
		}
	}
	if v.NIC != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, v.NIC.Tap)
		cmd.Args = append(cmd.Args, v.NIC.arguments(2+len(cmd.ExtraFiles))...)
	}
	err = cmd.Run()
	if ferr := finish(); err == nil {
		err = ferr
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("guest: still running, killed: %w", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("guest: qemu: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

// secondSerial gives QEMU a pipe for its second serial port and copies what
// comes through it to w. The function that it returns, called when QEMU is
// gone, waits for the last byte.
//
// Two ports keep the kernel's messages out of the middle of a program's lines.
func secondSerial(cmd *exec.Cmd, w io.Writer) (finish func() error, err error) {
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{pw} // descriptor 3
	cmd.Args = append(cmd.Args, "-chardev", "file,id=output,path=/dev/fd/3", "-serial", "chardev:output")
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, pr)
		copied <- err
	}()
	return func() error {
		pw.Close()
		defer pr.Close()
		return <-copied
	}, nil
}
