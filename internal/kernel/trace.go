package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// A Wish says which frames of a device are to be traced.
type Wish struct {
	Device  string
	Out, In bool              // from the VM, to it
	Any     [][]ruleset.Match // those that one of these matches, all of which hold
}

// TracedPerSecond bounds how many frames a second are traced in each direction: each costs a
// message for every rule that it matches.
const TracedPerSecond = 100

// ErrTracing says that another process traces already.
var ErrTracing = errors.New("another process traces already (explain --live or log --follow)")

// A Traced is what the kernel did with a frame.
type Traced struct {
	Device string
	Out    bool // from the VM

	// Frame is the beginning of the frame as far as the kernel tells it. Of one from the VM it
	// tells no MAC addresses (net/netfilter/nf_tables_trace.c, nf_trace_fill_pkt_info), and
	// all are 0.
	Frame []byte
	Steps []Step
}

// A Step is a rule that matched, or the end of a base chain that none decided in.
type Step struct {
	Table, Chain string
	Number       int // the rule's place in its chain, from 1; 0 where it is gone, or the chain's policy
	Rule         ruleset.Rule
	Drops, Takes bool // it dropped or accepted the frame
}

// Trace calls begun when it begins, and tell with each frame that is wished for, of a device each,
// and what all rules of the device did with it, until ctx ends. Rules that stand are not touched: a table of its own, before all
// others, asks the kernel to tell of these frames. It belongs to a socket, and goes with it,
// however the process ends. lost reports whether the kernel could not tell everything.
func Trace(ctx context.Context, wishes []Wish, begun func(), tell func(Traced)) (lost bool, err error) {
	table, err := traceTable(wishes)
	if err != nil {
		return false, err
	}
	socket, err := listen(unix.NFNLGRP_NFTRACE)
	if errors.Is(err, unix.EPERM) {
		return false, fmt.Errorf("listen to nftables' traces: %w: only root can", err)
	}
	if err != nil {
		return false, fmt.Errorf("listen to nftables' traces: %w", err)
	}
	defer socket.Close()
	r, err := dialReader(ctx)
	if err != nil {
		return false, err
	}
	defer r.close()
	r.unsettled = true // rules may change meanwhile: a handle is never another rule's
	owner, err := dialOwner()
	if err != nil {
		return false, fmt.Errorf("open a netlink socket to nftables: %w", err)
	}
	defer owner.Close()
	switch err := commit(owner, table); {
	case errors.Is(err, unix.EPERM): // who may listen may change rules, too
		return false, ErrTracing
	case err != nil:
		return false, err
	}
	defer func() { _ = commit(owner, []netlink.Message{deleteNamed(ruleset.TraceTable)}) }()
	begun()
	t := tracer{reader: r, tell: tell, open: map[uint64]*traced{}, rules: map[[2]string]map[uint64]Step{}}
	err = t.listen(ctx, socket)
	return t.lost, err
}

// traceTable gives the messages that make the table. Its chains let pass whatever they do not
// know, from the moment on that they are there: before their first rule is, too.
func traceTable(wishes []Wish) ([]netlink.Message, error) {
	t := ruleset.Table{Name: ruleset.TraceTable, Comment: "traces frames while macvtap-filter explain --live or log --follow runs"}
	const beforeAll = -1 << 20
	var rules []netlink.Message
	add := func(direction string, hook ruleset.HookType, w Wish) error {
		name := direction + w.Device
		t.Chains = append(t.Chains, ruleset.Chain{Name: name, Hook: &ruleset.Hook{Type: hook, Device: w.Device, Priority: beforeAll, Policy: ruleset.Accept}})
		for _, matches := range w.Any {
			m, err := traceRule(name, matches)
			if err != nil {
				return err
			}
			rules = append(rules, m)
		}
		return nil
	}
	for _, w := range wishes {
		var err error
		if w.Out {
			err = add(tracesFrom, ruleset.Egress, w)
		}
		if w.In {
			err = errors.Join(err, add(tracesTo, ruleset.Ingress, w))
		}
		if err != nil {
			return nil, err
		}
	}
	var messages []netlink.Message
	conn, err := nftables.New(nftables.WithTestDial(func(req []netlink.Message) ([]netlink.Message, error) {
		messages = append(messages, req...)
		return nil, nil
	}))
	if err != nil {
		return nil, err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: t.Name})
	for _, c := range t.Chains {
		conn.AddChain(compileChain(table, c))
	}
	if err := conn.Flush(); err != nil {
		return nil, err
	}
	messages = plain(messages)
	messages[0] = newTable(t, tableOwned)
	// One that nobody owns is none of ours: somebody loaded a list of rules with it.
	place := []netlink.Message{
		request(unix.NFT_MSG_NEWTABLE, netlink.Create, attribute(unix.NFTA_TABLE_NAME, cString(t.Name))),
		deleteNamed(t.Name),
	}
	return slices.Concat(place, messages, rules), nil
}

// The chains that have a device's frames traced, as their names begin; the device's ends them.
const (
	tracesFrom = "from-vm-"
	tracesTo   = "to-vm-"
)

// traceRule is a rule that has what it matches traced: limit rate … meta nftrace set 1.
func traceRule(chain string, matches []ruleset.Match) (netlink.Message, error) {
	c := ruleCompiler{table: &nftables.Table{Family: nftables.TableFamilyNetdev, Name: ruleset.TraceTable}, encoded: map[string][]byte{}}
	m, err := c.compile(chain, ruleset.Rule{Matches: matches, Limit: TracedPerSecond})
	if err != nil {
		return m, err
	}
	// The expressions are the message's last attribute.
	begin := headerSize + len(appendAttribute(nil, unix.NFTA_RULE_TABLE, ruleset.TraceTable+"\x00")) + len(appendAttribute(nil, unix.NFTA_RULE_CHAIN, chain+"\x00"))
	for _, e := range []expr.Any{&expr.Immediate{Register: register, Data: []byte{1}}, &expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: register}} {
		data, err := expr.Marshal(unix.NFPROTO_NETDEV, e)
		if err != nil {
			return m, err
		}
		m.Data = appendAttribute(m.Data, unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, data)
	}
	binary.NativeEndian.PutUint16(m.Data[begin:], uint16(len(m.Data)-begin))
	return m, nil
}

// A tracer puts together what the kernel tells of frames, by their numbers.
type tracer struct {
	reader *reader
	tell   func(Traced)
	open   map[uint64]*traced
	order  []*traced                     // those of which nothing was told yet
	rules  map[[2]string]map[uint64]Step // by table and chain
	lost   bool
}

// A traced is a frame of which more may come.
type traced struct {
	Traced
	id   uint64
	last time.Time // when something was told of it
	over bool
}

// quiet is how long nothing more was told of a frame when its rules are taken for through with
// it: nothing says so of one that passes.
const quiet = 100 * time.Millisecond

// listen takes what comes until ctx ends, and then what has come. Only where nothing more waits
// to be read is a frame old enough to be over.
func (t *tracer) listen(ctx context.Context, socket *os.File) error {
	buffer := make([]byte, 64<<10)
	for look := true; ; {
		over := ctx.Err() != nil
		if err := socket.SetReadDeadline(time.Now().Add(quiet)); err != nil { // decides nothing
			return err
		}
		n, empty, err := receive(socket, buffer, look || over)
		look = true
		switch {
		case empty && over:
			t.flush(time.Now())
			return nil
		case empty, errors.Is(err, os.ErrDeadlineExceeded):
			t.flush(time.Now().Add(-quiet))
			look = false
			continue
		case errors.Is(err, unix.ENOBUFS):
			t.lost = true
		case err != nil:
			return fmt.Errorf("listen to nftables' traces: %w", err)
		}
		for m := range messages(buffer[:n]) {
			if err := t.add(m); err != nil {
				return err
			}
		}
	}
}

// flush tells of the frames, in their order, that are decided or of which nothing came since a
// time.
func (t *tracer) flush(since time.Time) {
	for len(t.order) > 0 && (t.order[0].over || !t.order[0].last.After(since)) {
		f := t.order[0]
		t.order = t.order[1:]
		if t.open[f.id] == f {
			delete(t.open, f.id)
		}
		t.tell(f.Traced)
	}
}

// begin notes a frame; the kernel uses the numbers of frames again.
func (t *tracer) begin(id uint64, begun Traced) {
	if before := t.open[id]; before != nil {
		before.over = true
	}
	f := &traced{Traced: begun, id: id, last: time.Now()}
	t.open[id], t.order = f, append(t.order, f)
}

// add takes in a message. A frame begins with the first one of the table that has it traced,
// which alone of that table's says what it is.
func (t *tracer) add(m []byte) error {
	const trace = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_TRACE
	if len(m) < unix.NLMSG_HDRLEN+headerSize || binary.NativeEndian.Uint16(m[4:]) != trace {
		return nil
	}
	var a [unix.NFTA_TRACE_POLICY + 1][]byte
	for kind, value := range attributes(m[unix.NLMSG_HDRLEN+headerSize:]) {
		if int(kind) < len(a) {
			a[kind] = value
		}
	}
	id, table := number(a[unix.NFTA_TRACE_ID]), text(a[unix.NFTA_TRACE_TABLE])
	kind := number(a[unix.NFTA_TRACE_TYPE])
	if table == ruleset.TraceTable {
		if out := a[unix.NFTA_TRACE_OIF] != nil; out || a[unix.NFTA_TRACE_IIF] != nil {
			chain := text(a[unix.NFTA_TRACE_CHAIN])
			device := strings.TrimPrefix(chain, map[bool]string{true: tracesFrom, false: tracesTo}[out])
			t.begin(id, Traced{Device: device, Out: out, Frame: headers(a[:])})
		}
		return nil
	}
	f := t.open[id]
	if f == nil {
		return nil // somebody else's trace, or one that began before ours
	}
	s := Step{Table: table, Chain: text(a[unix.NFTA_TRACE_CHAIN])}
	switch kind {
	case unix.NFT_TRACETYPE_RULE:
		code := number(nested(a[unix.NFTA_TRACE_VERDICT], unix.NFTA_VERDICT_CODE))
		known, err := t.rule(s.Table, s.Chain, number(a[unix.NFTA_TRACE_RULE_HANDLE]))
		if err != nil {
			return err
		}
		s.Number, s.Rule = known.Number, known.Rule
		s.Drops, s.Takes = code == verdictDrop, code == verdictAccept
	case unix.NFT_TRACETYPE_POLICY:
		policy := number(a[unix.NFTA_TRACE_POLICY])
		s.Drops, s.Takes = policy == verdictDrop, policy == verdictAccept
	default:
		return nil
	}
	f.Steps, f.last, f.over = append(f.Steps, s), time.Now(), f.over || s.Drops
	return nil
}

// headers puts a frame's beginning together. What it is where its MAC addresses are not told,
// the beginning of the network header says.
func headers(a [][]byte) []byte {
	link, network := a[unix.NFTA_TRACE_LL_HEADER], a[unix.NFTA_TRACE_NETWORK_HEADER]
	if len(link) == 0 {
		link = make([]byte, 14)
		kind := uint16(0)
		switch {
		case bytes.HasPrefix(network, []byte{0, 1, 8, 0, 6, 4}):
			kind = ruleset.EtherTypeARP
		case len(network) > 0 && network[0]>>4 == 4:
			kind = ruleset.EtherTypeIPv4
		case len(network) > 0 && network[0]>>4 == 6:
			kind = ruleset.EtherTypeIPv6
		}
		binary.BigEndian.PutUint16(link[12:], kind)
	}
	return slices.Concat(link, network, a[unix.NFTA_TRACE_TRANSPORT_HEADER])
}

// rule finds a rule by its handle; the chain is read again where it does not have it.
func (t *tracer) rule(table, of string, handle uint64) (Step, error) {
	key := [2]string{table, of}
	if s, known := t.rules[key][handle]; known {
		return s, nil
	}
	t.rules[key] = map[uint64]Step{handle: {}} // it is gone, if it is not read
	_, err := t.reader.look(table, func(p *picture) error {
		c, err := p.one(of)
		if err != nil || c == nil {
			return err
		}
		var handles []uint64
		for _, raw := range c.raw {
			handles = append(handles, number(nested(raw, unix.NFTA_RULE_HANDLE)))
		}
		if err := errors.Join(p.setsOf(c), p.decode([]*chain{c})); err != nil {
			return err
		}
		for n, h := range handles {
			t.rules[key][h] = Step{Number: n + 1, Rule: c.Rules[n]}
		}
		return nil
	})
	return t.rules[key][handle], err
}
