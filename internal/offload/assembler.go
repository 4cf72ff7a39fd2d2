// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A register of the BPF machine (the kernel's Documentation/bpf/standardization,
// "Registers and calling convention"): a call takes its arguments in r1 to r5 and
// gives its result in r0, and leaves nothing in any of these six.
type register byte

const (
	r0 register = iota
	r1
	r2
	r3
	r4
	r5
	ctx       // r6: the program's argument, a struct __sk_buff
	etherType // r7: the frame's bytes 12 and 13
	frame     // r8: the address of the frame
	end       // r9: that of the first byte that cannot be read directly
	stack     // r10: the end of the program's memory
)

// last is r0 where no function is called any more and nothing is answered yet.
const last = r0

// An instruction is one of the BPF machine's. to is the label that a jump goes to;
// label is where others go to.
type instruction struct {
	label    string
	code     byte
	dst, src register
	offset   int16
	value    int32
	to       string
	second   bool // another eight bytes belong to it

	// field and relocation have the kernel put what it knows of the field in the
	// place of the offset or the value (see types).
	field      *field
	relocation relocation
}

// Sizes of what is loaded and stored, in bytes 1, 2, 4.
const (
	size8  = unix.BPF_B
	size16 = unix.BPF_H
	size32 = unix.BPF_W
)

func load(size byte, dst, base register, offset int16) instruction {
	return instruction{code: unix.BPF_LDX | unix.BPF_MEM | size, dst: dst, src: base, offset: offset}
}

// loadField loads a field of a struct sk_buff whose address is in r1.
func loadField(dst register, f *field) instruction {
	i := load(f.size, dst, r1, int16(f.place))
	i.field, i.relocation = f, place
	return i
}

// shiftField shifts what is above a field of bits out of a register that was loaded
// with it.
func shiftField(dst register, f *field) instruction {
	i := calculate(unix.BPF_LSH, dst, 64-f.bits)
	i.field, i.relocation = f, leftShift
	return i
}

// increment adds a register to the eight bytes at another's address, whoever else
// does the same.
func increment(base, by register) instruction {
	return instruction{code: unix.BPF_STX | unix.BPF_ATOMIC | unix.BPF_DW, dst: base, src: by, value: unix.BPF_ADD}
}

func move(dst, src register) instruction {
	return instruction{code: unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X, dst: dst, src: src}
}

func set(dst register, value int32) instruction {
	return instruction{code: unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K, dst: dst, value: value}
}

// calculate is an operation with a constant, BPF_ADD for one.
func calculate(operation byte, dst register, value int32) instruction {
	return instruction{code: unix.BPF_ALU64 | operation | unix.BPF_K, dst: dst, value: value}
}

func subtract(dst, src register) instruction {
	return instruction{code: unix.BPF_ALU64 | unix.BPF_SUB | unix.BPF_X, dst: dst, src: src}
}

func add(dst, src register) instruction {
	return instruction{code: unix.BPF_ALU64 | unix.BPF_ADD | unix.BPF_X, dst: dst, src: src}
}

// mapValue is the address of the only value of an array (BPF_LD_IMM64).
func mapValue(dst register, fd int) instruction {
	return instruction{code: unix.BPF_LD | unix.BPF_IMM | unix.BPF_DW, dst: dst, src: unix.BPF_PSEUDO_MAP_VALUE, value: int32(fd), second: true}
}

func call(helper int32) instruction {
	return instruction{code: unix.BPF_JMP | unix.BPF_CALL, value: helper}
}

// callKernel calls a function of the kernel's own by its number among its types.
func callKernel(function int32) instruction {
	return instruction{code: unix.BPF_JMP | unix.BPF_CALL, src: unix.BPF_PSEUDO_KFUNC_CALL, value: function}
}

// store stores a constant of four bytes.
func store(base register, offset int16, value int32) instruction {
	return instruction{code: unix.BPF_ST | unix.BPF_MEM | unix.BPF_W, dst: base, offset: offset, value: value}
}

// jump goes to a label when the lower half of a register compares with a constant
// so, BPF_JEQ for one.
func jump(comparison byte, dst register, value int32, to string) instruction {
	return instruction{code: unix.BPF_JMP32 | comparison | unix.BPF_K, dst: dst, value: value, to: to}
}

// jumpIf is the same for two registers, whole ones.
func jumpIf(comparison byte, dst, src register, to string) instruction {
	return instruction{code: unix.BPF_JMP | comparison | unix.BPF_X, dst: dst, src: src, to: to}
}

func goTo(to string) instruction { return instruction{code: unix.BPF_JMP | unix.BPF_JA, to: to} }

func exit() instruction { return instruction{code: unix.BPF_JMP | unix.BPF_EXIT} }

// at gives an instruction a label.
func at(label string, i instruction) instruction {
	i.label = label
	return i
}

// assemble writes a program as the kernel reads it (struct bpf_insn).
func assemble(program []instruction) []byte {
	places := map[string]int{}
	length := 0
	for _, i := range program {
		if i.label != "" {
			places[i.label] = length
		}
		length++
		if i.second {
			length++
		}
	}
	var out []byte
	for _, i := range program {
		if i.to != "" {
			i.offset = int16(places[i.to] - len(out)/8 - 1)
		}
		out = append(out, i.code, i.registers())
		out = binary.NativeEndian.AppendUint16(out, uint16(i.offset))
		out = binary.NativeEndian.AppendUint32(out, uint32(i.value))
		if i.second {
			out = append(out, make([]byte, 8)...)
		}
	}
	return out
}

// registers are two bit fields of a byte, which compilers lay out in the order of
// the machine's bytes.
func (i instruction) registers() byte {
	if littleEndian {
		return byte(i.src)<<4 | byte(i.dst)
	}
	return byte(i.dst)<<4 | byte(i.src)
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// inNetworkOrder gives a number of two bytes as it is loaded from a frame.
func inNetworkOrder(n uint16) int32 {
	return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n)))
}
