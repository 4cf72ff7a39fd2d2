package ruleset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Table is an nftables table of the family netdev, with all that is in it.
type Table struct {
	Name     string // nft identifier
	Comment  string // at most MaxComment bytes, without '"' (see Comment); needs Linux 5.10
	Counters []string
	Sets     []Set
	Chains   []Chain
	Unknown  string // see Rule.Unknown

	// CheckOffload says that beside the rules a program of traffic control
	// judges what leaves the device (package offload): nftables has no words
	// for it.
	CheckOffload bool

	// Policy and Parent are what the rules of one interface are named after where they
	// are in one table with others' (Merge).
	Policy, Parent string

	filled map[string]bool // what Filled gives, where the rules are not here (Alone)

	// Interfaces names the devices that rules and sets tell by their index, as nft
	// writes them; the index of any other is written as a number.
	Interfaces map[uint32]string
}

// A Set is a named set. Two sets hold the same when their elements are the same
// in the same order: whoever builds one sorts it.
//
// Only rules add to a set (Rule.Update), and only to a dynamic one. Any other of
// single values is declared with its size: only then does the kernel take its fastest
// kind of hash (net/netfilter/nft_set_hash.c, nft_hash_fast_estimate).
type Set struct {
	Name     string
	Key      []Type // more than one: a concatenation
	Interval bool   // elements may be ranges; needed for ranges, slower to look up
	Elements []Element
	Unknown  string // see Rule.Unknown

	// Typeof are fields of the key's types, in words of which the set is declared: raw
	// bytes have no type that nft could declare one with. Nil where the key has no such.
	Typeof []Field

	// Dynamic is the number of elements that a set may hold to which rules add, 0 for
	// one to which none does. Elements are what it holds at first, and two dynamic
	// sets are the same whatever they hold.
	Dynamic int

	// Lasts says that what rules added is put back where the rules were lost.
	Lasts bool

	// Grace is how long an interface has an element whose rules are made while its VM runs
	// already, and did not look into the set before; 0 for never.
	Grace time.Duration

	// Regrace has an interface given that time, too, whose rules begin with what was learned
	// before: what this set is about was not kept.
	Regrace bool

	// Expires says that elements may expire. What such a set holds is, as with a dynamic one,
	// no difference.
	Expires bool
}

// Changes reports whether the set's elements come and go while its rules stand.
func (s Set) Changes() bool { return s.Dynamic > 0 || s.Expires }

// Filled gives the names of the sets that rules of the table add to, or delete from.
func (t Table) Filled() map[string]bool {
	if t.filled != nil {
		return t.filled
	}
	out := map[string]bool{}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			for _, u := range r.Updates {
				out[u.Set] = true
			}
		}
	}
	return out
}

// Size is what the set is declared to hold at most, 0 for no bound.
func (s Set) Size() int {
	if s.Dynamic > 0 {
		return s.Dynamic
	}
	if s.Interval || s.Own() || s.Expires {
		return 0
	}
	return len(s.Elements)
}

// An Element is one key of a set, or the range From to To, both included. From
// and To hold one value per type of the set's key, in network byte order.
type Element struct {
	From, To [][]byte

	Comment string        // for people; see Table.Comment
	Left    time.Duration // until it expires, 0 for never
}

// A Chain is a list of rules. One with a Hook is a base chain and sees frames
// by itself; any other is reached by Goto.
type Chain struct {
	Name    string
	Hook    *Hook
	Rules   []Rule
	Unknown string // see Rule.Unknown
}

// HookType is where in the kernel a base chain of the family netdev stands.
type HookType string

// The hooks of the family netdev. For a macvtap device, ingress is towards the
// VM and egress is from the VM (Linux 5.16 or later).
const (
	Ingress HookType = "ingress"
	Egress  HookType = "egress"
)

// A Hook binds a base chain to one device; to the devices of some names, as many as
// 256, that there are and will be (Linux 6.16); or to all devices that there are and
// will be whose names begin with one of the prefixes (Linux 6.17; nft only reads it
// where it knows that, and earlier ones, 1.0.6 among them, take "macvtap*" for a
// name). Read back from the kernel, a Device of "" is one that is gone.
type Hook struct {
	Type     HookType
	Device   string
	Names    []string // instead of Device
	Prefixes []string // instead of Device; none the beginning of another
	Priority int32    // 0 is nft's "filter"; chains of a higher one see what lower ones accept
	Policy   Verdict  // of frames that no rule decides; the zero Verdict is Drop, and no other can be programmed
}

// A Rule applies its verdict to a frame that all of its matches hold for.
type Rule struct {
	Matches []Match
	Updates []Update // what the frame adds to dynamic sets, or takes out of them, in this order
	Limit   int      // at most so many frames a second, the rest do not match; 0 for no limit
	Log     string   // the prefix under which the kernel logs the frame, "" for no log
	Counter string   // the table's counter that counts the frame, "" for none
	Mark    *uint32  // the mark (see PacketMark) that the frame is given, nil for none
	Writes  []Write  // what is changed in the frame, in this order
	Verdict Verdict
	Comment string // see Table.Comment

	// Unknown is what the kernel holds here and this model has no words for, as
	// far as it can be told; "" in all that this program makes. What has it is
	// only ever printed, as a comment, and equals nothing.
	Unknown string
}

// An Update adds a frame's fields, joined in that order, to a dynamic set, or leaves them
// there (nft(8), "SET STATEMENT"). Where the set is full, or the element's share is used up,
// the rule ends there: no drop may depend on it.
type Update struct {
	Set     string
	Fields  []Field
	Delete  bool          // takes the element out instead; where there is none, the rule goes on
	Count   bool          // each element counts what added it
	Timeout time.Duration // after which the element expires, from the last update on; 0 for never
	Share   Share         // how often each element may be updated, the zero Share for no bound
}

// A Write puts another field of the same size, or a constant, in the place of a field of a
// header whose checksum it does not touch (nft(8), "PAYLOAD STATEMENT"). All are raw bytes, and
// no match of the rule says a protocol: then nft 1.0 cannot list it.
type Write struct {
	To    Field
	From  Field
	Value []byte // instead of From
}

// A Share bounds how often a thing may happen: Burst times at once, and Rate times more in
// each Unit, which is a second, a day or a week (nft(8), "LIMIT STATEMENT").
type Share struct {
	Rate, Burst int
	Unit        time.Duration
	Over        bool // the rule goes on with what is above the share, not with what is within it
}

// The units of a share.
const (
	Day  = 24 * time.Hour
	Week = 7 * Day
)

// lookup is the match that reads the same fields, which needs the same matches before it.
func (u Update) lookup() Match { return Lookup{Fields: u.Fields, Set: u.Set} }

// A Verdict ends the judging of a frame (Accept, Drop), or goes on in another
// chain and does not come back (Goto). The zero Verdict goes on with the next
// rule.
type Verdict struct {
	kind  string
	chain string
}

// The verdicts that end the judging of a frame.
var (
	Accept = Verdict{kind: "accept"}
	Drop   = Verdict{kind: "drop"}
)

// Goto is the verdict that goes on in the named chain of the same table.
func Goto(chain string) Verdict { return Verdict{kind: "goto", chain: chain} }

// Chain names the chain that a Goto verdict goes to, "" for the other verdicts.
func (v Verdict) Chain() string { return v.chain }

// String gives the verdict as nft writes it.
func (v Verdict) String() string {
	if v.chain == "" {
		return v.kind
	}
	return v.kind + " " + v.chain
}

// Dependencies gives a rule's matches with those that nft adds by itself, for its
// updates at the end: the frame's protocol before the first field of a header that only
// that protocol has, and the device's kind before a field of the Ethernet header; before
// raw bytes, nothing. It follows what the rule says already: the protocol is asked of
// the Ethernet header where the rule looked at that before, and the one above IPv6
// not at all after ip6 nexthdr. The kernel is programmed with these, so that nft's
// own reading of our text and our programming are the same (nft's src/payload.c,
// payload_gen_dependency).
func (r Rule) Dependencies() []Match {
	var out []Match
	var known context
	for _, m := range r.Matches {
		out = append(out, known.missing(m)...)
		known.note(m)
		out = append(out, m)
	}
	for _, u := range r.Updates {
		out = append(out, known.missing(u.lookup())...)
	}
	return out
}

// context gives what all of a rule's matches say about the frame.
func (r Rule) context() context {
	var known context
	for _, m := range r.Dependencies() {
		known.note(m)
	}
	return known
}

// A context is what a rule's earlier matches say about the frame.
type context struct {
	ether    bool // the device's frames begin with an Ethernet header
	protocol uint16
	l4       byte
}

// missing gives the matches that nft puts before m, and notes them.
func (c *context) missing(m Match) []Match {
	var out []Match
	add := func(dependency Compare) {
		out = append(out, dependency)
		c.note(dependency)
	}
	for _, f := range m.fields() {
		if f.Base == LinkHeader && f.Type != TypeRaw && !c.ether {
			add(Compare{Field: DeviceType, Op: Equal, Value: arphrdEther})
		}
		if f.Needs != 0 && f.Needs != c.protocol {
			kind := Protocol
			if c.ether {
				kind = EtherType
			}
			add(Is(kind, f.Needs))
		}
		if f.NeedsL4 != 0 && f.NeedsL4 != c.l4 {
			add(Byte(L4Proto, f.NeedsL4))
		}
	}
	return out
}

// note takes in what a match says about the frame.
func (c *context) note(m Match) {
	compare, ok := m.(Compare)
	if !ok || compare.Op != Equal {
		return
	}
	switch compare.Field {
	case DeviceType:
		c.ether = bytes.Equal(compare.Value, arphrdEther)
	case Protocol, EtherType:
		c.protocol = binary.BigEndian.Uint16(compare.Value)
	case L4Proto, IP6NextHeader:
		c.l4 = compare.Value[0]
	}
}

// arphrdEther is the DeviceType of Ethernet devices (include/uapi/linux/if_arp.h,
// ARPHRD_ETHER).
var arphrdEther = binary.NativeEndian.AppendUint16(nil, 1)

// Validate reports what in the table nft or the kernel would refuse or read
// otherwise: an unknown set, counter or chain, an identifier or device name
// that nft cannot write, a comment that is too long.
func (t Table) Validate() error {
	if err := t.validateNames(); err != nil {
		return fmt.Errorf("table %q: %w", t.Name, err)
	}
	if err := t.validateKnown(); err != nil {
		return fmt.Errorf("table %q: %w", t.Name, err)
	}
	for _, s := range t.Sets {
		if err := s.validate(); err != nil {
			return fmt.Errorf("table %q: set %q: %w", t.Name, s.Name, err)
		}
	}
	for _, c := range t.Chains {
		for i, r := range c.Rules {
			if err := t.validateRule(r); err != nil {
				return fmt.Errorf("table %q: chain %q: rule %d: %w", t.Name, c.Name, i+1, err)
			}
		}
	}
	return nil
}

func (t Table) validateNames() error {
	names := append([]string{t.Name}, t.Counters...)
	for _, s := range t.Sets {
		names = append(names, s.Name)
	}
	for _, c := range t.Chains {
		names = append(names, c.Name)
		if c.Hook == nil {
			continue
		}
		if err := c.Hook.validate(); err != nil {
			return err
		}
	}
	for _, n := range names {
		if !validIdentifier(n) {
			return fmt.Errorf("%q is no nft identifier", n)
		}
	}
	return validComment(t.Comment)
}

func (s Set) validate() error {
	if s.Dynamic > 0 && s.Interval {
		return fmt.Errorf("rules add no ranges")
	}
	raw := func(t Type) bool { return t == TypeRaw }
	typed := func(t Type, f Field) bool { return t == f.Type }
	if contains(s.Key, raw) != (s.Typeof != nil) || s.Typeof != nil && (!slices.EqualFunc(s.Key, s.Typeof, typed) || len(s.Key) < 2) {
		return fmt.Errorf("a key of raw bytes is declared by fields, beside others")
	}
	if s.Dynamic > 0 && len(s.Elements) > s.Dynamic {
		return fmt.Errorf("%d elements, and room for %d", len(s.Elements), s.Dynamic)
	}
	return nil
}

// MaxNames is the most devices that a chain can name
// (include/net/netfilter/nf_tables.h, NFT_NETDEVICE_MAX).
const MaxNames = 256

func (h Hook) validate() error {
	if len(h.Prefixes) == 0 {
		names := h.Names
		if len(names) == 0 {
			names = []string{h.Device}
		}
		for _, name := range names {
			if !ValidDevice(name) {
				return fmt.Errorf("nft cannot write the device name %q", name)
			}
		}
		if len(h.Names) > MaxNames {
			return fmt.Errorf("a chain for %d devices, the kernel takes %d", len(h.Names), MaxNames)
		}
		return nil
	}
	if h.Device != "" || len(h.Names) > 0 {
		return fmt.Errorf("a chain for both the device %q and prefixes", h.Device)
	}
	for i, p := range h.Prefixes {
		if !ValidDevice(p) {
			return fmt.Errorf("nft cannot write the prefix %q of device names", p)
		}
		for j, other := range h.Prefixes {
			if i != j && strings.HasPrefix(p, other) {
				return fmt.Errorf("the prefix %q of device names holds %q", other, p)
			}
		}
	}
	return nil
}

// validateKnown refuses what is only ever read from the kernel.
func (t Table) validateKnown() error {
	unknown := []string{t.Unknown}
	for _, s := range t.Sets {
		unknown = append(unknown, s.Unknown)
	}
	for _, c := range t.Chains {
		unknown = append(unknown, c.Unknown)
		if c.Hook != nil && c.Hook.policy() != Drop {
			return fmt.Errorf("chain %q: no policy but drop", c.Name)
		}
		for _, r := range c.Rules {
			unknown = append(unknown, r.Unknown)
		}
	}
	for _, u := range unknown {
		if u != "" {
			return fmt.Errorf("read from the kernel and not understood: %s", u)
		}
	}
	return nil
}

func (t Table) validateRule(r Rule) error {
	if r.Counter != "" && !contains(t.Counters, func(c string) bool { return c == r.Counter }) {
		return fmt.Errorf("no counter %q", r.Counter)
	}
	if to := r.Verdict.chain; to != "" && !contains(t.Chains, func(c Chain) bool { return c.Name == to }) {
		return fmt.Errorf("no chain %q", to)
	}
	for _, m := range r.Matches {
		if err := t.validateMatch(m); err != nil {
			return err
		}
	}
	for _, u := range r.Updates {
		fits := func(s Set) bool {
			return s.Name == u.Set && s.Dynamic > 0 && (u.Timeout == 0 || s.Expires) && slices.EqualFunc(s.Key, u.Fields, func(t Type, f Field) bool { return t == f.Type })
		}
		if !contains(t.Sets, fits) {
			return fmt.Errorf("no dynamic set %q for %s", u.Set, u)
		}
	}
	if err := r.validateWrites(); err != nil {
		return err
	}
	if len(r.Log) > maxLogPrefix || r.Log != Comment(r.Log) {
		return fmt.Errorf("a log prefix that nft cannot read back: %q", r.Log)
	}
	return validComment(r.Comment)
}

func (r Rule) validateWrites() error {
	for _, w := range r.Writes {
		from := int(w.From.Size)
		if w.Value != nil {
			from = len(w.Value)
		}
		if w.To.Type != TypeRaw || w.Value == nil && w.From.Type != TypeRaw || from != int(w.To.Size) {
			return fmt.Errorf("%s: want raw bytes, and as many", w)
		}
		if known := r.context(); known.protocol != 0 || known.l4 != 0 {
			return fmt.Errorf("%s: behind a match that says a protocol", w)
		}
	}
	return nil
}

func (t Table) validateMatch(m Match) error {
	switch m := m.(type) {
	case Compare:
		return sized(m.Field, m.Value)
	case InPrefix:
		if m.Field.Type == TypeRaw || m.Prefix.Bits() <= 0 || m.Prefix.Addr().BitLen() != int(m.Field.Size)*8 {
			return fmt.Errorf("%s cannot lie in %s", m.Field, m.Prefix)
		}
	case Masked:
		return sized(m.Field, m.Mask, m.Value)
	case Between:
		return sized(m.Field, m.From, m.To)
	case OneOf:
		if len(m.Elements) < 2 {
			return fmt.Errorf("%s: a set of %d elements, nft has none without a name", m.Field, len(m.Elements))
		}
		for _, e := range m.Elements {
			if err := sized(m.Field, e.From[0], e.To[0]); err != nil {
				return err
			}
		}
	case Lookup:
		if !contains(t.Sets, func(s Set) bool { return s.Name == m.Set && len(s.Key) == len(m.Fields) }) {
			return fmt.Errorf("no set %q with %d fields", m.Set, len(m.Fields))
		}
	default:
		return fmt.Errorf("unknown kind of match %T", m)
	}
	return nil
}

func sized(f Field, values ...[]byte) error {
	for _, v := range values {
		if len(v) != int(f.Size) {
			return fmt.Errorf("%s has %d bytes, compared with %d", f, f.Size, len(v))
		}
	}
	return nil
}

func contains[E any](list []E, is func(E) bool) bool {
	for _, e := range list {
		if is(e) {
			return true
		}
	}
	return false
}
