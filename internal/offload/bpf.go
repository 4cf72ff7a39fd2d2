// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpf is the system call bpf(2). The attributes are the beginning of one of the
// structures of the kernel's union bpf_attr; what they point to, by [pointer], must stay
// alive meanwhile.
func bpf[A any](command int, attributes *A) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(unsafe.Pointer(attributes)), unsafe.Sizeof(*attributes))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN, unix.EINTR: // a signal interrupted the verifier
		default:
			return -1, errno
		}
	}
}

// pointer is a pointer as bpf(2) takes it: a number, which nobody corrects when a stack
// grows and so moves. So what it points to is put on the heap, where nothing moves.
func pointer[T any](p *T) uint64 {
	if onHeap.never {
		onHeap.pointer = p
	}
	return uint64(uintptr(unsafe.Pointer(p)))
}

// onHeap may hold any pointer, for all that the compiler knows.
var onHeap struct {
	never   bool
	pointer any
}

// An objectName is how programs and maps are called: by at most 15 letters, digits,
// '_' and '.' (BPF_OBJ_NAME_LEN).
type objectName [16]byte

func named(s string) objectName {
	var n objectName
	copy(n[:len(n)-1], s)
	return n
}

// newCounter makes an array of one number, 0, and gives its descriptor.
func newCounter() (int, error) {
	attributes := struct {
		kind, keySize, valueSize, entries, flags, inner, node uint32
		name                                                  objectName
	}{kind: unix.BPF_MAP_TYPE_ARRAY, keySize: 4, valueSize: 8, entries: 1, name: named(counterName)}
	fd, err := bpf(unix.BPF_MAP_CREATE, &attributes)
	return fd, os.NewSyscallError("bpf map create", err)
}

// lookup gives the number in an array of one.
func lookup(array int) (uint64, error) {
	var key uint32
	var value uint64
	attributes := struct {
		array, _          uint32
		key, value, flags uint64
	}{array: uint32(array), key: pointer(&key), value: pointer(&value)}
	_, err := bpf(unix.BPF_MAP_LOOKUP_ELEM, &attributes)
	runtime.KeepAlive(&key)
	runtime.KeepAlive(&value)
	return value, os.NewSyscallError("bpf map lookup", err)
}

// license is one of the two that this package's files are under, as the kernel words it ("GPL" is
// GPL-2.0 to it, Documentation/process/license-rules.rst): it lets no program read its memory whose
// licence is not compatible with its own.
const license = "GPL"

// loading are bpf(2)'s attributes to load a program.
type loading struct {
	kind, count       uint32
	code, license     uint64
	_, _              uint32 // log
	_                 uint64
	_, flags          uint32
	name              objectName
	_, _              uint32 // device
	btf, functionSize uint32
	functions         uint64
	functionCount, _  uint32
	_                 uint64 // lines
	_, _, _           uint32
	relocationCount   uint32
	_, relocations    uint64
	relocationSize, _ uint32
}

// load has the kernel verify and translate a program, and gives its descriptor.
func (l *loading) load(name string, program []instruction) (int, error) {
	code, permission := assemble(program), append([]byte(license), 0)
	l.name, l.code, l.count, l.license = named(name), pointer(&code[0]), uint32(len(code)/8), pointer(&permission[0])
	fd, err := bpf(unix.BPF_PROG_LOAD, l)
	runtime.KeepAlive(code)
	runtime.KeepAlive(permission)
	return fd, os.NewSyscallError("bpf program load", err)
}

// loadProgram loads a program for traffic control.
func loadProgram(name string, program []instruction) (int, error) {
	blob, ways := types()
	btf, err := loadTypes(blob)
	if err != nil {
		return -1, err
	}
	defer unix.Close(btf)
	relocate := relocations(program, ways)
	function := struct{ instruction, kind uint32 }{0, typeFunction}
	l := loading{
		kind: unix.BPF_PROG_TYPE_SCHED_CLS,
		btf:  uint32(btf), functionSize: uint32(unsafe.Sizeof(function)), functions: pointer(&function), functionCount: 1,
	}
	if len(relocate) > 0 {
		l.relocations, l.relocationSize = pointer(&relocate[0]), relocationSize
		l.relocationCount = uint32(len(relocate) / relocationSize)
	}
	fd, err := l.load(name, program)
	runtime.KeepAlive(relocate)
	runtime.KeepAlive(&function)
	return fd, err
}

func loadTypes(blob []byte) (int, error) {
	attributes := struct {
		types, log              uint64
		size, logSize, logLevel uint32
		_                       uint32
	}{types: pointer(&blob[0]), size: uint32(len(blob))}
	fd, err := bpf(unix.BPF_BTF_LOAD, &attributes)
	runtime.KeepAlive(blob)
	return fd, os.NewSyscallError("bpf types load", err)
}

// ask runs a program once, for nothing but its answer.
func ask(name string, program []instruction) (int32, error) {
	l := loading{kind: unix.BPF_PROG_TYPE_SYSCALL, flags: unix.BPF_F_SLEEPABLE}
	fd, err := l.load(name, program)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	attributes := struct {
		program         uint32
		answer          int32
		sizeIn, sizeOut uint32
		in, out         uint64
		repeat, took    uint32
	}{program: uint32(fd)}
	_, err = bpf(unix.BPF_PROG_TEST_RUN, &attributes)
	return attributes.answer, os.NewSyscallError("bpf program run", err)
}

// openProgram and openMap give a descriptor of what has the kernel's number.
func openProgram(id uint32) (int, error) { return open(unix.BPF_PROG_GET_FD_BY_ID, id) }

func openMap(id uint32) (int, error) { return open(unix.BPF_MAP_GET_FD_BY_ID, id) }

func open(command int, id uint32) (int, error) {
	attributes := struct{ id, next, flags uint32 }{id: id}
	fd, err := bpf(command, &attributes)
	return fd, os.NewSyscallError("bpf open", err)
}

// A description is what the kernel says of a program.
type description struct {
	name    string
	counter uint32 // the number of its only map, 0 for none
}

func describe(program int) (description, error) {
	var counter uint32
	// The beginning of struct bpf_prog_info.
	info := struct {
		kind, id                    uint32
		tag                         [8]byte
		jitedSize, translatedSize   uint32
		jited, translated, loadedAt uint64
		owner, mapCount             uint32
		maps                        uint64
		name                        objectName
	}{mapCount: 1, maps: pointer(&counter)}
	attributes := struct {
		program, size uint32
		info          uint64
	}{program: uint32(program), size: uint32(unsafe.Sizeof(info)), info: pointer(&info)}
	_, err := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, &attributes)
	runtime.KeepAlive(&counter)
	runtime.KeepAlive(&info)
	if err != nil {
		return description{}, os.NewSyscallError("bpf program info", err)
	}
	called, _, _ := bytes.Cut(info.name[:], []byte{0})
	return description{name: string(called), counter: counter}, nil
}

// countOf gives what the program with the kernel's number has counted.
func countOf(id uint32) (uint64, error) {
	program, err := openProgram(id)
	if err != nil {
		return 0, err
	}
	defer unix.Close(program)
	d, err := describe(program)
	if err != nil || d.counter == 0 {
		return 0, err
	}
	counter, err := openMap(d.counter)
	if err != nil {
		return 0, err
	}
	defer unix.Close(counter)
	return lookup(counter)
}

// programName gives the name of the program with the kernel's number.
func programName(id uint32) (string, error) {
	program, err := openProgram(id)
	if err != nil {
		return "", err
	}
	d, err := describe(program)
	return d.name, errors.Join(err, unix.Close(program))
}
