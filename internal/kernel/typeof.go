package kernel

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// What nft keeps with a set whose keys have no datatype, to write them as the
// fields that they are of (nft's src/payload.c, payload_expr_build_udata, src/meta.c,
// meta_expr_build_udata, src/expression.c, concat_expr_build_udata, and
// include/expression.h; libnftnl's include/libnftnl/udata.h).
const (
	udataTypeofExpr = 0
	udataTypeofData = 1
	exprPayload     = 7
	exprMeta        = 9
	exprConcat      = 13
	bigEndianKeys   = 2

	udataMetaKey = 0
)

var payloadUdataBases = map[ruleset.Base]uint32{ruleset.LinkHeader: 1, ruleset.NetworkHeader: 2, ruleset.TransportHeader: 3}

// typeofRaw is the user data of a set of a raw field, without which nft lists its
// elements as decimal numbers.
func typeofRaw(f ruleset.Field) []byte {
	out := userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, bigEndianKeys)
	return userdata.Append(out, userdata.NFTNL_UDATA_SET_KEY_TYPEOF, typeofField(f))
}

// typeofJoined is the user data of a set of several fields.
func typeofJoined(fields []ruleset.Field) []byte {
	var each []byte
	for i, f := range fields {
		each = userdata.Append(each, userdata.Type(i), typeofField(f))
	}
	typeof := userdata.AppendUint32(nil, udataTypeofExpr, exprConcat)
	typeof = userdata.Append(typeof, udataTypeofData, each)
	out := userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, 0)
	return userdata.Append(out, userdata.NFTNL_UDATA_SET_KEY_TYPEOF, typeof)
}

func typeofField(f ruleset.Field) []byte {
	kind, numbers := uint32(exprPayload), []uint32{0, 0, payloadUdataBases[f.Base], f.Offset * 8, f.Size * 8}
	if f.Base == ruleset.Meta {
		kind, numbers = exprMeta, []uint32{uint32(metaKeys[f.Name])}
	}
	var data []byte
	for key, value := range numbers {
		data = userdata.AppendUint32(data, userdata.Type(key), value)
	}
	typeof := userdata.AppendUint32(nil, udataTypeofExpr, kind)
	return userdata.Append(typeof, udataTypeofData, data)
}

// typeofFields reads what typeofJoined wrote, or nft: nil where it is of no such set, or of
// fields that the model lacks.
func typeofFields(b []byte) []ruleset.Field {
	typeof := udata(b)[byte(userdata.NFTNL_UDATA_SET_KEY_TYPEOF)]
	parts := udata(typeof)
	if host(parts[udataTypeofExpr]) != exprConcat {
		return nil
	}
	each := udata(parts[udataTypeofData])
	var fields []ruleset.Field
	for i := range len(each) {
		f, ok := typeofOne(each[byte(i)])
		if !ok {
			return nil
		}
		fields = append(fields, f)
	}
	return fields
}

func typeofOne(b []byte) (ruleset.Field, bool) {
	parts := udata(b)
	data := udata(parts[udataTypeofData])
	switch host(parts[udataTypeofExpr]) {
	case exprMeta:
		f, ok := metaFields[host(data[udataMetaKey])]
		return f, ok
	case exprPayload:
		for base, number := range payloadUdataBases {
			if host(data[0]) == 0 && host(data[2]) == number {
				return ruleset.Raw(base, host(data[3])/8, host(data[4])/8), true
			}
		}
	}
	return ruleset.Field{}, false
}

// udata gives the values in user data by their kinds.
func udata(b []byte) map[byte][]byte {
	out := map[byte][]byte{}
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		out[b[0]] = b[2 : 2+int(b[1])]
		b = b[2+int(b[1]):]
	}
	return out
}

// host reads a number in user data, which is in the machine's byte order.
func host(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// setTypeofs gives sets the user data that the library has no way to say, by
// their identifiers.
func setTypeofs(messages []netlink.Message, typeofs map[uint32][]byte) error {
	if len(typeofs) == 0 {
		return nil
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSET) {
			continue
		}
		attributes, err := netlink.UnmarshalAttributes(m.Data[headerSize:])
		if err != nil {
			return fmt.Errorf("a set's message: %w", err)
		}
		var id uint32
		for _, a := range attributes {
			if a.Type == unix.NFTA_SET_ID {
				id = binary.BigEndian.Uint32(a.Data)
			}
		}
		for j := range attributes {
			if typeof := typeofs[id]; typeof != nil && attributes[j].Type == unix.NFTA_SET_USERDATA {
				attributes[j] = netlink.Attribute{Type: unix.NFTA_SET_USERDATA, Data: typeof}
			}
		}
		data, err := netlink.MarshalAttributes(attributes)
		if err != nil {
			return fmt.Errorf("a set's message: %w", err)
		}
		m.Data = append(m.Data[:headerSize:headerSize], data...)
	}
	return nil
}
