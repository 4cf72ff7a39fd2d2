// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"errors"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Linux 6.6 runs programs on a device's way out without a qdisc, too, in an order,
// before those in qdiscs, and keeps them as long as the device (kernel/bpf/tcx.c).

// mostPrograms is how many of them a device can have (BPF_MPROG_MAX).
const mostPrograms = 64

// findTCX finds nothing, and leaves tcx false, where the kernel does not know of such
// programs.
func findTCX(ifindex int) (standing, error) {
	s := standing{ifindex: ifindex}
	var ids, links [mostPrograms]uint32
	attributes := struct {
		target, kind, queryFlags, attachFlags uint32
		ids                                   uint64
		count, _                              uint32
		flags, links, linkFlags               uint64
		revision                              uint64
	}{target: uint32(ifindex), kind: unix.BPF_TCX_EGRESS, ids: pointer(&ids), links: pointer(&links), count: mostPrograms}
	_, err := bpf(unix.BPF_PROG_QUERY, &attributes)
	runtime.KeepAlive(&ids)
	runtime.KeepAlive(&links)
	if errors.Is(err, unix.EINVAL) {
		return s, nil
	}
	s.tcx = true
	if errors.Is(err, unix.ENOENT) { // no program yet, in the first kernels
		return s, nil
	}
	if err != nil {
		return s, os.NewSyscallError("bpf program query", err)
	}
	s.revision, s.count = attributes.revision, attributes.count
	for i, id := range ids[:min(attributes.count, mostPrograms)] {
		if links[i] != 0 {
			continue // attached by a link, as agents do and this package does not
		}
		called, err := programName(id)
		if errors.Is(err, unix.ENOENT) {
			continue // it is gone by now
		}
		if errors.Is(err, unix.EPERM) {
			// Only CAP_SYS_ADMIN may look at a program. Who has less, as the
			// service watch, takes it for ours: hardly anybody else has one on a
			// VM's device, and without a link.
			called, err = name(), nil
		}
		if err != nil {
			return s, err
		}
		if strings.HasPrefix(called, prefix) {
			s.id, s.name, s.first = id, called, i == 0
			break
		}
	}
	return s, nil
}

// replaceTCX puts the program before all others, which could let a frame pass that
// it has not seen, or in the place of the one that stands.
func (s standing) replaceTCX(program int) error {
	attributes := attachment{
		target: uint32(s.ifindex), program: uint32(program), kind: unix.BPF_TCX_EGRESS,
		flags: unix.BPF_F_BEFORE, revision: s.revision,
	}
	if s.id != 0 {
		old, err := openProgram(s.id)
		if err != nil {
			return err
		}
		defer unix.Close(old)
		attributes.flags, attributes.instead = unix.BPF_F_REPLACE, uint32(old)
	}
	_, err := bpf(unix.BPF_PROG_ATTACH, &attributes)
	return os.NewSyscallError("bpf program attach", err)
}

func (s standing) removeTCX() error {
	attributes := attachment{target: uint32(s.ifindex), kind: unix.BPF_TCX_EGRESS}
	program, err := openProgram(s.id)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EPERM) && s.first:
		// It cannot be named, see findTCX, but by its place.
		attributes.flags, attributes.revision = unix.BPF_F_BEFORE, s.revision
	case err != nil:
		return err
	default:
		defer unix.Close(program)
		attributes.program = uint32(program)
	}
	_, err = bpf(unix.BPF_PROG_DETACH, &attributes)
	if errors.Is(err, unix.ENOENT) {
		return nil // somebody else was faster
	}
	return os.NewSyscallError("bpf program detach", err)
}

// attachment are bpf(2)'s attributes to attach and detach.
type attachment struct {
	target, program, kind, flags, instead, _ uint32
	revision                                 uint64
}
