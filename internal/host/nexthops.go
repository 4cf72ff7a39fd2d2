package host

import (
	"encoding/binary"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/facts"
)

// Routes may name a nexthop object (ip-nexthop(8)). The kernel then says the object's
// device and router with the route, unless the sysctl net.ipv4.nexthop_compat_mode is
// 0, as routing daemons set it: then the objects must be read, which the library cannot.

// Attributes of RTM_NEWROUTE (linux/rtnetlink.h) and RTM_NEWNEXTHOP (linux/nexthop.h).
const (
	rtaNextHopID = 30

	nhaID      = 1
	nhaGroup   = 2
	nhaOIF     = 5
	nhaGateway = 6

	sizeofNhMsg    = 8 // struct nhmsg
	sizeofNhMember = 8 // struct nexthop_grp
)

// addNexthopRoutes adds what routes say whose nexthop is an object.
func addNexthopRoutes(f *facts.Facts, index, family int) error {
	objects, err := nexthops()
	if err != nil {
		return err
	}
	only := &nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family), Type: unix.RTN_UNICAST}}
	routes, err := dump(unix.RTM_GETROUTE, only)
	if err != nil {
		return err
	}
	for _, m := range routes {
		if len(m) < unix.SizeofRtMsg {
			continue
		}
		route := nl.DeserializeRtMsg(m)
		attributes, err := attributesOf(m[unix.SizeofRtMsg:])
		if err != nil {
			return err
		}
		id, ok := number(attributes[rtaNextHopID])
		if !ok || int(route.Family) != family {
			continue
		}
		var to *net.IPNet
		if dst := attributes[unix.RTA_DST]; dst != nil {
			to = &net.IPNet{IP: dst, Mask: net.CIDRMask(int(route.Dst_len), 8*len(dst))}
		}
		addRoute(f, index, int(route.Type), to, objects[id])
	}
	return nil
}

// nexthops gives the hops of each nexthop object, a group's those of its members, by
// the object's number.
func nexthops() (map[uint32][]hop, error) {
	messages, err := dump(unix.RTM_GETNEXTHOP, make(nhMsg, sizeofNhMsg))
	if err != nil {
		return nil, err
	}
	hops := map[uint32][]hop{}
	groups := map[uint32][]byte{}
	for _, m := range messages {
		if len(m) < sizeofNhMsg {
			continue
		}
		attributes, err := attributesOf(m[sizeofNhMsg:])
		if err != nil {
			return nil, err
		}
		id, _ := number(attributes[nhaID])
		if device, ok := number(attributes[nhaOIF]); ok {
			hops[id] = []hop{{int(device), attributes[nhaGateway]}}
		}
		groups[id] = attributes[nhaGroup]
	}
	for id, members := range groups { // which are no groups themselves
		for ; len(members) >= sizeofNhMember; members = members[sizeofNhMember:] {
			hops[id] = append(hops[id], hops[binary.NativeEndian.Uint32(members)]...)
		}
	}
	return hops, nil
}

// nhMsg is the header of requests about nexthop objects, all zero: those of every kind.
type nhMsg []byte

// Len is the length of the message in bytes.
func (m nhMsg) Len() int { return len(m) }

// Serialize gives the message as it is sent.
func (m nhMsg) Serialize() []byte { return m }

// dump lists what the library has no call for, on a socket of its own.
func dump(kind int, header nl.NetlinkRequestData) ([][]byte, error) {
	return again(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
		request.AddData(header)
		return request.Execute(unix.NETLINK_ROUTE, 0)
	})
}

func attributesOf(data []byte) (map[uint16][]byte, error) {
	all, err := nl.ParseRouteAttr(data)
	out := make(map[uint16][]byte, len(all))
	for _, a := range all {
		out[a.Attr.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)] = a.Value
	}
	return out, err
}

func number(b []byte) (uint32, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(b), true
}
