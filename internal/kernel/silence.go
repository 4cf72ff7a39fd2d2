package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// silence has the host speak no IPv6 on the devices of interfaces. A macvtap device has a
// stack of the host's behind it, too, which takes the VM's own link-local address, probes
// for it, answers in its place until QEMU opens the device, and takes routers' prefixes and
// routes (Documentation/networking/ip-sysctl.rst, disable_ipv6). By that stack alone, though,
// the device is in the groups by which a guest is found: they stay. Nothing is done where the
// host has no IPv6 there, or this program no right to: what the host says is judged by the
// rules like the VM's own frames.
func silence(tables []ruleset.Table) {
	for _, t := range tables {
		for _, s := range t.Sets {
			if s.Name == ruleset.Anchor && len(s.Elements) > 0 {
				device, _ := ruleset.TableDevice(t.Name)
				silenceDevice(device, s.Elements[0].From[1])
			}
		}
	}
}

func silenceDevice(device string, mac []byte) {
	// Not by package os, which would watch the file for more.
	file, err := unix.Open("/proc/sys/net/ipv6/conf/"+device+"/disable_ipv6", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(file)
	now := make([]byte, 1)
	if _, err := unix.Read(file, now); err != nil || now[0] != '0' {
		return // and no lock need be waited for
	}
	if joinGroups(device, []byte{0x33, 0x33, 0, 0, 0, 1}, append([]byte{0x33, 0x33, 0xff}, mac[3:]...)) {
		_, _ = unix.Pwrite(file, []byte{'1'}, 0)
	}
}

// joinGroups has a device take frames for groups, whoever else has it do so: all nodes, and
// the solicited node of the addresses that a guest makes of its MAC address (RFC 2464, 7; RFC
// 4291, 2.7.1). It reports whether it does.
func joinGroups(device string, groups ...[]byte) bool {
	socket, err := deviceSocket()
	if err != nil {
		return false
	}
	defer unix.Close(socket)
	for _, group := range groups {
		// struct ifreq of netdevice(7), with a hardware address of no family.
		var request struct {
			name    [unix.IFNAMSIZ]byte
			family  uint16
			address [22]byte
		}
		copy(request.name[:unix.IFNAMSIZ-1], device)
		copy(request.address[:], group)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCADDMULTI, uintptr(unsafe.Pointer(&request)))
		if errno != 0 && errno != unix.EEXIST {
			return false
		}
	}
	return true
}
