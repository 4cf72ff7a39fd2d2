package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// attempts bounds how often a transaction is made again after another process
// changed a table between our look and our change.
const attempts = 500

// A Standing is a table of this program that the kernel holds.
type Standing struct {
	Name    string
	Comment string
	Handle  uint64 // the kernel's own identity of the table, never used twice
	Owner   uint32 // the netlink port of the process that alone may change it, 0 for anybody
}

// Create programs tables in one transaction: all of them, or none. It is made for
// a VM's first start: it lists nothing and deletes nothing, since the kernel
// keeps a process that deleted waiting for what was deleted to be freed. When a
// table of such a name stands already, a dead VM's for a device of the same name,
// it is replaced, and what it learned is of no use. Where a table asks for it, the check of offloads stands on its
// device before the rules do, or the call fails.
func Create(ctx context.Context, tables []ruleset.Table) error {
	compiled := beside(func() ([]netlink.Message, error) {
		return compileAll(tables, func(_ string, table []netlink.Message) []netlink.Message {
			table[0].Header.Flags |= netlink.Excl
			return table
		})
	})
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	defer closeLater(conn)
	if err := attachOffload(tables); err != nil {
		return err
	}
	messages, err := compiled()
	if err != nil {
		return err
	}
	if err := commit(conn, messages); !errors.Is(err, unix.EEXIST) {
		return err
	}
	// Nothing else is to go, so nothing is listed.
	replacements, err := compileAll(tables, inPlace)
	if err != nil {
		return err
	}
	return commit(conn, replacements)
}

// beside begins to do something that needs no thread of its own while the caller does
// something else; what it gives waits for it. A fault in it is the caller's.
func beside[T any](do func() (T, error)) func() (T, error) {
	once := sync.OnceValues(do)
	go func() {
		defer func() { _ = recover() }() // the caller meets it again
		_, _ = once()
	}()
	return once
}

// Replace programs tables in one transaction, each in the place of the table of
// the same name where there is one, and removes the other standing tables that
// are stale. No frame is judged by half of the change. The check of offloads then
// stands on the devices of the tables that ask for it, and on no others'; rules that
// can be programmed are, even where that fails. The caller holds the lock (see
// Lock): a device of a stale table's name may be another VM's by now otherwise.
func Replace(ctx context.Context, tables []ruleset.Table, stale func(Standing) bool) error {
	return SettleSince(ctx, nil, tables, stale)
}

// inPlace puts before a table's messages those that delete what has its name.
// Adding the table first makes the deletion succeed whether it stood or not.
func inPlace(name string, table []netlink.Message) []netlink.Message {
	return append([]netlink.Message{table[0], deleteNamed(name)}, table...)
}

// Remove removes the standing tables that are stale, in one transaction, and
// gives them. The check of offloads stays on their devices, see Uncheck.
func Remove(ctx context.Context, stale func(Standing) bool) ([]Standing, error) {
	return change(ctx, func(*netlink.Conn, []Standing) ([]netlink.Message, error) { return nil, nil }, stale)
}

// compileAll compiles tables, and lets frame say what goes around each one's
// messages.
func compileAll(tables []ruleset.Table, frame func(name string, table []netlink.Message) []netlink.Message) ([]netlink.Message, error) {
	var messages []netlink.Message
	for _, t := range tables {
		compiled, err := compile(t)
		if err != nil {
			return nil, err
		}
		messages = append(messages, frame(t.Name, compiled)...)
	}
	return messages, nil
}

// change removes the stale tables and commits messages in one transaction, and
// gives what it removed. What the messages are is asked with the tables that stand, of
// which more can be read.
// Tables are deleted by their handles: one that took the name since we looked is
// another table, and stays.
func change(ctx context.Context, messages func(*netlink.Conn, []Standing) ([]netlink.Message, error), stale func(Standing) bool) ([]Standing, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	defer closeLater(conn)
	var removed []Standing
	err = retry(ctx, func() error {
		tables, err := list(conn)
		if err != nil {
			return err
		}
		removed = nil
		var batch []netlink.Message
		for _, t := range tables {
			if stale(t) {
				removed = append(removed, t)
				batch = append(batch, deleteHandle(t.Handle))
			}
		}
		more, err := messages(conn, tables)
		if err != nil {
			return err
		}
		return commit(conn, append(batch, more...))
	})
	if err != nil {
		return nil, err
	}
	return removed, nil
}

// errInterrupted says that tables came or went while they were listed, so that
// the list may lack some (netlink(7), NLM_F_DUMP_INTR).
var errInterrupted = errors.New("list nftables' tables: they kept changing meanwhile")

// retry makes an attempt again while it fails because of what somebody else did
// meanwhile: removed a table that it saw, or changed tables while it looked.
func retry(ctx context.Context, attempt func() error) error {
	const pause = 2 * time.Millisecond
	var err error
	for range attempts {
		err = attempt()
		again := errors.Is(err, unix.ENOENT) || errors.Is(err, errInterrupted)
		if !again || ctx.Err() != nil {
			return err
		}
		time.Sleep(pause)
	}
	return err
}

// lookGuard gives the guard's table, or false when there is none.
func lookGuard(conn *netlink.Conn) (Standing, bool, error) {
	const name = ruleset.GuardTable
	answers, err := conn.Execute(request(unix.NFT_MSG_GETTABLE, 0, attribute(unix.NFTA_TABLE_NAME, cString(name))))
	if errors.Is(err, unix.ENOENT) {
		return Standing{}, false, nil
	}
	if err == nil && len(answers) == 0 {
		err = errors.New("no answer")
	}
	if err != nil {
		return Standing{}, false, refused(fmt.Errorf("look for nftables' table %q: %w", name, err))
	}
	table, err := parseTable(answers[0])
	return table, err == nil, err
}

// Tables lists the tables of the family netdev whose names begin with
// ruleset.Prefix, in the kernel's order. Rules and sets are not read.
func Tables(ctx context.Context) ([]Standing, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var tables []Standing
	err = retry(ctx, func() (err error) {
		tables, err = list(conn)
		return err
	})
	return tables, err
}

// list gives the tables that stand. A transaction meanwhile may have it lack some.
// Within one datagram, one that replaces tables may show them twice: then the later
// one stands.
func list(conn *netlink.Conn) ([]Standing, error) {
	var answers []netlink.Message
	err := undisturbed(conn, func() (err error) {
		answers, err = conn.Execute(request(unix.NFT_MSG_GETTABLE, netlink.Dump, nil))
		return err
	})
	if errors.Is(err, errInterrupted) {
		return nil, err
	}
	if err != nil {
		return nil, refused(fmt.Errorf("list nftables' tables: %w", err))
	}
	var tables []Standing
	places := map[string]int{}
	for _, a := range answers {
		t, err := parseTable(a)
		if err != nil {
			return nil, fmt.Errorf("list nftables' tables: %w", err)
		}
		if !strings.HasPrefix(t.Name, ruleset.Prefix) {
			continue
		}
		if place, twice := places[t.Name]; twice {
			tables[place] = t
			continue
		}
		places[t.Name] = len(tables)
		tables = append(tables, t)
	}
	return tables, nil
}

// undisturbed has a dump read, and makes sure that no transaction came in between. The
// kernel's own mark is not enough: where nothing was left to tell it stands in the
// message that ends the dump alone (net/netlink/af_netlink.c, netlink_dump_done), which
// the library keeps to itself.
func undisturbed(conn *netlink.Conn, dump func() error) error {
	r := &reader{conn: conn}
	before, err := r.generation()
	if err != nil {
		return err
	}
	if err := dump(); err != nil {
		return err
	}
	after, err := r.generation()
	if err == nil && after != before {
		err = errInterrupted
	}
	return err
}

func parseTable(m netlink.Message) (Standing, error) {
	var t Standing
	dec, err := netlink.NewAttributeDecoder(m.Data[headerSize:])
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
		case nftaTableOwner:
			t.Owner = dec.Uint32()
		case nftaTableUserdata:
			t.Comment, _ = userdata.GetString(dec.Bytes(), udataTableComment)
		}
	}
	return t, dec.Err()
}
