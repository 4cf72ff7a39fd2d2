package ruleset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strconv"

	"go4.org/netipx"
)

// etherTypeNames and protoNames are the symbols that nft 1.0 reads for these
// types; other values are written as numbers.
var (
	etherTypeNames = map[uint16]string{
		EtherTypeIPv4: "ip", EtherTypeARP: "arp", EtherTypeIPv6: "ip6",
		EtherTypeVLAN: "8021q", EtherTypeQinQ: "8021ad",
	}
)

// names are devices by their index (Table.Interfaces).
type names map[uint32]string

// value writes a value of a type as nft does.
func (t Type) value(b []byte, n names) string {
	switch t {
	case TypeIPv4, TypeIPv6:
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case TypeEtherAddr:
		return net.HardwareAddr(b).String()
	case TypeEtherType:
		v := binary.BigEndian.Uint16(b)
		if name, ok := etherTypeNames[v]; ok {
			return name
		}
		return fmt.Sprintf("0x%04x", v)
	case TypeMark:
		return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(b))
	case TypeInterface:
		index := binary.NativeEndian.Uint32(b)
		if name, ok := n[index]; ok {
			return strconv.Quote(name)
		}
		return strconv.FormatUint(uint64(index), 10)
	case TypeKind:
		return strconv.Quote(string(bytes.TrimRight(b, "\x00")))
	case TypeRaw:
		return fmt.Sprintf("0x%x", b)
	}
	return new(big.Int).SetBytes(b).String()
}

// prefix gives the prefix that the i-th value's range is, which nft writes shorter
// than the range; a single address is none.
func (e Element) prefix(i int, t Type) (netip.Prefix, bool) {
	if t != TypeIPv4 && t != TypeIPv6 || bytes.Equal(e.From[i], e.To[i]) {
		return netip.Prefix{}, false
	}
	from, _ := netip.AddrFromSlice(e.From[i])
	to, _ := netip.AddrFromSlice(e.To[i])
	return netipx.IPRangeFrom(from, to).Prefix()
}

// jsonValue is value as nft's JSON has it: numbers where nft writes digits, and
// they fit into the 63 bits that its JSON library has for them.
func (t Type) jsonValue(b []byte, n names) any {
	s := t.value(b, n)
	if text, err := strconv.Unquote(s); err == nil {
		return text
	}
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return n
	}
	return s
}
