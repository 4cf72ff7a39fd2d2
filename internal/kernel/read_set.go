package kernel

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// Names that the packages used here do not have
// (include/uapi/linux/netfilter/nf_tables.h, enum nft_set_flags,
// nft_set_elem_flags and nft_set_elem_attributes).
const (
	setConcatenation = 0x80
	elementCatchAll  = 2
	nftaSetElemEnd   = 10
	nftaSetHandle    = 16
)

// catchAll is what is unknown of a set that has the element *.
const catchAll = "the element *"

// A set is one that the kernel holds, named or anonymous.
type set struct {
	name     string
	flags    uint64
	keyType  uint64 // nft's own numbers of the types, six bits each
	keySize  int    // in bytes, of joined values with their padding
	size     int    // how many elements it may hold, 0 for any number
	typeof   []ruleset.Field
	handle   uint64
	counts   bool // its elements do
	elements []element
	unknown  []string
}

// An element is one key as the kernel holds it. A range of single values is two:
// its first value, and the one after its last, an end.
type element struct {
	key, last []byte
	end       bool
	count     Count
	left      time.Duration // until it expires, 0 for never
	comment   string
}

// sets are those of a table, by their names.
type sets map[string]*set

func parseSet(b []byte) set {
	var s set
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_SET_NAME:
			s.name = text(value)
		case unix.NFTA_SET_FLAGS:
			s.flags = number(value)
		case unix.NFTA_SET_KEY_TYPE:
			s.keyType = number(value)
		case unix.NFTA_SET_KEY_LEN:
			s.keySize = int(number(value))
		case nftaSetHandle:
			s.handle = number(value)
		case unix.NFTA_SET_USERDATA:
			s.typeof = typeofFields(value)
		case unix.NFTA_SET_DESC:
			s.size = int(number(nested(value, unix.NFTA_SET_DESC_SIZE)))
		case unix.NFTA_SET_TIMEOUT:
			s.unknown = append(s.unknown, "a timeout of all elements")
		}
	}
	known := uint64(unix.NFT_SET_INTERVAL | setConcatenation)
	if s.anonymous() {
		known |= unix.NFT_SET_ANONYMOUS | unix.NFT_SET_CONSTANT
	} else {
		known |= unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
	}
	if odd := s.flags &^ known; odd != 0 {
		s.unknown = append(s.unknown, fmt.Sprintf("flags %#x", odd))
	}
	return s
}

func (s *set) anonymous() bool { return s.flags&unix.NFT_SET_ANONYMOUS != 0 }
func (s *set) interval() bool  { return s.flags&unix.NFT_SET_INTERVAL != 0 }
func (s *set) dynamic() bool   { return s.flags&unix.NFT_SET_EVAL != 0 }
func (s *set) expires() bool   { return s.flags&unix.NFT_SET_TIMEOUT != 0 }

// add takes in an element's attributes.
func (s *set) add(b []byte) {
	var e element
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			e.key = bytes.Clone(nested(value, unix.NFTA_DATA_VALUE))
		case nftaSetElemEnd:
			e.last = bytes.Clone(nested(value, unix.NFTA_DATA_VALUE))
		case unix.NFTA_SET_ELEM_FLAGS:
			e.end = number(value)&unix.NFT_SET_ELEM_INTERVAL_END != 0
			if number(value)&elementCatchAll != 0 {
				s.unknown = append(s.unknown, catchAll)
			}
		case unix.NFTA_SET_ELEM_EXPR:
			switch name := text(nested(value, unix.NFTA_EXPR_NAME)); {
			case name == "counter" && s.dynamic():
				s.counts, e.count = true, counted(nested(value, unix.NFTA_EXPR_DATA))
			case name != "limit" || !s.dynamic(): // how much of a share is left is nobody's concern
				s.unknown = append(s.unknown, fmt.Sprintf("an element with an expression, %x", value))
			}
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.left = time.Duration(number(value)) * time.Millisecond
		case unix.NFTA_SET_ELEM_TIMEOUT: // what it was at first
		case unix.NFTA_SET_ELEM_USERDATA:
			e.comment = comment(value, byte(udataElementComment))
		case unix.NFTA_SET_ELEM_PAD:
		default:
			s.unknown = append(s.unknown, fmt.Sprintf("an element with attribute %d, %x", kind, value))
		}
	}
	if len(e.key) == s.keySize && s.keySize > 0 {
		s.elements = append(s.elements, e)
	}
}

// named gives a named set in the model.
func (s *set) named() ruleset.Set {
	out := ruleset.Set{Name: s.name, Interval: s.interval(), Expires: s.expires()}
	if s.dynamic() {
		out.Dynamic = cmp.Or(s.size, defaultDynamic)
	}
	var sizes []int
	for shift := 30 - setTypeBits; shift >= 0; shift -= setTypeBits {
		number := uint32(s.keyType>>shift) & (1<<setTypeBits - 1)
		if number == 0 {
			continue
		}
		t, size := typeOf(number)
		if place := len(out.Key); size == 0 && number == integer && place < len(s.typeof) {
			t, size = s.typeof[place].Type, int(s.typeof[place].Size)
			out.Typeof = s.typeof
		}
		if size == 0 {
			s.unknown = append(s.unknown, fmt.Sprintf("a key of nft's type %d", number))
			t, size = ruleset.TypeRaw, s.keySize
		}
		out.Key, sizes = append(out.Key, t), append(sizes, size)
	}
	if len(out.Key) == 1 {
		sizes[0] = s.keySize
	}
	total := 0
	for _, size := range sizes {
		total += padded(size)
	}
	if len(sizes) != 1 && total != s.keySize {
		s.unknown = append(s.unknown, fmt.Sprintf("a key of %d bytes", s.keySize))
		out.Key, sizes = []ruleset.Type{ruleset.TypeRaw}, []int{s.keySize}
	}
	out.Elements = s.split(sizes)
	out.Unknown = strings.Join(s.unknown, "; ")
	return out
}

// nft's include/datatype.h, TYPE_BITS and TYPE_INTEGER.
const (
	setTypeBits = 6
	integer     = 4
)

// typeOf gives the type of nft's number and its size in bytes, 0 for a type that
// the model lacks.
func typeOf(number uint32) (ruleset.Type, int) {
	for t, datatype := range setTypes {
		if datatype.GetNFTMagic() == number {
			return t, int(datatype.Bytes)
		}
	}
	return "", 0
}

// split gives the elements in order, each of values of those sizes.
func (s *set) split(sizes []int) []ruleset.Element {
	var out []ruleset.Element
	for _, e := range s.ranges() {
		parts := ruleset.Element{Left: e.left, Comment: e.comment}
		from, to := e.key, e.last
		for _, size := range sizes {
			parts.From, parts.To = append(parts.From, from[:size]), append(parts.To, to[:size])
			if len(sizes) > 1 {
				size = padded(size)
			}
			from, to = from[size:], to[size:]
		}
		out = append(out, parts)
	}
	return out
}

func padded(size int) int { return (size + 3) &^ 3 }

// ranges gives the elements in order, each with its first and its last key.
func (s *set) ranges() []element {
	slices.SortFunc(s.elements, func(a, b element) int {
		if order := bytes.Compare(a.key, b.key); order != 0 || a.end == b.end {
			return order
		}
		if a.end {
			return -1 // of two ranges beside each other
		}
		return 1
	})
	if !s.interval() || slices.ContainsFunc(s.elements, func(e element) bool { return e.last != nil }) {
		out := slices.Clone(s.elements)
		for i := range out {
			if len(out[i].last) != len(out[i].key) {
				out[i].last = out[i].key
			}
		}
		return out
	}
	var out []element
	open := false
	for _, e := range s.elements {
		if open {
			out[len(out)-1].last = predecessor(e.key)
		}
		// nft ends the range before the first one, too (src/segtree.c).
		if open = !e.end; open {
			out = append(out, element{key: e.key, last: bytes.Repeat([]byte{0xff}, len(e.key))})
		}
	}
	return out
}

// predecessor gives the value before v, of which there is one.
func predecessor(v []byte) []byte {
	before := bytes.Clone(v)
	for i := len(before) - 1; i >= 0; i-- {
		before[i]--
		if before[i] != 0xff {
			break
		}
	}
	return before
}
