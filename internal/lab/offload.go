package lab

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SetOffload says who computes the checksums, and cuts up the segments, that a VM
// leaves to others. On: the far end of the cable, if anybody, as between veth
// devices, which is the beginning. Off: the hypervisor's kernel, so that frames are
// on the wire as a NIC puts them there.
func (n *Network) SetOffload(on bool) error {
	err := n.Hypervisor.Do(func() error { return setTransmitChecksums(n.Parent, on) })
	if err != nil {
		return fmt.Errorf("checksum offload of %s: %w", n.Parent, err)
	}
	return nil
}

// setTransmitChecksums is "ethtool -K DEVICE tx on|off" (include/uapi/linux/ethtool.h).
// Without checksums a device does no segmentation either.
func setTransmitChecksums(device string, on bool) error {
	value := struct{ command, data uint32 }{command: unix.ETHTOOL_STXCSUM}
	if on {
		value.data = 1
	}
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	request.data = unsafe.Pointer(&value)
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
