// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

// Package offload keeps a VM from having the host change a frame behind the rules.
//
// With a frame a guest may hand the host a request (the virtio specification, 5.1.6,
// "struct virtio_net_hdr"): to store a checksum, 16 bits anywhere in the frame that
// the guest chooses, or to cut the frame up. The kernel, or the NIC, does so when
// the frame leaves the parent, and nftables has judged it long before: a sum over
// the destination address sends it to another host, and of a datagram that is cut into
// fragments of four bytes the second is whole again. nftables sees nothing of such
// requests. A program of traffic control does: on the way out the kernel runs
// these right behind nftables' egress hook (net/core/dev.c, __dev_queue_xmit).
//
// On the way in there is no such check. Only another VM on the same parent can have
// a sum stored behind a VM's ingress rules, and only where the receiving NIC does
// not take frames with sums to be done; what it could change so it can as well say
// at once, since the rules of that way judge the source that a frame claims.
package offload

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Attach has what leaves a device for the network judged by the check, if it is not
// yet, in the network namespace of the calling thread. It takes the place of the
// check of another version of this program without a gap. The check ends with the
// device, or by Detach. It needs CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON, and a kernel
// with sch_ingress and cls_bpf that knows its own types (Linux 5.17 with
// CONFIG_DEBUG_INFO_BTF).
func Attach(ifindex int) error {
	for range attempts {
		err := attachOnce(ifindex)
		if !errors.Is(err, unix.ESTALE) {
			return explained(err)
		}
		// Somebody else changed the device's programs since we looked.
	}
	return fmt.Errorf("the programs of device %d kept changing meanwhile", ifindex)
}

func attachOnce(ifindex int) error {
	if done, err := attachFirst(ifindex); done || err != nil {
		return err
	}
	standing, err := find(ifindex)
	if err != nil || standing.current() {
		return err
	}
	program, err := takeProgram()
	if err != nil {
		return err
	}
	return errors.Join(standing.replace(program), unix.Close(program))
}

// attachFirst attaches the check to a device that never had any, as that of a VM that
// starts, and is not done with others. It lists nothing.
func attachFirst(ifindex int) (done bool, err error) {
	s, err := findTCX(ifindex)
	if err != nil || s.id != 0 {
		return false, err
	}
	err = withNetlink(func(handle *netlink.Handle) error {
		err := handle.QdiscAdd(s.clsact())
		if errors.Is(err, unix.EEXIST) {
			return nil
		}
		if err != nil {
			return os.NewSyscallError("add the qdisc clsact", err)
		}
		done = true
		program, err := takeProgram()
		if err == nil {
			err = errors.Join(s.addFilter(handle, program, name()), unix.Close(program))
		}
		if err != nil {
			_ = handle.QdiscDel(s.clsact()) // as it was
		}
		return err
	})
	return done, err
}

// preloaded are programs that are loaded, or about to be.
var preloaded = make(chan func() (int, error), 16)

// Preload has the kernel load the program for so many devices while the caller does
// something else, and Attach take what is loaded: the kernel verifies each time. It is
// for a process that attaches soon and then ends, as what is left over stays loaded
// until then. An error is Attach's.
func Preload(devices int) {
	var loads []func() (int, error)
	for range min(devices, cap(preloaded)-len(preloaded)) {
		loads = append(loads, sync.OnceValues(newHeavyProgram))
	}
	for _, load := range loads {
		preloaded <- load
	}
	go func() {
		defer func() { _ = recover() }() // Attach meets it again
		for _, load := range loads {
			_, _ = load()
		}
	}()
}

func takeProgram() (int, error) {
	select {
	case load := <-preloaded:
		return load()
	default:
		return newHeavyProgram()
	}
}

// attempts bounds how often the device is looked at again.
const attempts = 100

func newHeavyProgram() (int, error) { return newProgram(copyFrame()) }

// newProgram has the kernel load the program with a counter of its own, and gives
// the program's descriptor.
func newProgram(asks []instruction) (int, error) {
	counter, err := newCounter()
	if err != nil {
		return -1, err
	}
	defer unix.Close(counter) // the program holds it
	return loadProgram(name(), instructions(counter, asks))
}

// Attached reports whether the check, in this very version, judges what leaves a
// device.
func Attached(ifindex int) (bool, error) {
	standing, err := find(ifindex)
	return standing.current(), err
}

// Detach takes the check off a device. It is no error when it is not there.
func Detach(ifindex int) error {
	// It may stand in both places, when MoveToTCX was interrupted.
	heavy, err := findClsact(ifindex)
	if err == nil && heavy.id != 0 {
		err = heavy.removeClsact()
	}
	if err != nil {
		return err
	}
	light, err := findTCX(ifindex)
	if err == nil && light.id != 0 {
		err = light.removeTCX()
	}
	return err
}

// Drops gives how many frames of a device the check has dropped; 0 where there is
// none.
func Drops(ifindex int) (uint64, error) {
	standing, err := find(ifindex)
	if err != nil || standing.id == 0 {
		return 0, err
	}
	return countOf(standing.id)
}

// A standing is what a device has of this package's programs; id is the kernel's
// number of one, 0 for none.
type standing struct {
	ifindex int
	id      uint32
	name    string

	tcx      bool   // it is one of the kernel's newer kind
	first    bool   // no other of these is asked before it
	revision uint64 // of the device's programs of that kind, then
	count    uint32 // of them
}

func (s standing) current() bool { return s.id != 0 && s.name == name() }

// find looks in both places where the check can be.
func find(ifindex int) (standing, error) {
	s, err := findClsact(ifindex)
	if err == nil && s.id == 0 {
		s, err = findTCX(ifindex)
	}
	return s, err
}

// replace puts a program in the place of the one that stands. Where none does, it
// becomes a filter of a qdisc: to attach it in the newer way the kernel has the
// caller wait until no processor runs what was there before, for longer than all
// the rest of a VM's start takes (kernel/bpf/tcx.c, tcx_entry_sync). That way is for
// devices with another qdisc in the place.
func (s standing) replace(program int) error {
	if s.id != 0 && s.tcx {
		return s.replaceTCX(program)
	}
	err := s.replaceClsact(program, name())
	if errors.Is(err, errIngress) && s.tcx {
		return s.replaceTCX(program)
	}
	return err
}

// explained adds what an administrator can do about the kernel's commonest refusals.
func explained(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: this needs root (CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)", err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: the kernel lacks BPF (CONFIG_BPF_SYSCALL)", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.E2BIG), errors.Is(err, unix.ESRCH):
		return fmt.Errorf("%w: the kernel lacks BPF programs in traffic control that know its types, or forbids them (Linux 5.17; CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF, CONFIG_DEBUG_INFO_BTF; CAP_PERFMON; not lockdown=confidentiality)", err)
	}
	return err
}
