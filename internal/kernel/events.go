package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// A Change says what a transaction of somebody's touched.
type Change struct {
	Tables  []string // the rules of interfaces, and the guard, by their names, each once
	Indexes []uint32 // interfaces whose elements it touched
	All     bool     // it touched what is all interfaces'
	Task    int      // the thread that made it, gettid(2)
	Process string   // that thread's name, the program's in most cases
	Lost    bool     // the kernel could not tell everything: anything may have changed
}

// changeBuffer is the room for notifications that nobody has read yet, in bytes. A
// flush of a thousand tables says more than any room holds, and is told as lost.
const changeBuffer = 8 << 20

// Attributes of NFT_MSG_NEWGEN, which ends the notifications of a transaction
// (include/uapi/linux/netfilter/nf_tables.h, enum nft_gen_attributes).
const (
	nftaGenProcPID  = 2
	nftaGenProcName = 3
)

// Subscribe calls tell with every transaction that touches a table of this
// program's, from another goroutine, until ctx ends. ended is closed when no more
// will come. What the kernel removes by itself with a device is not told.
func Subscribe(ctx context.Context, tell func(Change)) (ended <-chan struct{}, err error) {
	socket, err := listen(unix.NFNLGRP_NFTABLES)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("listen to nftables: %w: this needs root (CAP_NET_ADMIN in the network namespace)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen to nftables: %w", err)
	}
	context.AfterFunc(ctx, func() { socket.Close() })
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A rule is a notification of its own, so there are some hundred for
		// each table: they are read where they lie.
		buffer := make([]byte, 64<<10)
		var open Change
		lost := false
		for {
			n, empty, err := receive(socket, buffer, lost)
			switch {
			case ctx.Err() != nil:
				return
			case empty:
				lost = false
				tell(Change{Lost: true})
				continue
			case errors.Is(err, unix.ENOBUFS):
				// Once it lost something, the kernel delivers nothing more
				// and says nothing more until all is read that it had kept
				// (net/netlink/af_netlink.c, NETLINK_S_CONGESTED). So what
				// was lost is everything until then.
				lost, open = true, Change{}
				continue
			case err != nil:
				return
			}
			for m := range messages(buffer[:n]) {
				if open.add(m) {
					if len(open.Tables)+len(open.Indexes) > 0 || open.All {
						tell(open)
					}
					open = Change{}
				}
			}
		}
	}()
	return done, nil
}

// listen opens a socket that a group of nftables' notifications comes to.
func listen(group int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, changeBuffer) != nil {
		// Less room: more is lost, and told so.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, changeBuffer)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "nftables' notifications"), nil
}

// receive waits for the next datagram from the kernel and gives its length. With
// look it does not wait: empty says that there is none.
func receive(socket *os.File, buffer []byte, look bool) (n int, empty bool, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var failure error
	err = raw.Read(func(fd uintptr) bool {
		var from unix.Sockaddr
		n, from, failure = unix.Recvfrom(int(fd), buffer, 0)
		if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid != 0 {
			n = 0 // anybody may send to a netlink socket
		}
		empty = look && errors.Is(failure, unix.EAGAIN)
		return empty || !errors.Is(failure, unix.EAGAIN) && !errors.Is(failure, unix.EINTR)
	})
	return max(n, 0), empty, errors.Join(err, failure)
}

// messages gives the netlink messages of a datagram, header included (netlink(7)).
func messages(b []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) >= unix.NLMSG_HDRLEN {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) || !yield(b[:size]) {
				return
			}
			b = b[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
		}
	}
}

// add takes a notification into the change. It reports whether it was the last of
// its transaction.
func (c *Change) add(message []byte) (last bool) {
	kind := binary.NativeEndian.Uint16(message[4:])
	if len(message) < unix.NLMSG_HDRLEN+headerSize || kind>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return false
	}
	body := message[unix.NLMSG_HDRLEN:]
	if kind&0xff == unix.NFT_MSG_NEWGEN {
		for kind, value := range attributes(body[headerSize:]) {
			switch kind {
			case nftaGenProcPID:
				c.Task = int(number(value))
			case nftaGenProcName:
				c.Process = text(value)
			}
		}
		return true
	}
	if body[0] != unix.NFPROTO_NETDEV {
		return false
	}
	c.touch(int(kind&0xff), body[headerSize:])
	return false
}

// touch takes in what a message is about. Attribute 1 names the table in all of them.
func (c *Change) touch(kind int, b []byte) {
	table := text(nested(b, unix.NFTA_TABLE_NAME))
	switch {
	case table == ruleset.GuardTable || isOld(table):
		c.name(table)
	case table != ruleset.RulesTable:
	case kind == unix.NFT_MSG_NEWRULE || kind == unix.NFT_MSG_DELRULE:
		c.chain(text(nested(b, unix.NFTA_RULE_CHAIN)))
	case kind == unix.NFT_MSG_NEWCHAIN || kind == unix.NFT_MSG_DELCHAIN:
		c.chain(text(nested(b, unix.NFTA_CHAIN_NAME)))
	case kind == unix.NFT_MSG_NEWSETELEM || kind == unix.NFT_MSG_DELSETELEM:
		c.elements(b)
	case kind == unix.NFT_MSG_NEWTABLE || kind == unix.NFT_MSG_NEWSET:
		// Without a rule or an element they change nothing.
	default:
		c.All = true
	}
}

// chain takes the name of a chain: an interface's, or one that is several interfaces'.
func (c *Change) chain(name string) {
	device, ok := ruleset.BaseDevice(name)
	if !ok {
		c.All = true
		return
	}
	c.name(ruleset.TableName(device))
}

func (c *Change) name(name string) {
	if !slices.Contains(c.Tables, name) {
		c.Tables = append(c.Tables, name)
	}
}

// elements takes the elements of a set: interfaces', by their indexes, or a policy's.
func (c *Change) elements(b []byte) {
	set := text(nested(b, unix.NFTA_SET_ELEM_LIST_SET))
	if ruleset.IsDrops(set) {
		return // what was counted decides nothing
	}
	if !ruleset.IsOwn(set) {
		c.All = true
		return
	}
	for _, e := range attributes(nested(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
		key := nested(nested(e, unix.NFTA_SET_ELEM_KEY), unix.NFTA_DATA_VALUE)
		if len(key) < 4 {
			c.All = true
			continue
		}
		if index := binary.NativeEndian.Uint32(key); !slices.Contains(c.Indexes, index) {
			c.Indexes = append(c.Indexes, index)
		}
	}
}
