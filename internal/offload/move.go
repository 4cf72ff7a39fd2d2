// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"encoding/binary"
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// MoveToTCX moves the check of a device out of its qdisc clsact to where it costs a frame
// little more than a quarter of the time (Linux 6.6; see tcx.go), and reports whether it
// did. Both stand for a moment, and each frame passes at least one. What the check
// counted before is lost, and the device has room for the qdisc ingress from then on.
//
// The kernel takes some 10 ms for it, during which nobody else can change a network
// device of the host: it is for when nothing else is to be done, and for one device
// at a time. There is nothing to do where this very version does not stand in a
// qdisc, or where the device has programs of the newer kind already: who may not look
// at them cannot tell whether they are the check.
func MoveToTCX(ifindex int) (bool, error) {
	heavy, err := findClsact(ifindex)
	if err != nil || !heavy.current() {
		return false, err
	}
	light, err := findTCX(ifindex)
	if err != nil || !light.tcx || light.count > 0 {
		return false, err
	}
	program, err := newLightProgram()
	if err != nil {
		return false, explained(err)
	}
	err = errors.Join(light.replaceTCX(program), unix.Close(program))
	if errors.Is(err, unix.ESTALE) {
		return false, nil // somebody else has changed the device's programs since
	}
	if err != nil {
		return false, explained(err)
	}
	return true, heavy.removeClsact()
}

// newLightProgram is newProgram for a program that need not copy what it reads, where
// the kernel can.
func newLightProgram() (int, error) {
	if number, err := cast(); err == nil {
		if program, err := newProgram(castFrame(number)); err == nil {
			return program, nil
		}
	}
	return newProgram(copyFrame())
}

// cast gives the number of the kernel's function bpf_cast_to_kern_ctx. The kernel takes
// 0.2 ms or more to find it, which is much for a hook.
var cast = sync.OnceValues(func() (int32, error) { return functionNumber("bpf_cast_to_kern_ctx") })

// functionNumber looks for a function among the kernel's own types, by a program that
// asks the kernel (include/uapi/linux/bpf.h, bpf_btf_find_by_name_kind).
func functionNumber(function string) (int32, error) {
	const findByName, kind = 167, kindFunction >> 24
	text := append([]byte(function), 0)
	size := int32(len(text))
	text = append(text, make([]byte, 4)...)
	room := size&^3 + 4
	var finder []instruction
	for at := int32(0); at < room; at += 4 {
		finder = append(finder, store(stack, int16(at-room), int32(binary.NativeEndian.Uint32(text[at:]))))
	}
	finder = append(finder, move(r1, stack), calculate(unix.BPF_ADD, r1, -room), set(r2, size), set(r3, kind), set(r4, 0), call(findByName), exit())
	number, err := ask(prefix+"find", finder)
	if err == nil && number <= 0 {
		err = unix.Errno(-number)
	}
	return number, err
}
