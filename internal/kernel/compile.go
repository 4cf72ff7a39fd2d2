package kernel

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// compile turns a table into the netlink messages that create all of it, the
// table's own message first, in an order in which each message names only what
// earlier ones made. The same table gives the same messages.
func compile(t ruleset.Table) ([]netlink.Message, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	var batch []netlink.Message
	conn, err := nftables.New(nftables.WithTestDial(func(req []netlink.Message) ([]netlink.Message, error) {
		batch = append(batch, req...)
		return nil, nil
	}))
	if err != nil {
		return nil, err
	}
	typeofs, err := addTable(conn, t)
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	if err := conn.Flush(); err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	messages := batch[1 : len(batch)-1] // less the library's own batch begin and end
	for i := range messages {
		// Length, sequence and port are set when they are sent; nobody reads
		// the copies that Echo asks for.
		messages[i].Header = netlink.Header{Type: messages[i].Header.Type, Flags: messages[i].Header.Flags &^ netlink.Echo}
	}
	if t.Comment != "" {
		messages[0].Data = append(messages[0].Data, tableComment(t.Comment)...)
	}
	if err := setTypeofs(messages, typeofs); err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	if err := setDevices(messages, t.Chains); err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	return messages, nil
}

// addTable hands all of a table to the library. It gives the user data that sets
// of raw fields need beside (see typeofRaw), by the sets' identifiers.
func addTable(conn *nftables.Conn, t ruleset.Table) (map[uint32][]byte, error) {
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: t.Name})
	for _, c := range t.Counters {
		conn.AddObj(&nftables.NamedObj{Table: table, Name: c, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
	}
	sets := map[string]*nftables.Set{}
	for _, s := range t.Sets {
		set, elements, err := compileSet(table, s)
		if err != nil {
			return nil, fmt.Errorf("set %q: %w", s.Name, err)
		}
		if err := conn.AddSet(set, elements); err != nil {
			return nil, fmt.Errorf("set %q: %w", s.Name, err)
		}
		sets[s.Name] = set
	}
	chains := make([]*nftables.Chain, len(t.Chains))
	for i, c := range t.Chains {
		chains[i] = conn.AddChain(compileChain(table, c))
	}
	rules := ruleCompiler{conn: conn, table: table, sets: sets, typeofs: map[uint32][]byte{}}
	for i, c := range t.Chains {
		for _, r := range c.Rules {
			exprs, err := rules.compile(r)
			if err != nil {
				return nil, fmt.Errorf("chain %q: rule %q: %w", c.Name, r, err)
			}
			rule := &nftables.Rule{Table: table, Chain: chains[i], Exprs: exprs}
			if r.Comment != "" {
				rule.UserData = userdata.AppendString(nil, userdata.TypeComment, r.Comment)
			}
			conn.AddRule(rule)
		}
	}
	return rules.typeofs, nil
}

func compileChain(table *nftables.Table, c ruleset.Chain) *nftables.Chain {
	chain := &nftables.Chain{Table: table, Name: c.Name}
	if c.Hook == nil {
		return chain
	}
	policy := nftables.ChainPolicyDrop
	chain.Type = nftables.ChainTypeFilter
	chain.Hooknum = nftables.ChainHookIngress
	if c.Hook.Type == ruleset.Egress {
		chain.Hooknum = nftables.ChainHookEgress
	}
	chain.Priority = nftables.ChainPriorityRef(nftables.ChainPriority(c.Hook.Priority))
	chain.Policy = &policy
	chain.Device = c.Hook.Device
	return chain
}

var setTypes = map[ruleset.Type]nftables.SetDatatype{
	ruleset.TypeEtherType:   nftables.TypeEtherType,
	ruleset.TypeEtherAddr:   nftables.TypeEtherAddr,
	ruleset.TypeIPv4:        nftables.TypeIPAddr,
	ruleset.TypeIPv6:        nftables.TypeIP6Addr,
	ruleset.TypeInetProto:   nftables.TypeInetProto,
	ruleset.TypeICMP:        nftables.TypeICMPType,
	ruleset.TypeICMPv6:      nftables.TypeICMP6Type,
	ruleset.TypeInetService: nftables.TypeInetService,
}

func compileSet(table *nftables.Table, s ruleset.Set) (*nftables.Set, []nftables.SetElement, error) {
	types := make([]nftables.SetDatatype, len(s.Key))
	for i, t := range s.Key {
		datatype, ok := setTypes[t]
		if !ok {
			return nil, nil, fmt.Errorf("no sets of type %q", t)
		}
		types[i] = datatype
	}
	set := &nftables.Set{Table: table, Name: s.Name, Interval: s.Interval, Size: uint32(s.Size()), KeyType: types[0], KeyByteOrder: binaryutil.BigEndian}
	if len(types) == 1 {
		return set, keyElements(s), nil
	}
	concat, err := nftables.ConcatSetType(types...)
	if err != nil {
		return nil, nil, err
	}
	set.KeyType, set.Concatenation = concat, true
	return set, concatElements(s), nil
}

// keyElements gives the elements of a set of single values. In an interval set
// the kernel (net/netfilter/nft_set_rbtree.c) takes a range as two elements, its
// start and, unless it runs to the last value there is, the value after its
// end.
func keyElements(s ruleset.Set) []nftables.SetElement {
	var out []nftables.SetElement
	for _, e := range s.Elements {
		out = append(out, nftables.SetElement{Key: e.From[0]})
		if !s.Interval {
			continue
		}
		if end, ok := successor(e.To[0]); ok {
			out = append(out, nftables.SetElement{Key: end, IntervalEnd: true})
		}
	}
	return out
}

// concatElements gives the elements of a set of joined values, each value padded
// to 32 bits (net/netfilter/nft_set_pipapo.c).
func concatElements(s ruleset.Set) []nftables.SetElement {
	var out []nftables.SetElement
	for _, e := range s.Elements {
		element := nftables.SetElement{Key: join(e.From)}
		if s.Interval {
			element.KeyEnd = join(e.To)
		}
		out = append(out, element)
	}
	return out
}

func join(values [][]byte) []byte {
	var b []byte
	for _, v := range values {
		b = append(b, v...)
		b = append(b, make([]byte, -len(v)&3)...)
	}
	return b
}

// successor gives the value after v, or false when v is the last one.
func successor(v []byte) ([]byte, bool) {
	next := append([]byte(nil), v...)
	for i := len(next) - 1; i >= 0; i-- {
		next[i]++
		if next[i] != 0 {
			return next, true
		}
	}
	return nil, false
}

// A ruleCompiler turns a table's rules into expressions, and adds the anonymous
// sets that they bring along.
type ruleCompiler struct {
	conn    *nftables.Conn
	table   *nftables.Table
	sets    map[string]*nftables.Set // the table's named sets
	typeofs map[uint32][]byte        // see addTable
}

func (c ruleCompiler) compile(r ruleset.Rule) ([]expr.Any, error) {
	var exprs []expr.Any
	for _, m := range joined(r.Dependencies()) {
		e, err := c.match(m)
		if err != nil {
			return nil, err
		}
		exprs = append(exprs, e...)
	}
	return append(exprs, compileStatements(r)...), nil
}

// joined makes one compare of those of fields beside each other, as nft does
// (src/rule.c, stmt_reduce): arp htype 1 arp ptype ip.
func joined(all []ruleset.Match) []ruleset.Match {
	const longest = 16 // bytes, of a register
	out := all[:0]
	for _, m := range all {
		next, ok := m.(ruleset.Compare)
		if ok && len(out) > 0 {
			last, ok := out[len(out)-1].(ruleset.Compare)
			size := last.Field.Size + next.Field.Size
			if ok && last.Op == ruleset.Equal && next.Op == ruleset.Equal && size <= longest &&
				last.Field.Base != ruleset.Meta && last.Field.Base == next.Field.Base && last.Field.Offset+last.Field.Size == next.Field.Offset {
				out[len(out)-1] = ruleset.Compare{
					Field: ruleset.Raw(last.Field.Base, last.Field.Offset, size), Op: ruleset.Equal,
					Value: slices.Concat(last.Value, next.Value),
				}
				continue
			}
		}
		out = append(out, m)
	}
	return out
}

func compileStatements(r ruleset.Rule) []expr.Any {
	var exprs []expr.Any
	if r.Limit > 0 {
		// limit rate 5/second burst 5 packets
		exprs = append(exprs, &expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(r.Limit), Unit: expr.LimitTimeSecond, Burst: uint32(r.Limit)})
	}
	if r.Log != "" {
		// log prefix "…" level info
		exprs = append(exprs, &expr.Log{
			Key: 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_LEVEL, Data: []byte(r.Log), Level: expr.LogLevelInfo,
		})
	}
	if r.Counter != "" {
		// counter name "…"
		exprs = append(exprs, &expr.Objref{Type: int(nftables.ObjTypeCounter), Name: r.Counter})
	}
	if r.Mark != nil {
		// meta mark set 0x…
		exprs = append(exprs,
			&expr.Immediate{Register: register, Data: binaryutil.NativeEndian.PutUint32(*r.Mark)},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register})
	}
	switch {
	case r.Verdict == ruleset.Accept:
		exprs = append(exprs, &expr.Verdict{Kind: expr.VerdictAccept})
	case r.Verdict == ruleset.Drop:
		exprs = append(exprs, &expr.Verdict{Kind: expr.VerdictDrop})
	case r.Verdict.Chain() != "":
		exprs = append(exprs, &expr.Verdict{Kind: expr.VerdictGoto, Chain: r.Verdict.Chain()})
	}
	return exprs
}

// oneOf adds the set of a OneOf match, which belongs to its rule alone, and looks
// it up: @th,64,128 { 0xfe80…01, 0xfe80…02 }.
func (c ruleCompiler) oneOf(m ruleset.OneOf) ([]expr.Any, error) {
	datatype, known := setTypes[m.Field.Type]
	if !known {
		datatype = nftables.TypeInteger
		datatype.Bytes = m.Field.Size
	}
	set := &nftables.Set{Table: c.table, Anonymous: true, Constant: true, Interval: m.Ranges(), KeyType: datatype, KeyByteOrder: binaryutil.BigEndian}
	elements := keyElements(ruleset.Set{Interval: m.Ranges(), Elements: m.Elements})
	if err := c.conn.AddSet(set, elements); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Field, err)
	}
	if m.Field.Type == ruleset.TypeRaw {
		c.typeofs[set.ID] = typeofRaw(m.Field)
	}
	return append(load(m.Field, m.Field.Size, register),
		&expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID, Invert: m.Not}), nil
}

// register is the register that matches work in; fields of a concatenation
// follow each other from it on, each padded to 32 bits.
const register = 1

var cmpOps = map[ruleset.Op]expr.CmpOp{
	ruleset.Equal: expr.CmpOpEq, ruleset.NotEqual: expr.CmpOpNeq,
	ruleset.Less: expr.CmpOpLt, ruleset.GreaterEqual: expr.CmpOpGte,
}

func (c ruleCompiler) match(m ruleset.Match) ([]expr.Any, error) {
	switch m := m.(type) {
	case ruleset.Compare:
		// ip daddr 192.0.2.1
		return compare(load(m.Field, m.Field.Size, register), m.Op, m.Value)
	case ruleset.InPrefix:
		return compilePrefix(m), nil
	case ruleset.Masked:
		// ip frag-off & 8191 == 0
		mask := &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: m.Field.Size, Mask: m.Mask, Xor: make([]byte, m.Field.Size)}
		return compare([]expr.Any{load(m.Field, m.Field.Size, register)[0], mask}, m.Op, m.Value)
	case ruleset.Between:
		// th dport 80-90
		return append(load(m.Field, m.Field.Size, register),
			&expr.Cmp{Op: expr.CmpOpGte, Register: register, Data: m.From},
			&expr.Cmp{Op: expr.CmpOpLte, Register: register, Data: m.To}), nil
	case ruleset.OneOf:
		return c.oneOf(m)
	case ruleset.Lookup:
		return compileLookup(m, c.sets[m.Set]), nil
	default:
		return nil, fmt.Errorf("unknown kind of match %T", m)
	}
}

func compare(loaded []expr.Any, op ruleset.Op, value []byte) ([]expr.Any, error) {
	cmp, ok := cmpOps[op]
	if !ok {
		return nil, fmt.Errorf("unknown operator %q", op)
	}
	return append(loaded, &expr.Cmp{Op: cmp, Register: register, Data: value}), nil
}

// compilePrefix loads only the prefix's bytes when it ends at a byte, as nft
// does (ip daddr 192.168.0.0/16), and masks otherwise (ip6 daddr fe80::/10).
func compilePrefix(m ruleset.InPrefix) []expr.Any {
	op := expr.CmpOpEq
	if m.Not {
		op = expr.CmpOpNeq
	}
	length := m.Prefix.Bits()
	network := m.Prefix.Masked().Addr().AsSlice()
	if length%8 == 0 {
		size := uint32(length / 8)
		return append(load(m.Field, size, register), &expr.Cmp{Op: op, Register: register, Data: network[:size]})
	}
	return append(load(m.Field, m.Field.Size, register),
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: m.Field.Size, Mask: ruleset.Netmask(m.Prefix), Xor: make([]byte, m.Field.Size)},
		&expr.Cmp{Op: op, Register: register, Data: network})
}

// compileLookup joins the fields in consecutive registers and looks them up:
// ip daddr . meta l4proto . th dport @services.
func compileLookup(m ruleset.Lookup, set *nftables.Set) []expr.Any {
	var exprs []expr.Any
	next := uint32(register)
	for _, f := range m.Fields {
		exprs = append(exprs, load(f, f.Size, next)...)
		next = following(next, f.Size)
	}
	return append(exprs, &expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID, Invert: m.Not})
}

// following gives the 32-bit register after a value of that many bytes. Register
// 1 is the first 16-byte register and begins where the 32-bit register 8 does
// (include/uapi/linux/netfilter/nf_tables.h, enum nft_registers).
func following(reg, size uint32) uint32 {
	if reg == register {
		reg = 8
	}
	return reg + (size+3)/4
}

var payloadBases = map[ruleset.Base]expr.PayloadBase{
	ruleset.LinkHeader:      expr.PayloadBaseLLHeader,
	ruleset.NetworkHeader:   expr.PayloadBaseNetworkHeader,
	ruleset.TransportHeader: expr.PayloadBaseTransportHeader,
}

var metaKeys = map[string]expr.MetaKey{
	"protocol": expr.MetaKeyPROTOCOL,
	"l4proto":  expr.MetaKeyL4PROTO,
	"iiftype":  expr.MetaKeyIIFTYPE,
	"mark":     expr.MetaKeyMARK,
	"iif":      expr.MetaKeyIIF,
	"oif":      expr.MetaKeyOIF,
	"iifkind":  metaKeyInputKind,
	"oifkind":  metaKeyOutputKind,
}

// Keys that the library has no name for (include/uapi/linux/netfilter/nf_tables.h,
// enum nft_meta_keys).
const (
	metaKeyInputKind  expr.MetaKey = 26
	metaKeyOutputKind expr.MetaKey = 27
)

// load reads the first size bytes of a field into a register.
func load(f ruleset.Field, size, reg uint32) []expr.Any {
	if f.Base == ruleset.Meta {
		return []expr.Any{&expr.Meta{Key: metaKeys[f.Name], Register: reg}}
	}
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: payloadBases[f.Base], Offset: f.Offset, Len: size}}
}
