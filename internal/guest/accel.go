package guest

import (
	"bytes"
	"context"
	"os"
	"sync"
	"time"
)

// Accelerators that QEMU can run a guest with: the processor's own, and
// emulation in software, which works everywhere.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// probeTime is how long [Accel] gives a VM that should take less than a second.
const probeTime = 5 * time.Second

// Accel returns [KVM] when a VM really runs with it here, else [TCG]. That
// /dev/kvm opens is not enough: inside some virtual machines it does, and QEMU
// then stops with an error, or the guest hangs on its first instructions. So
// where it opens, Accel boots the kernel that [Kernel] returns, once a process;
// it takes a second, or up to five where the guest hangs.
func Accel() string { return accel() }

var accel = sync.OnceValue(func() string {
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG
	}
	kvm.Close()
	k, err := Kernel(context.Background())
	if err != nil {
		return TCG
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime) // decides nothing
	defer cancel()
	// A kernel without a root file system comes as far as to say so, and
	// panic=-1 then ends the VM.
	var console bytes.Buffer
	vm := VM{Kernel: k.Vmlinuz, Accel: KVM, Console: &console}
	if vm.Run(ctx) != nil || !bytes.Contains(console.Bytes(), []byte("Unable to mount root fs")) {
		return TCG
	}
	return KVM
})
