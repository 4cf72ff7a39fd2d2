package kernel

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// attempts bounds how often a transaction is made again after another process
// changed something between our look and our change.
const attempts = 500

// unsettledAfter is after how many attempts nftables is taken as it is, see change and
// readTable: an attempt takes a second where there are a thousand interfaces.
const unsettledAfter = 20

// Create programs the rules of interfaces in one transaction: all of them, or none. It is
// made for a VM's first start: it reads no other interface's rules, and deletes nothing but
// what stands for a device of the same name, a dead VM's. Where rules ask for it, the check
// of offloads stands on their device before they do, or the call fails. The caller holds
// the lock (see Lock).
func Create(ctx context.Context, tables []ruleset.Table) error {
	_, err := change(ctx, demand{tables: tables, alone: true, checkFirst: true})
	return err
}

// Replace programs the rules of interfaces in one transaction, each in the place of those
// of the same name where there are any, and removes others that are stale. No frame is
// judged by half of the change. The check of offloads then stands on the devices that ask
// for it, and on no others'; rules that can be programmed are, even where that fails.
// The caller holds the lock (see Lock): a device of a stale one's name may be another VM's
// by now otherwise.
func Replace(ctx context.Context, tables []ruleset.Table, stale func(Standing) bool) error {
	return reconcile(ctx, demand{tables: tables, stale: stale, anew: true})
}

// Reconcile has rules stand as Replace does, and lets those alone that do already: what they
// counted is kept, and nobody waits for the kernel to free what is deleted. Rules in the
// place of others of the same device and VM begin with what these learned. What cannot be
// understood is programmed. The caller holds the lock.
func Reconcile(ctx context.Context, tables []ruleset.Table, stale func(Standing) bool) error {
	return reconcile(ctx, demand{tables: tables, stale: stale})
}

// reconcile changes what stands, and then puts the check of offloads right.
func reconcile(ctx context.Context, d demand) error {
	removed, err := change(ctx, d)
	if err != nil {
		return err
	}
	errs := []error{Uncheck(removed)}
	for _, t := range d.tables {
		if !t.CheckOffload {
			errs = append(errs, detachOffload(t.Name))
		}
	}
	if err := attachOffload(d.tables); err != nil {
		errs = append(errs, fmt.Errorf("%w (the rules are in place)", err))
	}
	return errors.Join(errs...)
}

// Remove removes the rules that are stale, in one transaction, and gives them. The check of
// offloads stays on their devices, see Uncheck.
func Remove(ctx context.Context, stale func(Standing) bool) ([]Standing, error) {
	return change(ctx, demand{stale: stale})
}

// A demand is what is to stand.
type demand struct {
	tables []ruleset.Table
	stale  func(Standing) bool // of the others, what is to go; nil for nothing
	anew   bool                // program what stands as it should, too
	alone  bool                // read no others

	checkFirst bool // the check of offloads comes before the rules

	trim    bool // see transaction
	leaves  bool // what nobody uses stays: somebody else's rules hold on to it
	swapped bool // the base chains have changed, see prepare
}

// change makes the transaction that meets a demand, and gives what it removed. What it
// finds out is for one state of nftables alone: should another transaction come before, all
// is looked at again. Where others change nftables without a pause, no state lasts as long as
// that: then it is made for whatever state there is. What of their own they change is
// nothing to it; the names of what it needs and does not find, the kernel refuses; and no rules
// but the demand's are touched, since others' may have been seen by halves.
func change(ctx context.Context, d demand) ([]Standing, error) {
	var err error
	if d.tables, err = bound(d.tables); err != nil {
		return nil, err
	}
	conn, err := dialWith(ctx, &netlink.Config{MessageBufferSize: readBuffer})
	if err != nil {
		return nil, err
	}
	defer closeLater(conn)
	r, err := readerOn(conn)
	if err != nil {
		return nil, err
	}
	defer unix.Close(r.devices)
	silence(d.tables)
	if d.checkFirst {
		if err := attachOffload(d.tables); err != nil {
			return nil, err
		}
	}
	var removed []Standing
	err = retry(ctx, func() error {
		r.begin()
		gone, err := r.change(&d)
		removed = append(removed, gone...)
		d.trim = errors.Is(err, unix.ENFILE)
		if errors.Is(err, unix.EBUSY) && !d.leaves {
			d.leaves, err = true, errPrepared
		}
		return err
	})
	if err == nil && !d.alone { // of a VM that starts, no NIC is plugged in
		err = r.unplug(ctx, d.tables)
	}
	return removed, err
}

// bound gives tables that are those of the very devices that have their names now, as far as
// they do not say which they are for.
func bound(tables []ruleset.Table) ([]ruleset.Table, error) {
	var out []ruleset.Table
	for _, t := range tables {
		if _, known := t.Index(); !known {
			device, _ := ruleset.TableDevice(t.Name)
			index, err := deviceIndex(device)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", device, err)
			}
			t = t.Bind(index)
		}
		if err := t.Validate(); err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// errInterrupted says that rules came or went while they were read, so that
// some may be missing (netlink(7), NLM_F_DUMP_INTR).
var errInterrupted = errors.New("read nftables' tables: they kept changing meanwhile")

// errPrepared says that all is ready for the change itself.
var errPrepared = errors.New("the change is prepared")

// retry makes an attempt again while it fails because of what somebody else did
// meanwhile: removed what it saw, or changed something while it looked.
func retry(ctx context.Context, attempt func() error) error {
	const pause = time.Millisecond
	var err error
	for range attempts {
		err = attempt()
		again := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENFILE) || errors.Is(err, errPrepared) || errors.Is(err, errInterrupted) || errors.Is(err, unix.ERESTART)
		if !again || ctx.Err() != nil {
			return err
		}
		time.Sleep(pause)
	}
	return err
}

// lookGuard gives the guard's table, or false when there is none.
func lookGuard(conn *netlink.Conn) (Standing, bool, error) {
	r := &reader{conn: conn}
	p := &picture{reader: r, name: ruleset.GuardTable, named: attribute(unix.NFTA_TABLE_NAME, cString(ruleset.GuardTable)), chains: map[string]*chain{}}
	err := p.header()
	if err == nil && p.stands {
		err = p.spelledChains()
	}
	if err != nil {
		return Standing{}, false, fmt.Errorf("look for nftables' table %q: %w", ruleset.GuardTable, err)
	}
	return p.standing(), p.stands, nil
}

// change makes one attempt, of all or of a part that comes before the rest, and gives what
// it removed.
func (r *reader) change(d *demand) ([]Standing, error) {
	var bases []string
	for _, t := range d.tables {
		device, _ := ruleset.TableDevice(t.Name)
		bases = append(bases, ruleset.BaseName("from-vm", device), ruleset.BaseName("to-vm", device))
	}
	known, sums := loadTrust(r.devices), digests{}
	p, err := r.look(ruleset.RulesTable, func(p *picture) error {
		if !d.alone {
			return p.all()
		}
		if p.generation != known.generation {
			known.parts = map[string]string{}
		}
		return p.start(d.tables, bases, known, sums)
	})
	if err != nil {
		return nil, err
	}
	if p.generation != known.generation {
		known.parts = map[string]string{}
	}
	if p.dormant {
		return nil, cmp.Or(r.wake(p), errPrepared)
	}
	var names []string
	if d.alone {
		for _, t := range d.tables {
			names = append(names, t.Name)
		}
	}
	old, err := r.old(names)
	if err != nil {
		return nil, err
	}
	t := newTransaction(p, append(p.held(), old...), sums)
	if err := t.checkSets(d.tables); err != nil {
		return nil, err
	}
	t.trusted = known.parts
	t.trim, t.starts = d.trim, d.alone
	wanted := map[string]bool{}
	for _, table := range d.tables {
		wanted[table.Name] = true
		t.want(table, d.anew && !d.swapped)
	}
	var removed []Standing
	for _, h := range t.standing {
		if !wanted[h.Name] && d.stale != nil && d.stale(h.Standing) {
			removed = append(removed, h.Standing)
			t.remove(h)
		}
	}
	t.live = t.live && !d.swapped
	if mended, err := r.mend(t); mended || err != nil {
		return nil, cmp.Or(err, errPrepared)
	}
	if err := r.prepare(t); err != nil {
		return nil, err
	}
	sweeps := !d.alone && !r.unsettled && !d.leaves
	swaps, err := t.commit(sweeps && !t.live)
	if err != nil {
		return nil, err
	}
	if d.swapped = d.swapped || swaps && t.live; t.live && swaps && sweeps {
		if p.isOldGuard() {
			return removed, errPrepared // its table has gone
		}
		t.swapped()
		if _, err := t.commit(sweeps); err != nil {
			return removed, err
		}
	}
	if !r.unsettled {
		trust{known.namespace, p.generation, t.trusted}.save()
	}
	return removed, nil
}

// start reads what a VM's first start needs: what has the names of its devices, whether
// their interface indexes have been others', and the parts that its policies may have, as
// far as these are not trusted.
func (p *picture) start(tables []ruleset.Table, bases []string, known trust, sums digests) error {
	for _, name := range bases {
		if err := p.from(name); err != nil {
			return err
		}
	}
	for _, t := range tables {
		should := sums.of(t.Part())
		trusted := known.of(t, sums) != ""
		if err := p.own(t, trusted); err != nil {
			return err
		}
		if trusted {
			continue
		}
		for name := range t.Names {
			if digest := known.parts[name]; digest != "" && digest != should {
				continue // seen to be another one
			}
			var chains []string
			for _, c := range t.Part().Chains {
				chains = append(chains, name+"-"+c.Name)
			}
			if err := p.from(chains...); err != nil {
				return err
			}
			if known := p.part(name); len(known.Chains) == 0 || known.Same(t.Part()) {
				break
			}
		}
		for _, c := range t.Counters {
			if err := p.from(ruleset.ReasonChain(c).Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// own reads the sets of what is interfaces' own: of the first, that of MAC addresses, which has an
// element of each interface, these, and of the others only where an interface had the index before. What is
// trusted has these sets.
func (p *picture) own(t ruleset.Table, trusted bool) error {
	index, _ := t.Index()
	used := false
	for n, s := range t.Sets {
		if !s.Own() {
			continue
		}
		var read func(string) error
		switch {
		case n == 0 || used || !trusted:
			read = p.set
		default:
			continue
		}
		if err := read(s.Name); err != nil {
			return err
		}
		if found := p.sets[s.Name]; n == 0 && found != nil {
			used = slices.ContainsFunc(found.elements, func(e element) bool { return len(e.key) >= 4 && binary.NativeEndian.Uint32(e.key) == index })
		}
	}
	if !used {
		return nil
	}
	for _, set := range ruleset.DropSets() { // what another device's drops counted
		if err := p.set(set); err != nil {
			return err
		}
	}
	return nil
}

// part gives what stands as a part of that name.
func (p *picture) part(name string) ruleset.Part { return ruleset.PartOf(p.table(), name) }

// commit commits a transaction, if nothing has changed since the picture was taken, which is
// then one of what stands.
func (p *picture) commit(messages []netlink.Message) error {
	if err := commitAt(p.reader.conn, p.generation, messages); err != nil {
		return err
	}
	if p.generation != 0 {
		p.generation++ // as the kernel counts (net/netfilter/nf_tables_api.c, nf_tables_commit)
	}
	return nil
}

// wake has a table see frames again that sleeps, which no other change of it can come with
// (net/netfilter/nf_tables_api.c, __NFT_TABLE_F_UPDATE).
func (r *reader) wake(p *picture) error {
	return commitAt(r.conn, p.generation, []netlink.Message{newTable(ruleset.Table{Name: p.name}, 0)})
}

// commitAt commits a transaction if nftables is still at that generation, at any for 0.
func commitAt(conn *netlink.Conn, generation uint64, messages []netlink.Message) error {
	batch := enclose(messages)
	if generation != 0 {
		batch[0].Data = append(batch[0].Data, ofGeneration(generation)...)
	}
	if err := enlarge(conn, batch); err != nil {
		return err
	}
	if err := sendAll(conn, batch); err != nil {
		return refused(fmt.Errorf("send the transaction to nftables: %w", err))
	}
	return await(conn, batch)
}

// createPlain makes whole tables that are no interfaces' rules.
func createPlain(ctx context.Context, tables ...ruleset.Table) error {
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	defer closeLater(conn)
	var messages []netlink.Message
	for _, t := range tables {
		compiled, err := compile(t)
		if err != nil {
			return err
		}
		messages = append(messages, compiled...)
	}
	return commit(conn, messages)
}
