package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// A Change says what a transaction of somebody's touched.
type Change struct {
	Tables  []string // of ours, each once
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
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to nftables: %w", err)
	}
	_ = conn.SetReadBuffer(changeBuffer) // less room, more is lost and told so
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		conn.Close()
		return nil, fmt.Errorf("listen to nftables: %w", err)
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	done := make(chan struct{})
	go func() {
		defer close(done)
		var open Change
		for {
			messages, err := conn.Receive()
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, unix.ENOBUFS):
				open = Change{}
				tell(Change{Lost: true})
				continue
			case err != nil:
				return
			}
			for _, m := range messages {
				if open.add(m) {
					if len(open.Tables) > 0 {
						tell(open)
					}
					open = Change{}
				}
			}
		}
	}()
	return done, nil
}

// add takes a notification into the change. It reports whether it was the last of
// its transaction.
func (c *Change) add(m netlink.Message) (last bool) {
	if len(m.Data) < headerSize || uint16(m.Header.Type)>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return false
	}
	dec, err := netlink.NewAttributeDecoder(m.Data[headerSize:])
	if err != nil {
		return false
	}
	dec.ByteOrder = binary.BigEndian
	if m.Header.Type&0xff == unix.NFT_MSG_NEWGEN {
		for dec.Next() {
			switch dec.Type() {
			case nftaGenProcPID:
				c.Task = int(dec.Uint32())
			case nftaGenProcName:
				c.Process = dec.String()
			}
		}
		return true
	}
	if m.Data[0] != unix.NFPROTO_NETDEV {
		return false
	}
	// In all other messages attribute 1 names the table.
	for dec.Next() {
		if dec.Type() != unix.NFTA_TABLE_NAME {
			continue
		}
		if name := dec.String(); strings.HasPrefix(name, ruleset.Prefix) && !slices.Contains(c.Tables, name) {
			c.Tables = append(c.Tables, name)
		}
		break
	}
	return false
}
