package kernel

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// A Held table is one that the kernel holds, read back into the model that
// programs it, with whether its device has the check of offloads.
type Held struct {
	Standing

	// Table is in the kernel's order and in normal form (ruleset.Rule.Normal). A
	// base chain's device is one that there is now: on Linux 6.16 and later a
	// chain waits under its device's name for the next one.
	Table ruleset.Table

	Counts map[string]Count // of the named counters
}

// A Count is what a counter counted.
type Count struct {
	Packets, Bytes uint64
}

// Read gives the tables of those names that stand, or, without names, all whose
// names begin with ruleset.Prefix: each as it was at one moment, and all at the same
// one unless somebody changes tables all the time. A table that does not stand is
// left out. An error says that not all could be read, or not whether their devices
// have the check of offloads.
func Read(ctx context.Context, names ...string) ([]Held, error) {
	held, err := readTables(ctx, names)
	if err != nil {
		return nil, err
	}
	return held, readOffload(held)
}

// Rules gives the table of that name as Read does, if it stands.
func Rules(ctx context.Context, name string) (ruleset.Table, bool, error) {
	held, err := Read(ctx, name)
	if len(held) == 0 {
		return ruleset.Table{}, false, err
	}
	return held[0].Table, true, err
}

func readTables(ctx context.Context, names []string) ([]Held, error) {
	readers, err := dialReaders(ctx, len(names))
	if err != nil {
		return nil, err
	}
	defer closeAll(readers)
	// Elsewhere tables may change all the time. When a picture of all keeps
	// being interrupted, each table by itself is a shorter one.
	held, err := pictures(readers, names)
	if !errors.Is(err, errInterrupted) {
		return held, err
	}
	if len(names) == 0 {
		if names, err = readers[0].tableNames(ctx); err != nil {
			return nil, err
		}
	}
	held = nil
	for _, name := range names {
		err := retry(ctx, func() error {
			one, err := picture(readers[:1], []string{name})
			if err == nil {
				held = append(held, one...)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return held, nil
}

// glance is Read of the names, for who has something else to do when tables keep
// changing meanwhile, and little time.
func glance(ctx context.Context, names []string) ([]Held, error) {
	readers, err := dialReaders(ctx, len(names))
	if err != nil {
		return nil, err
	}
	defer closeAll(readers)
	held, err := pictures(readers, names)
	if err != nil {
		return nil, err
	}
	return held, readOffload(held)
}

// pictures reads tables, a few times at most.
func pictures(readers []*reader, names []string) (held []Held, err error) {
	for range 3 {
		if held, err = picture(readers, names); !errors.Is(err, errInterrupted) {
			break
		}
	}
	return held, err
}

// tableNames lists this program's tables.
func (r *reader) tableNames(ctx context.Context) ([]string, error) {
	var names []string
	err := retry(ctx, func() error {
		tables, err := list(r.conn)
		names = nil
		for _, t := range tables {
			names = append(names, t.Name)
		}
		return err
	})
	return names, err
}

// picture reads tables, and makes sure that no transaction came in between.
func picture(readers []*reader, names []string) ([]Held, error) {
	first := readers[0]
	generation, err := first.generation()
	if err != nil {
		return nil, err
	}
	if err := first.settled(generation); err != nil {
		return nil, err
	}
	drafts, err := first.tables(names, isDevices)
	if err != nil {
		return nil, err
	}
	const few = 8
	if len(names) == 0 || len(names) > few {
		err = all(readers, drafts)
	} else {
		err = some(first, drafts)
	}
	if err != nil {
		return nil, err
	}
	held := make([]Held, len(drafts))
	for i, d := range drafts {
		held[i] = d.Held
		if d.Name == ruleset.GuardTable {
			held[i].Table = unspell(d.Table)
		}
	}
	return held, first.settled(generation)
}

// all reads what is in many tables. The kernel has no list of one table's chains,
// and goes through everybody's objects for one table's, so both are read at once.
func all(readers []*reader, drafts []*draft) error {
	tables := map[string]*draft{}
	for _, d := range drafts {
		tables[d.Name] = d
	}
	if err := readers[0].objects(nil, tables); err != nil {
		return err
	}
	if err := readers[0].chains(tables); err != nil {
		return err
	}
	return each(readers, drafts, func(r *reader, d *draft) error {
		if err := r.contents(d); err != nil {
			return err
		}
		return d.finish()
	})
}

// some reads what is in few tables, and as little as it can of others.
func some(r *reader, drafts []*draft) error {
	for _, d := range drafts {
		only := map[string]*draft{d.Name: d}
		if err := r.objects(d.named(), only); err != nil {
			return err
		}
		if err := r.contents(d); err != nil {
			return err
		}
		complete, err := r.mentioned(d)
		if err == nil && !complete {
			d.Table.Chains = nil
			err = r.chains(only)
		}
		if err != nil {
			return err
		}
		if err := d.finish(); err != nil {
			return err
		}
	}
	return nil
}

// each has the readers share the tables.
func each(readers []*reader, drafts []*draft, read func(*reader, *draft) error) error {
	var next atomic.Int64
	errs := make([]error, len(readers))
	var group sync.WaitGroup
	for i, r := range readers {
		group.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= len(drafts) {
					return
				}
				errs[i] = read(r, drafts[n])
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// A draft is a table that is being read.
type draft struct {
	Held
	parts   int // how many chains, named sets and objects it has, as the kernel counts them
	objects int
	sets    sets
	rules   map[string][]ruleset.Rule // by chain
}

// named is the attribute that asks for the table's own; it is the first in all
// requests.
func (d *draft) named() []byte { return attribute(unix.NFTA_TABLE_NAME, cString(d.Name)) }

// finish puts the rules into their chains.
func (d *draft) finish() error {
	for i := range d.Table.Chains {
		c := &d.Table.Chains[i]
		c.Rules = d.rules[c.Name]
		delete(d.rules, c.Name)
	}
	if len(d.rules) > 0 {
		return errInterrupted // the chain came or went meanwhile
	}
	return nil
}

// A reader reads tables over a socket of its own.
type reader struct {
	conn    *netlink.Conn
	devices int                     // a socket that tells which devices there are
	known   map[string]ruleset.Rule // see reader.rule
}

// dialReaders opens as many readers as help with that many tables, 0 standing for
// all. They all belong to the caller's network namespace.
func dialReaders(ctx context.Context, tables int) ([]*reader, error) {
	n := min(runtime.GOMAXPROCS(0), 4)
	if tables > 0 {
		n = min(n, tables)
	}
	var readers []*reader
	for range n {
		conn, err := dialWith(ctx, &netlink.Config{MessageBufferSize: readBuffer})
		if err != nil {
			return nil, err
		}
		devices, err := deviceSocket()
		if err != nil {
			conn.Close()
			return nil, err
		}
		readers = append(readers, &reader{conn: conn, devices: devices, known: map[string]ruleset.Rule{}})
	}
	return readers, nil
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

func closeAll(readers []*reader) {
	for _, r := range readers {
		r.close()
	}
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
		case answer.Header.Flags&netlink.DumpInterrupted != 0:
			first = errInterrupted
		case len(answer.Data) >= headerSize:
			first = each(answer.Data[headerSize:])
		}
	}
	return first
}

// generation gives the number of nftables' last transaction.
func (r *reader) generation() (uint64, error) {
	var generation uint64
	err := r.ask(unix.NFT_MSG_GETGEN, 0, nil, func(b []byte) error {
		for kind, value := range attributes(b) {
			if kind == unix.NFTA_GEN_ID {
				generation = number(value)
			}
		}
		return nil
	})
	return generation, err
}

// settled makes sure that nftables is at that generation, with nothing under way.
// The kernel counts a transaction before it carries it out, and lets others read
// what is half done (net/netfilter/nf_tables_api.c, nf_tables_commit). One that
// changes nothing and is for that generation alone waits for its turn like any
// other, and is refused when another generation has come.
func (r *reader) settled(generation uint64) error {
	empty := enclose(nil)
	empty[0].Data = append(empty[0].Data, attribute(unix.NFNL_BATCH_GENID, binary.BigEndian.AppendUint32(nil, uint32(generation)))...)
	if _, err := r.conn.SendMessages(empty); err != nil {
		return refused(fmt.Errorf("wait for nftables: %w", err))
	}
	// It is over when it is sent. Only a refusal is answered, before this.
	if _, err := r.conn.Send(request(unix.NFT_MSG_GETGEN, 0, nil)); err != nil {
		return refused(fmt.Errorf("wait for nftables: %w", err))
	}
	_, err := r.conn.Receive()
	passed := errors.Is(err, unix.ERESTART)
	if passed {
		_, err = r.conn.Receive()
	}
	switch {
	case err != nil:
		return refused(fmt.Errorf("wait for nftables: %w", err))
	case passed:
		return errInterrupted
	}
	return nil
}

// isDevices reports whether a table's name is that of a device's rules.
func isDevices(name string) bool { return strings.HasPrefix(name, ruleset.Prefix) }

// tables reads what the tables themselves say: those of the names, or with none, those
// whose names are wanted.
func (r *reader) tables(names []string, wanted func(name string) bool) ([]*draft, error) {
	var drafts []*draft
	take := func(b []byte) error {
		d := parseHeld(b)
		if len(names) > 0 || wanted(d.Name) {
			drafts = append(drafts, d)
		}
		return nil
	}
	if len(names) == 0 {
		err := r.dump(unix.NFT_MSG_GETTABLE, nil, take)
		return drafts, err
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		// Between a look for a table and its reading it may go.
		err := r.ask(unix.NFT_MSG_GETTABLE, 0, attribute(unix.NFTA_TABLE_NAME, cString(name)), take)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
	}
	return drafts, nil
}

func parseHeld(b []byte) *draft {
	h := &draft{Held: Held{Counts: map[string]Count{}}, rules: map[string][]ruleset.Rule{}}
	var flags uint64
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_TABLE_NAME:
			h.Name = text(value)
		case unix.NFTA_TABLE_FLAGS:
			flags = number(value)
		case unix.NFTA_TABLE_USE:
			h.parts = int(number(value))
		case nftaTableHandle:
			h.Handle = number(value)
		case nftaTableOwner:
			h.Owner = uint32(number(value))
		case nftaTableUserdata:
			h.Comment = comment(value, udataTableComment)
		}
	}
	h.Table = ruleset.Table{Name: h.Name, Comment: h.Comment}
	flags &^= tableOwned | tablePersist // who may change it is no part of what it does
	switch {
	case flags == unix.NFT_TABLE_F_DORMANT:
		h.Table.Unknown = "flags dormant: no chain of the table sees a frame"
	case flags != 0:
		h.Table.Unknown = fmt.Sprintf("flags %#x", flags)
	}
	return h
}

// chains reads the chains of tables, without their rules.
func (r *reader) chains(tables map[string]*draft) error {
	if len(tables) == 0 {
		return nil
	}
	return r.dump(unix.NFT_MSG_GETCHAIN, nil, func(b []byte) error {
		if d := tables[text(nested(b, unix.NFTA_CHAIN_TABLE))]; d != nil {
			d.Table.Chains = append(d.Table.Chains, r.chain(b))
		}
		return nil
	})
}

// mentioned reads the chains that a table's rules are in or go to, and reports
// whether these are all.
func (r *reader) mentioned(d *draft) (complete bool, err error) {
	names := map[string]bool{}
	for name, rules := range d.rules {
		names[name] = true
		for _, rule := range rules {
			if to := rule.Verdict.Chain(); to != "" {
				names[to] = true
			}
		}
	}
	if len(names)+len(d.Table.Sets)+d.objects != d.parts {
		return false, nil
	}
	order := map[string]uint64{}
	for name := range names {
		wanted := slices.Concat(d.named(), attribute(unix.NFTA_CHAIN_NAME, cString(name)))
		err := r.ask(unix.NFT_MSG_GETCHAIN, 0, wanted, func(b []byte) error {
			d.Table.Chains = append(d.Table.Chains, r.chain(b))
			order[name] = number(nested(b, unix.NFTA_CHAIN_HANDLE))
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	slices.SortFunc(d.Table.Chains, func(a, b ruleset.Chain) int { return cmp.Compare(order[a.Name], order[b.Name]) })
	return true, nil
}

// contents reads a table's sets and rules.
func (r *reader) contents(d *draft) error {
	var err error
	if d.sets, err = r.sets(d.named(), func(*set) bool { return true }); err != nil {
		return err
	}
	for i := range d.sets {
		if s := &d.sets[i]; !s.anonymous() {
			d.Table.Sets = append(d.Table.Sets, s.named())
		}
	}
	return r.dump(unix.NFT_MSG_GETRULE, d.named(), func(b []byte) error {
		chain, rule := r.rule(b, d.sets)
		d.rules[chain] = append(d.rules[chain], rule)
		return nil
	})
}

// objects reads named counters, and names what else there is: those of the table
// in the attribute, or of all tables.
func (r *reader) objects(table []byte, tables map[string]*draft) error {
	if len(tables) == 0 {
		return nil
	}
	return r.dump(unix.NFT_MSG_GETOBJ, table, func(b []byte) error {
		if d := tables[text(nested(b, unix.NFTA_OBJ_TABLE))]; d != nil {
			d.objects++
			object(b, &d.Held)
		}
		return nil
	})
}

// object reads a named counter, or names what else it is.
func object(b []byte, h *Held) {
	var name string
	var kind uint64
	var data []byte
	for a, value := range attributes(b) {
		switch a {
		case unix.NFTA_OBJ_NAME:
			name = text(value)
		case unix.NFTA_OBJ_TYPE:
			kind = number(value)
		case unix.NFTA_OBJ_DATA:
			data = value
		}
	}
	if kind != unix.NFT_OBJECT_COUNTER {
		h.Table.Unknown = strings.TrimPrefix(fmt.Sprintf("%s; object %s of type %d", h.Table.Unknown, name, kind), "; ")
		return
	}
	var count Count
	for a, value := range attributes(data) {
		switch a {
		case unix.NFTA_COUNTER_PACKETS:
			count.Packets = number(value)
		case unix.NFTA_COUNTER_BYTES:
			count.Bytes = number(value)
		}
	}
	h.Table.Counters = append(h.Table.Counters, name)
	h.Counts[name] = count
}
