package kernel

import (
	"bytes"
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// attributes gives the netlink attributes in a message's or a nest's bytes by their
// kind, without flags, up to the first that is cut off. Unlike the library's
// decoder it makes nothing: a host's tables have millions.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofNlAttr || size > len(b) {
				return
			}
			const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
			if !yield(binary.NativeEndian.Uint16(b[2:])&^flags, b[unix.SizeofNlAttr:size]) {
				return
			}
			b = b[min(len(b), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
		}
	}
}

// number reads an nftables number, which is in network byte order; 0 of another
// size than one, two, four or eight bytes.
func number(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// nested gives the value of the one attribute of that kind in a nest, nil where it
// has none.
func nested(b []byte, kind uint16) []byte {
	for k, value := range attributes(b) {
		if k == kind {
			return value
		}
	}
	return nil
}

// comment reads the string of that kind in user data as nft keeps them: a byte of
// kind, one of length, and the value (libnftnl's src/udata.c). What others keep
// there may be anything.
func comment(b []byte, kind byte) string {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		if b[0] == kind {
			return text(b[2 : 2+int(b[1])])
		}
		b = b[2+int(b[1]):]
	}
	return ""
}

// text reads a string, which ends with a NUL or with the attribute.
func text(b []byte) string {
	before, _, _ := bytes.Cut(b, []byte{0})
	return string(before)
}
