package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// A Standing is the rules of an interface that the kernel holds, or the guard.
type Standing struct {
	Name    string // ruleset.TableName of the device, or ruleset.GuardTable
	Comment string
	Handle  uint64 // of these very rules: what is programmed anew has another
	Owner   uint32 // the netlink port of the process that alone may change them, 0 for anybody
	Index   uint32 // the interface index of the device that they were made for, 0 where they do not say

	old   bool   // a table of the device's own, as versions before made it
	names string // of the guard, that it is bound to: each between two spaces, "" where it is to prefixes
}

// Foreign reports whether the device that has the name now is another one than the rules were
// made for. They drop all of its frames then.
func (s Standing) Foreign() bool {
	device, ok := ruleset.TableDevice(s.Name)
	if !ok || s.Index == 0 {
		return false
	}
	index, err := deviceIndex(device)
	return err == nil && uint32(index) != s.Index
}

// A Held is what stands, read back into the model that programs it, with whether its device
// has the check of offloads.
type Held struct {
	Standing

	// Table is in the kernel's order and in normal form (ruleset.Rule.Normal). A
	// base chain's device is one that there is now: on Linux 6.16 and later a
	// chain waits under its device's name for the next one.
	Table ruleset.Table

	Counts map[string]Count // of its counters
}

// A Count is what a counter counted.
type Count struct {
	Packets, Bytes uint64
}

// Read gives what stands of those names, or, without names, the rules of all interfaces:
// all as it was at one moment. What does not stand is left out. An error says that not all
// could be read, or not whether the devices have the check of offloads.
func Read(ctx context.Context, names ...string) ([]Held, error) {
	held, err := readTable(ctx, names)
	if err != nil {
		return nil, err
	}
	return held, readOffload(held)
}

// Rules gives what stands of that name as Read does, if it stands.
func Rules(ctx context.Context, name string) (ruleset.Table, bool, error) {
	held, err := Read(ctx, name)
	if len(held) == 0 {
		return ruleset.Table{}, false, err
	}
	return held[0].Table, true, err
}

// Tables lists the interfaces that have rules.
func Tables(ctx context.Context) ([]Standing, error) {
	held, err := readTable(ctx, nil)
	var out []Standing
	for _, h := range held {
		out = append(out, h.Standing)
	}
	return out, err
}

// readTable is Read but for the check of offloads. Where others change nftables without a
// pause, what is read is what was twice the same.
func readTable(ctx context.Context, names []string) ([]Held, error) {
	r, err := dialReader(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var held []Held
	err = retry(ctx, func() (err error) {
		r.begin()
		before := held
		held, err = r.read(names)
		if err == nil && r.unsettled && !slices.EqualFunc(before, held, sameHeld) {
			return errInterrupted
		}
		return err
	})
	return held, err
}

// sameHeld reports whether the same was read twice, whatever it counted in between.
func sameHeld(a, b Held) bool { return a.Standing == b.Standing && ruleset.Same(a.Table, b.Table) }

// few is how many interfaces' rules are read each for itself, where some are asked for: it
// takes longer for each, and less for all others.
const few = 8

// read reads once, see readTable.
func (r *reader) read(names []string) ([]Held, error) {
	var bases []string
	var held []Held
	for _, name := range names {
		if name == ruleset.GuardTable {
			guard, err := r.guard()
			if err != nil {
				return nil, err
			}
			held = append(held, guard...)
			continue
		}
		if device, ok := ruleset.TableDevice(name); ok {
			bases = append(bases, ruleset.BaseName("from-vm", device), ruleset.BaseName("to-vm", device))
		}
	}
	if len(names) > 0 && len(bases) == 0 {
		return held, nil
	}
	p, err := r.take(ruleset.RulesTable, func(p *picture) error {
		if len(names) == 0 || len(names) > few {
			return p.all()
		}
		return p.from(bases...)
	})
	if err != nil {
		return nil, err
	}
	old, err := r.old(names)
	if err != nil {
		return nil, err
	}
	for _, h := range p.held(append(p.unknown, p.foreign().words()...)...) {
		if len(names) == 0 || slices.Contains(names, h.Name) {
			held = append(held, h)
		}
	}
	for _, h := range old {
		if !slices.ContainsFunc(held, func(n Held) bool { return n.Name == h.Name }) {
			held = append(held, h)
		}
	}
	return held, nil
}

// guard reads the guard, if it stands.
func (r *reader) guard() ([]Held, error) {
	p, err := r.take(ruleset.GuardTable, (*picture).all)
	if err != nil || !p.stands {
		return nil, err
	}
	return []Held{{Standing: p.standing(), Table: unspell(p.table()), Counts: p.tally}}, nil
}

// standing is what a table of its own is.
func (p *picture) standing() Standing {
	s := Standing{Name: p.name, Comment: p.comment, Handle: p.handle, Owner: p.owner}
	if p.name == ruleset.GuardTable {
		s.names = p.spelledNames()
	}
	return s
}

// dialReader opens a reader. It belongs to the caller's network namespace.
func dialReader(ctx context.Context) (*reader, error) {
	conn, err := dialWith(ctx, &netlink.Config{MessageBufferSize: readBuffer})
	if err != nil {
		return nil, err
	}
	r, err := readerOn(conn)
	if err != nil {
		conn.Close()
	}
	return r, err
}

// readerOn is a reader that shares a socket.
func readerOn(conn *netlink.Conn) (*reader, error) {
	devices, err := deviceSocket()
	if err != nil {
		return nil, err
	}
	return &reader{conn: conn, devices: devices, known: map[string]ruleset.Rule{}}, nil
}

// deviceSocket opens a socket that tells which devices there are (netdevice(7)). One
// of any family does (net/socket.c, sock_do_ioctl), and the service may open no
// others than netlink's and these.
func deviceSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("a socket to look for devices: %w", err)
	}
	return fd, nil
}

// readBuffer is the most that the kernel sends of a dump at a time
// (net/netlink/af_netlink.c, netlink_recvmsg). It fills what is offered, and
// begins each time at the first rule of the table to find where it was.
const readBuffer = 32 << 10

func (r *reader) close() {
	r.conn.Close()
	unix.Close(r.devices)
}

// dump hands each answer's attributes to a function, which keeps none of the bytes.
func (r *reader) dump(message int, attributes []byte, each func([]byte) error) error {
	return r.ask(message, netlink.Dump, attributes, each)
}

// ask sends a request and hands each answer's attributes to a function.
func (r *reader) ask(message int, flags netlink.HeaderFlags, attributes []byte, each func([]byte) error) error {
	if _, err := r.conn.Send(request(message, flags, attributes)); err != nil {
		return refused(fmt.Errorf("read nftables' tables: %w", err))
	}
	var first error
	for answer, err := range r.conn.ReceiveIter() {
		switch {
		case errors.Is(err, unix.ENOENT):
			return fmt.Errorf("%w: %w", errInterrupted, err)
		case err != nil:
			return refused(fmt.Errorf("read nftables' tables: %w", err))
		case first != nil:
			// The rest of a dump has to be taken all the same.
		case answer.Header.Flags&netlink.DumpInterrupted != 0 && !r.unsettled:
			first = errInterrupted
		case len(answer.Data) >= headerSize:
			first = each(answer.Data[headerSize:])
		}
	}
	return first
}

// An object is a named counter, or something else that has a name of its own.
type object struct {
	name  string
	kind  uint32
	count Count // of a counter
}

func parseObject(b []byte) (o object) {
	var data []byte
	for a, value := range attributes(b) {
		switch a {
		case unix.NFTA_OBJ_NAME:
			o.name = text(value)
		case unix.NFTA_OBJ_TYPE:
			o.kind = uint32(number(value))
		case unix.NFTA_OBJ_DATA:
			data = value
		}
	}
	if o.kind == unix.NFT_OBJECT_COUNTER {
		o.count = counted(data)
	}
	return o
}

// counted reads what a counter counted (enum nft_counter_attributes).
func counted(b []byte) (c Count) {
	for a, value := range attributes(b) {
		switch a {
		case unix.NFTA_COUNTER_PACKETS:
			c.Packets = number(value)
		case unix.NFTA_COUNTER_BYTES:
			c.Bytes = number(value)
		}
	}
	return c
}
