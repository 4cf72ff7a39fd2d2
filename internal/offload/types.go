// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A field is one of the kernel's struct sk_buff. Where it is there differs from kernel
// to kernel, and each knows its own (CONFIG_DEBUG_INFO_BTF). So the program comes with
// a struct sk_buff of its own, and the kernel puts the places in its own in the place
// of those (the kernel's Documentation/bpf/llvm_reloc.rst, "CO-RE Relocations"; Linux
// 5.17).
type field struct {
	name  string
	place int32 // in our own struct, in bytes
	size  byte
	bits  int32 // 0: it is whole
}

var (
	csumStart  = &field{name: "csum_start", place: 0, size: size16}
	csumOffset = &field{name: "csum_offset", place: 2, size: size16}
	macHeader  = &field{name: "mac_header", place: 4, size: size16}
	ipSummed   = &field{name: "ip_summed", place: 6, size: size8, bits: 2}

	fields = []*field{csumStart, csumOffset, macHeader, ipSummed}
)

const structSize = 8 // of our own, in bytes

// A relocation is what the kernel puts into an instruction (enum bpf_core_relo_kind).
type relocation uint32

const (
	place     relocation = 0 // BPF_CORE_FIELD_BYTE_OFFSET
	leftShift relocation = 4 // BPF_CORE_FIELD_LSHIFT_U64
)

// The numbers of our types, in the order in which types writes them.
const (
	typeInt = 1 + iota
	typeU16
	typeU8
	typeSkBuff
	typePrototype
	typeFunction
)

// The kinds of types, and what is said with them (Documentation/bpf/btf.rst).
const (
	kindInt       = 1 << 24
	kindStruct    = 4 << 24
	kindFunction  = 12 << 24
	kindPrototype = 13 << 24
	hasBits       = 1 << 31 // of a struct
	signed        = 1 << 24 // of an int
)

// A typeWriter writes types and the names in them.
type typeWriter struct {
	types, names []byte
}

// name gives the place of a name among the names.
func (w *typeWriter) name(s string) uint32 {
	at := uint32(len(w.names))
	w.names = append(append(w.names, s...), 0)
	return at
}

func (w *typeWriter) write(words ...uint32) {
	for _, n := range words {
		w.types = binary.NativeEndian.AppendUint32(w.types, n)
	}
}

// types gives the program's types as BPF_BTF_LOAD takes them, and for each field
// where among the names its way from the struct is, as in "0:1".
func types() (blob []byte, ways map[*field]uint32) {
	w := typeWriter{names: []byte{0}}
	w.write(w.name("int"), kindInt, 4, signed|32)
	w.write(w.name("u16"), kindInt, 2, 16)
	w.write(w.name("u8"), kindInt, 1, 8)
	w.write(w.name("sk_buff"), hasBits|kindStruct|uint32(len(fields)), structSize)
	for _, f := range fields {
		kind := uint32(typeU16)
		if f.size == unix.BPF_B {
			kind = typeU8
		}
		w.write(w.name(f.name), kind, uint32(f.bits<<24|8*f.place))
	}
	w.write(0, kindPrototype, typeInt)
	w.write(w.name("check"), kindFunction, typePrototype)
	ways = map[*field]uint32{}
	for i, f := range fields {
		ways[f] = w.name("0:" + string(rune('0'+i)))
	}
	const magic, version, headerSize = 0xeb9f, 1, 24
	blob = append(binary.NativeEndian.AppendUint16(nil, magic), version, 0)
	for _, n := range []int{headerSize, 0, len(w.types), len(w.types), len(w.names)} {
		blob = binary.NativeEndian.AppendUint32(blob, uint32(n))
	}
	return append(append(blob, w.types...), w.names...), ways
}

// relocationSize is the length of a struct bpf_core_relo.
const relocationSize = 16

// relocations are what the kernel is to change in a program.
func relocations(program []instruction, ways map[*field]uint32) []byte {
	var out []byte
	at := uint32(0)
	for _, i := range program {
		if i.field != nil {
			for _, n := range []uint32{8 * at, typeSkBuff, ways[i.field], uint32(i.relocation)} {
				out = binary.NativeEndian.AppendUint32(out, n)
			}
		}
		at++
		if i.second {
			at++
		}
	}
	return out
}
