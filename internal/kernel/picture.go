package kernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// A picture is what was read of a table, all of it or what belongs to some chains, in the
// words of the model and in the kernel's order.
type picture struct {
	reader *reader
	name   string
	named  []byte // the attribute that names the table; it is the first in all requests

	stands     bool
	dormant    bool
	comment    string
	handle     uint64
	owner      uint32
	generation uint64 // nftables' own, when all of this stood
	unknown    []string
	objects    []object // what no version of this program puts into the table

	chains map[string]*chain
	sets   sets
	counts map[uint32]map[string]Count // what own sets counted, by interface index and counter
	tally  map[string]Count            // of named counters
	order  []string                    // of these
}

// A chain is one that was read, with its rules as they came.
type chain struct {
	ruleset.Chain
	handle uint64
	first  uint64 // the handle of its first rule, which no other rule of the table ever has
	raw    [][]byte
}

// take reads a table with do, and makes sure that no transaction came in between.
func (r *reader) take(name string, do func(*picture) error) (*picture, error) {
	p, err := r.look(name, do)
	if err != nil {
		return nil, err
	}
	return p, r.unchangedSince(p.generation)
}

// look reads a table with do. Whether a transaction came in between, who commits one for the
// picture's generation is told then.
func (r *reader) look(name string, do func(*picture) error) (*picture, error) {
	p := &picture{
		reader: r, name: name, named: attribute(unix.NFTA_TABLE_NAME, cString(name)),
		chains: map[string]*chain{}, sets: sets{}, counts: map[uint32]map[string]Count{}, tally: map[string]Count{},
	}
	var err error
	if !r.unsettled {
		if p.generation, err = r.generation(); err != nil {
			return nil, err
		}
		if err := r.unchangedSince(p.generation); err != nil {
			return nil, err
		}
	}
	if err := p.header(); err != nil {
		return nil, err
	}
	if p.stands {
		if err := do(p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// header reads what the table itself says.
func (p *picture) header() error {
	err := p.reader.ask(unix.NFT_MSG_GETTABLE, 0, p.named, func(b []byte) error {
		p.stands = true
		var flags uint64
		for kind, value := range attributes(b) {
			switch kind {
			case unix.NFTA_TABLE_FLAGS:
				flags = number(value)
			case nftaTableHandle:
				p.handle = number(value)
			case nftaTableOwner:
				p.owner = uint32(number(value))
			case nftaTableUserdata:
				p.comment = comment(value, udataTableComment)
			}
		}
		flags &^= tableOwned | tablePersist // who may change it is no part of what it does
		switch {
		case flags == unix.NFT_TABLE_F_DORMANT:
			p.dormant = true
			p.unknown = append(p.unknown, "flags dormant: no chain of the table sees a frame")
		case flags != 0:
			p.unknown = append(p.unknown, fmt.Sprintf("flags %#x", flags))
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// all reads the whole table.
func (p *picture) all() error {
	if err := p.readObjects(); err != nil {
		return err
	}
	err := p.reader.dump(unix.NFT_MSG_GETSET, p.named, func(b []byte) error {
		s := parseSet(b)
		p.sets[s.name] = &s
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range p.sets {
		if err := p.elements(s); err != nil {
			return err
		}
	}
	// The kernel has no list of one table's chains.
	err = p.reader.dump(unix.NFT_MSG_GETCHAIN, nil, func(b []byte) error {
		if text(nested(b, unix.NFTA_CHAIN_TABLE)) == p.name {
			p.addChain(b)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = p.reader.dump(unix.NFT_MSG_GETRULE, p.named, p.addRule)
	if err != nil {
		return err
	}
	return p.decode(slices.Collect(maps.Values(p.chains)))
}

// from reads the chains of those names that there are, all that their rules go to, and the
// sets that these look into.
func (p *picture) from(names ...string) error {
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		if p.chains[name] != nil {
			continue
		}
		c, err := p.one(name)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		if err := p.setsOf(c); err != nil {
			return err
		}
		if err := p.decode([]*chain{c}); err != nil {
			return err
		}
		for _, r := range c.Rules {
			if to := r.Verdict.Chain(); to != "" {
				names = append(names, to)
			}
		}
	}
	return nil
}

// one reads a chain and its rules, nil where there is none of that name.
func (p *picture) one(name string) (*chain, error) {
	c, err := p.chainNamed(name)
	if c == nil || err != nil {
		return nil, err
	}
	in := slices.Concat(p.named, attribute(unix.NFTA_RULE_CHAIN, cString(name)))
	return c, p.reader.dump(unix.NFT_MSG_GETRULE, in, p.addRule)
}

// chainNamed reads a chain without its rules, nil where there is none of that name.
func (p *picture) chainNamed(name string) (*chain, error) {
	wanted := slices.Concat(p.named, attribute(unix.NFTA_CHAIN_NAME, cString(name)))
	err := p.reader.ask(unix.NFT_MSG_GETCHAIN, 0, wanted, func(b []byte) error {
		p.addChain(b)
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	return p.chains[name], err
}

func (p *picture) addChain(b []byte) {
	c := &chain{Chain: p.reader.chain(b), handle: number(nested(b, unix.NFTA_CHAIN_HANDLE))}
	p.chains[c.Name] = c
}

func (p *picture) addRule(b []byte) error {
	c := p.chains[text(nested(b, unix.NFTA_RULE_CHAIN))]
	if c == nil {
		return errInterrupted // it came or went meanwhile
	}
	if len(c.raw) == 0 {
		c.first = number(nested(b, unix.NFTA_RULE_HANDLE))
	}
	c.raw = append(c.raw, bytes.Clone(b))
	return nil
}

// setsOf reads the sets that a chain's rules look into or add to.
func (p *picture) setsOf(c *chain) error {
	for _, raw := range c.raw {
		for _, element := range attributes(nested(raw, unix.NFTA_RULE_EXPRESSIONS)) {
			kind := text(nested(element, unix.NFTA_EXPR_NAME))
			if kind != "lookup" && kind != "dynset" {
				continue
			}
			// Of both, attribute 1 is the set's name.
			name := text(nested(nested(element, unix.NFTA_EXPR_DATA), unix.NFTA_LOOKUP_SET))
			if err := p.set(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// set reads a set, if it was not read.
func (p *picture) set(name string) error {
	if p.sets[name] != nil {
		return nil
	}
	if err := p.declaration(name); err != nil || p.sets[name] == nil {
		return err
	}
	return p.elements(p.sets[name])
}

// declaration reads what a set is, without its elements.
func (p *picture) declaration(name string) error {
	var s set
	wanted := slices.Concat(p.named, attribute(unix.NFTA_SET_NAME, cString(name)))
	err := p.reader.ask(unix.NFT_MSG_GETSET, 0, wanted, func(b []byte) error {
		s = parseSet(b)
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	p.sets[name] = &s
	return nil
}

// elements reads a set's elements, and what they counted; of flows, none.
func (p *picture) elements(s *set) error {
	if ruleset.IsFlows(s.name) || ruleset.IsPassed(s.name) {
		return nil
	}
	return p.readElements(s, func(element) bool { return true })
}

// readElements reads those that are wanted.
func (p *picture) readElements(s *set, wanted func(element) bool) error {
	its := slices.Concat(p.named, attribute(unix.NFTA_SET_ELEM_LIST_SET, cString(s.name)))
	err := p.reader.dump(unix.NFT_MSG_GETSETELEM, its, func(b []byte) error {
		for _, e := range attributes(nested(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			s.add(e)
			if last := len(s.elements) - 1; last >= 0 && !wanted(s.elements[last]) {
				s.elements = s.elements[:last]
			}
		}
		return nil
	})
	if err != nil || !s.counts {
		return err
	}
	for _, e := range s.elements {
		key := ruleset.Element{From: [][]byte{e.key[:min(4, len(e.key))], e.key[min(4, len(e.key)):]}}
		if index, counter, ok := ruleset.Counter(s.name, key); ok {
			if p.counts[index] == nil {
				p.counts[index] = map[string]Count{}
			}
			p.counts[index][counter] = e.count
		}
	}
	return nil
}

// readObjects reads named counters, and names what else there is.
func (p *picture) readObjects() error {
	return p.reader.dump(unix.NFT_MSG_GETOBJ, p.named, func(b []byte) error {
		if text(nested(b, unix.NFTA_OBJ_TABLE)) != p.name {
			return nil
		}
		o := parseObject(b)
		p.objects = append(p.objects, o)
		if o.kind != unix.NFT_OBJECT_COUNTER {
			p.unknown = append(p.unknown, fmt.Sprintf("object %s of type %d", o.name, o.kind))
			return nil
		}
		p.order, p.tally[o.name] = append(p.order, o.name), o.count
		return nil
	})
}

// decode turns the rules of chains into the model's.
func (p *picture) decode(chains []*chain) error {
	for _, c := range chains {
		for _, raw := range c.raw {
			_, rule := p.reader.rule(raw, p.sets)
			c.Rules = append(c.Rules, rule)
		}
		c.raw = nil
	}
	return nil
}

// table gives what was read.
func (p *picture) table() ruleset.Table {
	t := ruleset.Table{Name: p.name, Comment: p.comment, Counters: p.order}
	t.Unknown = strings.Join(p.unknown, "; ")
	for _, c := range slices.SortedFunc(maps.Values(p.chains), func(a, b *chain) int { return cmp.Compare(a.handle, b.handle) }) {
		t.Chains = append(t.Chains, c.Chain)
	}
	for _, s := range slices.SortedFunc(maps.Values(p.sets), func(a, b *set) int { return cmp.Compare(a.handle, b.handle) }) {
		if !s.anonymous() {
			t.Sets = append(t.Sets, s.named())
		}
	}
	return t
}

// held gives the rules of each interface. What is unknown of the table is so of all.
func (p *picture) held(unknown ...string) []Held {
	table := p.table()
	table.Unknown = strings.Join(unknown, "; ")
	var out []Held
	for _, t := range ruleset.Split(table) {
		device, _ := ruleset.TableDevice(t.Name)
		index, _ := t.Index()
		h := Held{Table: t, Counts: map[string]Count{}, Standing: Standing{Name: t.Name, Comment: t.Comment, Owner: p.owner, Index: index}}
		for _, direction := range []string{"from-vm", "to-vm"} {
			if c := p.chains[ruleset.BaseName(direction, device)]; c != nil && h.Handle == 0 {
				h.Handle = p.handle<<32 | c.first
			}
		}
		for _, counter := range t.Counters {
			h.Counts[counter] = p.counts[index][counter]
		}
		out = append(out, h)
	}
	return out
}

// A reader reads tables over a socket of its own.
type reader struct {
	conn    *netlink.Conn
	devices int                     // a socket that tells which devices there are
	known   map[string]ruleset.Rule // see reader.rule

	tried     int  // attempts that began
	unsettled bool // nftables is read as it is, see change
}

// begin begins an attempt: after some, nftables is taken as it is.
func (r *reader) begin() {
	r.unsettled = r.tried >= unsettledAfter
	r.tried++
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

// unchangedSince makes sure that nftables is at that generation, with nothing under way.
// The kernel counts a transaction before it carries it out, and lets others read
// what is half done (net/netfilter/nf_tables_api.c, nf_tables_commit). One that
// changes nothing and is for that generation alone waits for its turn like any
// other, and is refused when another generation has come.
func (r *reader) unchangedSince(generation uint64) error {
	if r.unsettled {
		return nil
	}
	empty := enclose(nil)
	empty[0].Data = append(empty[0].Data, ofGeneration(generation)...)
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

// ofGeneration is the attribute of a transaction that is for that generation alone: the
// kernel refuses it with ERESTART when another has come.
func ofGeneration(generation uint64) []byte {
	return attribute(unix.NFNL_BATCH_GENID, binary.BigEndian.AppendUint32(nil, uint32(generation)))
}
