package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"go4.org/netipx"
	"golang.org/x/sys/unix"
)

// An Event says what changed in the host's network. It says where to look, not what
// is there now: that is asked anew, so that an event that comes late does no harm.
type Event struct {
	Index int  // the device that came, changed or went; 0 for none
	Facts bool // addresses or routes that facts may be read from
	Lost  bool // the kernel could not tell everything: anything may have changed

	// Neighbour is an address whose neighbour entry changed; the zero Addr for none.
	// Router says that it is an IPv6 router's link-local one.
	Neighbour netip.Addr
	Router    bool
}

// eventBuffer is the room for events that nobody has read yet, in bytes: some
// thousand devices that come at once.
const eventBuffer = 4 << 20

// Subscribe calls tell with every event of the caller's network namespace, from
// another goroutine, until ctx ends. Events that come after its return are all
// told, or that some were lost. ended is closed when no more will come.
func Subscribe(ctx context.Context, tell func(Event)) (ended <-chan struct{}, err error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_NEXTHOP,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("listen to network events: %w", err)
	}
	if err := socket.SetReceiveBufferSize(eventBuffer, true); err != nil {
		_ = socket.SetReceiveBufferSize(eventBuffer, false) // less room, more is lost and told so
	}
	context.AfterFunc(ctx, socket.Close)
	done := make(chan struct{})
	go func() {
		defer close(done)
		lost := false
		for {
			// Once it lost something, the kernel delivers nothing more and
			// says nothing more until all is read that it had kept
			// (net/netlink/af_netlink.c, NETLINK_S_CONGESTED). So what was
			// lost is everything until then.
			if lost && !readable(socket.GetFd()) {
				lost = false
				tell(Event{Lost: true})
			}
			messages, from, err := socket.Receive()
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, unix.ENOBUFS):
				lost = true
				continue
			case errors.Is(err, unix.EINTR):
				continue
			case err != nil:
				return
			case from.Pid != nl.PidKernel:
				continue // anybody may send to a netlink socket
			}
			for _, m := range messages {
				if e, ok := eventOf(m); ok {
					tell(e)
				}
			}
		}
	}()
	return done, nil
}

// readable reports whether a socket has something to read.
func readable(fd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// eventOf reads a message of rtnetlink(7). ok is false for what no rule depends on.
func eventOf(m syscall.NetlinkMessage) (e Event, ok bool) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.Data) < unix.SizeofIfInfomsg {
			return e, false
		}
		return Event{Index: int(nl.DeserializeIfInfomsg(m.Data).Index)}, true
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return Event{Facts: true}, true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return Event{Facts: true}, isOwnRoute(m.Data)
	case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		return Event{Facts: true}, true
	case unix.RTM_NEWNEIGH:
		return neighbourEvent(m.Data)
	}
	return e, false
}

// isOwnRoute reports whether a route is of the kinds that facts are read from, in
// whatever table: default routes, and those without a router. A host that speaks BGP
// hears of thousands of others a second.
func isOwnRoute(data []byte) bool {
	if len(data) < unix.SizeofRtMsg {
		return false
	}
	route := nl.DeserializeRtMsg(data)
	if route.Type != unix.RTN_UNICAST {
		return false
	}
	if route.Dst_len == 0 {
		return true
	}
	attributes, err := nl.ParseRouteAttr(data[unix.SizeofRtMsg:])
	if err != nil {
		return true
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.RTA_GATEWAY || a.Attr.Type == unix.RTA_VIA {
			return false
		}
	}
	return true
}

// neighbourEvent tells of a neighbour that has a MAC address, in whatever state: one
// that another router takes over by a gratuitous ARP request or an unsolicited
// advertisement is stale (RFC 4861, 7.2.5) until the host itself sends to it.
func neighbourEvent(data []byte) (e Event, ok bool) {
	n, err := netlink.NeighDeserialize(data)
	if err != nil || !isStation(n.HardwareAddr) {
		return e, false
	}
	a, ok := netipx.FromStdIP(n.IP)
	if !ok || a.IsMulticast() {
		return e, false
	}
	return Event{Neighbour: a, Router: a.Is6() && a.IsLinkLocalUnicast() && n.Flags&netlink.NTF_ROUTER != 0}, true
}
