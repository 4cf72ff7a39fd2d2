package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// attempts bounds how often a transaction is made again after another process
// changed a table between our look and our change.
const attempts = 8

// A Standing is a table of this program that the kernel holds.
type Standing struct {
	Name    string
	Comment string
	Handle  uint64 // the kernel's own identity of the table, never used twice
}

// Create programs tables in one transaction: all of them, or none. It is made for
// a VM's first start: it looks nothing up and deletes nothing, which would keep
// the process waiting for the kernel to free what was deleted. When a table of
// such a name stands already, a dead VM's for a device of the same name, it is
// replaced.
func Create(ctx context.Context, tables []ruleset.Table) error {
	var messages []netlink.Message
	for _, t := range tables {
		compiled, err := compile(t)
		if err != nil {
			return err
		}
		compiled[0].Header.Flags |= netlink.Excl
		messages = append(messages, compiled...)
	}
	err := commit(ctx, messages)
	if errors.Is(err, unix.EEXIST) {
		return Replace(ctx, tables, func(Standing) bool { return false })
	}
	return err
}

// Replace programs tables in one transaction, each in the place of the table of
// the same name where there is one, and removes the other standing tables that
// are stale. No frame is judged by half of the change.
func Replace(ctx context.Context, tables []ruleset.Table, stale func(Standing) bool) error {
	var programmed []netlink.Message
	names := map[string]bool{}
	for _, t := range tables {
		compiled, err := compile(t)
		if err != nil {
			return err
		}
		names[t.Name] = true
		// Adding the table before deleting it makes the deletion succeed
		// whether it stood or not.
		programmed = append(programmed, compiled[0], deletion(t.Name, 0))
		programmed = append(programmed, compiled...)
	}
	return retry(ctx, func() error {
		removals, err := removals(ctx, func(s Standing) bool { return !names[s.Name] && stale(s) })
		if err != nil {
			return err
		}
		return commit(ctx, append(removals, programmed...))
	})
}

// Remove removes the standing tables that are stale, in one transaction, and
// gives them.
func Remove(ctx context.Context, stale func(Standing) bool) ([]Standing, error) {
	var removed []Standing
	err := retry(ctx, func() error {
		removed = nil
		removals, err := removals(ctx, func(s Standing) bool {
			if stale(s) {
				removed = append(removed, s)
				return true
			}
			return false
		})
		if err != nil {
			return err
		}
		return commit(ctx, removals)
	})
	return removed, err
}

// errInterrupted says that tables came or went while they were listed, so that
// the list may lack some (netlink(7), NLM_F_DUMP_INTR).
var errInterrupted = errors.New("list nftables' tables: they kept changing meanwhile")

// retry makes an attempt again while it fails because of what somebody else did
// meanwhile: removed a table that it saw, or changed tables while it looked.
func retry(ctx context.Context, attempt func() error) error {
	var err error
	for range attempts {
		err = attempt()
		again := errors.Is(err, unix.ENOENT) || errors.Is(err, errInterrupted)
		if !again || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// removals gives the messages that delete the stale tables by their handles: a
// table that took the name since is another one, and stays.
func removals(ctx context.Context, stale func(Standing) bool) ([]netlink.Message, error) {
	tables, err := list(ctx)
	if err != nil {
		return nil, err
	}
	var messages []netlink.Message
	for _, t := range tables {
		if stale(t) {
			messages = append(messages, deletion("", t.Handle))
		}
	}
	return messages, nil
}

// deletion is the message that deletes a table by its name or, when that is "",
// by its handle.
func deletion(name string, handle uint64) netlink.Message {
	enc := netlink.NewAttributeEncoder()
	if name != "" {
		enc.String(unix.NFTA_TABLE_NAME, name)
	} else {
		enc.ByteOrder = binary.BigEndian
		enc.Uint64(nftaTableHandle, handle)
	}
	attributes, err := enc.Encode()
	if err != nil {
		panic(err) // only a value over 64 KiB fails
	}
	return netlink.Message{
		Header: netlink.Header{Type: messageType(unix.NFT_MSG_DELTABLE), Flags: netlink.Request},
		Data:   append(header(unix.NFPROTO_NETDEV, 0), attributes...),
	}
}

func messageType(message int) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message)
}

// Tables lists the tables of the family netdev whose names begin with
// ruleset.Prefix, in the kernel's order. Rules and sets are not read.
func Tables(ctx context.Context) ([]Standing, error) {
	var tables []Standing
	err := retry(ctx, func() (err error) {
		tables, err = list(ctx)
		return err
	})
	return tables, err
}

func list(ctx context.Context) ([]Standing, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: messageType(unix.NFT_MSG_GETTABLE), Flags: netlink.Request | netlink.Dump},
		Data:   header(unix.NFPROTO_NETDEV, 0),
	})
	if err != nil {
		return nil, refused(fmt.Errorf("list nftables' tables: %w", err))
	}
	var tables []Standing
	for _, a := range answers {
		if a.Header.Flags&netlink.DumpInterrupted != 0 {
			return nil, errInterrupted
		}
		t, err := parseTable(a)
		if err != nil {
			return nil, fmt.Errorf("list nftables' tables: %w", err)
		}
		if strings.HasPrefix(t.Name, ruleset.Prefix) {
			tables = append(tables, t)
		}
	}
	return tables, nil
}

func parseTable(m netlink.Message) (Standing, error) {
	var t Standing
	dec, err := netlink.NewAttributeDecoder(m.Data[len(header(0, 0)):])
	if err != nil {
		return t, err
	}
	dec.ByteOrder = binary.BigEndian
	for dec.Next() {
		switch dec.Type() {
		case unix.NFTA_TABLE_NAME:
			t.Name = dec.String()
		case nftaTableHandle:
			t.Handle = dec.Uint64()
		case nftaTableUserdata:
			t.Comment, _ = userdata.GetString(dec.Bytes(), udataTableComment)
		}
	}
	return t, dec.Err()
}
