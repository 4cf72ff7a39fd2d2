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
// field they are of (nft's src/payload.c, payload_expr_build_udata, and
// include/expression.h; libnftnl's include/libnftnl/udata.h).
const (
	udataTypeofExpr = 0
	udataTypeofData = 1
	exprPayload     = 7
	bigEndianKeys   = 2
)

var payloadUdataBases = map[ruleset.Base]uint32{ruleset.LinkHeader: 1, ruleset.NetworkHeader: 2, ruleset.TransportHeader: 3}

// typeofRaw is the user data of a set of raw fields, without which nft lists its
// elements as decimal numbers.
func typeofRaw(f ruleset.Field) []byte {
	var payload []byte
	for key, value := range []uint32{0, 0, payloadUdataBases[f.Base], f.Offset * 8, f.Size * 8} {
		payload = userdata.AppendUint32(payload, userdata.Type(key), value)
	}
	typeof := userdata.AppendUint32(nil, udataTypeofExpr, exprPayload)
	typeof = userdata.Append(typeof, udataTypeofData, payload)
	out := userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, bigEndianKeys)
	return userdata.Append(out, userdata.NFTNL_UDATA_SET_KEY_TYPEOF, typeof)
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
