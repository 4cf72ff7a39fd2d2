package kernel

import (
	"encoding/binary"

	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes that the packages used here have no name for
// (include/uapi/linux/netfilter/nf_tables.h, enum nft_table_attributes;
// libnftnl's include/libnftnl/udata.h).
const (
	nftaTableHandle   = 4
	nftaTableUserdata = 6
	nftaTableOwner    = 7
	udataTableComment = 0
)

// headerSize is the size of the struct nfgenmsg that header gives.
const headerSize = 4

// header is the struct nfgenmsg that begins every nfnetlink message
// (include/uapi/linux/netfilter/nfnetlink.h).
func header(family uint8, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}

// request is an nftables message about the family netdev.
func request(message int, flags netlink.HeaderFlags, attributes []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message),
			Flags: netlink.Request | flags,
		},
		Data: append(header(unix.NFPROTO_NETDEV, 0), attributes...),
	}
}

// attribute encodes one attribute of up to 64 KiB.
func attribute(kind uint16, value []byte) []byte {
	b, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: kind, Data: value}})
	if err != nil {
		panic(err) // only a longer value fails, and names and comments are bounded
	}
	return b
}

// appendAttribute appends one attribute of up to 64 KiB, and what aligns the next.
func appendAttribute[V string | []byte](b []byte, kind uint16, value V) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(value)&(unix.NLA_ALIGNTO-1))...)
}

func cString(s string) []byte { return append([]byte(s), 0) }

// tableComment is the attribute in which nft keeps a table's comment.
func tableComment(comment string) []byte {
	return attribute(nftaTableUserdata, userdata.AppendString(nil, udataTableComment, comment))
}

// deleteNamed is the message that deletes the table of that name.
func deleteNamed(name string) netlink.Message {
	return request(unix.NFT_MSG_DELTABLE, 0, attribute(unix.NFTA_TABLE_NAME, cString(name)))
}

// deleteHandle is the message that deletes the table of that handle.
func deleteHandle(handle uint64) netlink.Message {
	return request(unix.NFT_MSG_DELTABLE, 0, attribute(nftaTableHandle, binary.BigEndian.AppendUint64(nil, handle)))
}
