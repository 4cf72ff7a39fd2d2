package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// A ruleCompiler turns a table's rules into messages, and adds the anonymous sets
// that they bring along. The library encodes the expressions, each kind once: most
// are in many rules, and encoding is most of the work.
type ruleCompiler struct {
	conn    *nftables.Conn
	table   *nftables.Table
	sets    map[string]*nftables.Set // the table's named sets
	typeofs map[uint32][]byte        // see addTable
	encoded map[string][]byte        // expressions, by their keys

	out []byte // the message under construction
	key []byte // of the last expression
	err error  // the first one of the rule
}

// compile gives the message that adds a rule to the end of a chain.
func (c *ruleCompiler) compile(chain string, r ruleset.Rule) (netlink.Message, error) {
	c.err = nil
	c.out = append(c.out[:0], header(unix.NFPROTO_NETDEV, 0)...)
	c.out = appendAttribute(c.out, unix.NFTA_RULE_TABLE, c.table.Name+"\x00")
	c.out = appendAttribute(c.out, unix.NFTA_RULE_CHAIN, chain+"\x00")
	begin := len(c.out)
	c.out = appendAttribute(c.out, unix.NLA_F_NESTED|unix.NFTA_RULE_EXPRESSIONS, "")
	for _, m := range joined(r.Dependencies()) {
		c.match(m)
	}
	c.statements(r)
	size := len(c.out) - begin
	if size > math.MaxUint16 {
		c.fail(fmt.Errorf("%d bytes of expressions", size))
	}
	binary.NativeEndian.PutUint16(c.out[begin:], uint16(size))
	if r.Comment != "" {
		c.out = appendAttribute(c.out, unix.NFTA_RULE_USERDATA, userdata.AppendString(nil, userdata.TypeComment, r.Comment))
	}
	return netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE),
			Flags: netlink.Request | netlink.Create | netlink.Append,
		},
		Data: slices.Clone(c.out),
	}, c.err
}

func (c *ruleCompiler) fail(err error) { c.err = errors.Join(c.err, err) }

// add adds an expression to the rule, encoded as it was the last time that c.key was
// the same.
func (c *ruleCompiler) add(build func() expr.Any) {
	encoded, ok := c.encoded[string(c.key)]
	if !ok {
		data, err := expr.Marshal(unix.NFPROTO_NETDEV, build())
		if err != nil {
			c.fail(err)
		}
		encoded = appendAttribute(nil, unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, data)
		c.encoded[string(c.key)] = encoded
	}
	c.out = append(c.out, encoded...)
}

// keyed sets c.key to what tells an expression from others: its name, its numbers
// and its value.
func keyed[V string | []byte](c *ruleCompiler, name string, value V, numbers ...uint32) {
	c.key = append(append(c.key[:0], name...), ' ')
	for _, n := range numbers {
		c.key = binary.NativeEndian.AppendUint32(c.key, n)
	}
	c.key = append(c.key, value...)
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

// register is the register that matches work in; fields of a concatenation
// follow each other from it on, each padded to 32 bits.
const register = 1

func (c *ruleCompiler) match(m ruleset.Match) {
	switch m := m.(type) {
	case ruleset.Compare:
		// ip daddr 192.0.2.1
		c.load(m.Field, m.Field.Size, register)
		c.cmp(m.Op, m.Value)
	case ruleset.InPrefix:
		c.prefix(m)
	case ruleset.Masked:
		// ip frag-off & 8191 == 0
		c.load(m.Field, m.Field.Size, register)
		c.mask(m.Mask)
		c.cmp(m.Op, m.Value)
	case ruleset.Between:
		// th dport 80-90
		c.load(m.Field, m.Field.Size, register)
		c.cmp(ruleset.GreaterEqual, m.From)
		c.cmp(lessEqual, m.To)
	case ruleset.OneOf:
		c.oneOf(m)
	case ruleset.Lookup:
		c.lookup(m)
	default:
		c.fail(fmt.Errorf("unknown kind of match %T", m))
	}
}

// lessEqual is an operator that the model has no use for but in a range.
const lessEqual ruleset.Op = "<="

var cmpOps = map[ruleset.Op]expr.CmpOp{
	ruleset.Equal: expr.CmpOpEq, ruleset.NotEqual: expr.CmpOpNeq,
	ruleset.Less: expr.CmpOpLt, ruleset.GreaterEqual: expr.CmpOpGte, lessEqual: expr.CmpOpLte,
}

func (c *ruleCompiler) cmp(op ruleset.Op, value []byte) {
	cmp, ok := cmpOps[op]
	if !ok {
		c.fail(fmt.Errorf("unknown operator %q", op))
	}
	keyed(c, "cmp", value, uint32(cmp))
	c.add(func() expr.Any { return &expr.Cmp{Op: cmp, Register: register, Data: value} })
}

func (c *ruleCompiler) mask(mask []byte) {
	keyed(c, "bitwise", mask)
	c.add(func() expr.Any {
		return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))}
	})
}

// prefix loads only the prefix's bytes when it ends at a byte, as nft does (ip daddr
// 192.168.0.0/16), and masks otherwise (ip6 daddr fe80::/10).
func (c *ruleCompiler) prefix(m ruleset.InPrefix) {
	op := ruleset.Equal
	if m.Not {
		op = ruleset.NotEqual
	}
	length := m.Prefix.Bits()
	network := m.Prefix.Masked().Addr().AsSlice()
	if length%8 == 0 {
		c.load(m.Field, uint32(length/8), register)
		c.cmp(op, network[:length/8])
		return
	}
	c.load(m.Field, m.Field.Size, register)
	c.mask(ruleset.Netmask(m.Prefix))
	c.cmp(op, network)
}

// oneOf adds the set of a OneOf match, which belongs to its rule alone, and looks
// it up: @th,64,128 { 0xfe80…01, 0xfe80…02 }.
func (c *ruleCompiler) oneOf(m ruleset.OneOf) {
	datatype, known := setTypes[m.Field.Type]
	if !known {
		datatype = nftables.TypeInteger
		datatype.Bytes = m.Field.Size
	}
	set := &nftables.Set{Table: c.table, Anonymous: true, Constant: true, Interval: m.Ranges(), KeyType: datatype, KeyByteOrder: binaryutil.BigEndian}
	elements := keyElements(ruleset.Set{Interval: m.Ranges(), Elements: m.Elements})
	if err := c.conn.AddSet(set, elements); err != nil {
		c.fail(fmt.Errorf("%s: %w", m.Field, err))
	}
	if m.Field.Type == ruleset.TypeRaw {
		c.typeofs[set.ID] = typeofRaw(m.Field)
	}
	c.load(m.Field, m.Field.Size, register)
	c.find(set, m.Not)
}

// lookup joins the fields in consecutive registers and looks them up: ip daddr .
// meta l4proto . th dport @services.
func (c *ruleCompiler) lookup(m ruleset.Lookup) {
	c.join(m.Fields)
	c.find(c.sets[m.Set], m.Not)
}

// join loads fields into consecutive registers.
func (c *ruleCompiler) join(fields []ruleset.Field) {
	next := uint32(register)
	for _, f := range fields {
		c.load(f, f.Size, next)
		next = following(next, f.Size)
	}
}

func (c *ruleCompiler) find(set *nftables.Set, not bool) {
	keyed(c, map[bool]string{false: "lookup", true: "lookup !="}[not], set.Name, set.ID)
	c.add(func() expr.Any {
		return &expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID, Invert: not}
	})
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
func (c *ruleCompiler) load(f ruleset.Field, size, reg uint32) {
	if f.Base == ruleset.Constant {
		keyed(c, "constant", f.Name, reg)
		c.add(func() expr.Any { return &expr.Immediate{Register: reg, Data: f.Value()} })
		return
	}
	if f.Base == ruleset.Meta {
		keyed(c, "meta", f.Name, reg)
		c.add(func() expr.Any { return &expr.Meta{Key: metaKeys[f.Name], Register: reg} })
		return
	}
	base := payloadBases[f.Base]
	keyed(c, "payload", "", uint32(base), f.Offset, size, reg)
	c.add(func() expr.Any { return &expr.Payload{DestRegister: reg, Base: base, Offset: f.Offset, Len: size} })
}

// statements adds what a rule does when its matches hold.
func (c *ruleCompiler) statements(r ruleset.Rule) {
	for _, u := range r.Updates {
		// update @routers { ether saddr }
		c.update(u)
	}
	if r.Limit > 0 {
		// limit rate 5/second burst 5 packets
		keyed(c, "limit", "", uint32(r.Limit))
		c.add(func() expr.Any {
			return &expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(r.Limit), Unit: expr.LimitTimeSecond, Burst: uint32(r.Limit)}
		})
	}
	if r.Log != "" {
		// log prefix "…" level info
		keyed(c, "log", r.Log)
		c.add(func() expr.Any {
			return &expr.Log{Key: 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_LEVEL, Data: []byte(r.Log), Level: expr.LogLevelInfo}
		})
	}
	if r.Counter != "" {
		// counter name "…"
		keyed(c, "objref", r.Counter)
		c.add(func() expr.Any { return &expr.Objref{Type: int(nftables.ObjTypeCounter), Name: r.Counter} })
	}
	if r.Mark != nil {
		// meta mark set 0x…
		keyed(c, "immediate", "", *r.Mark)
		c.add(func() expr.Any {
			return &expr.Immediate{Register: register, Data: binaryutil.NativeEndian.PutUint32(*r.Mark)}
		})
		keyed(c, "meta set", "")
		c.add(func() expr.Any { return &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register} })
	}
	for _, w := range r.Writes {
		// @nh,192,32 set @nh,112,32
		c.write(w)
	}
	if r.Verdict != (ruleset.Verdict{}) {
		keyed(c, "verdict", r.Verdict.String())
		c.add(func() expr.Any { return verdictOf(r.Verdict) })
	}
}

func (c *ruleCompiler) update(u ruleset.Update) {
	set := c.sets[u.Set]
	c.join(u.Fields)
	var each []expr.Any
	if u.Count {
		each = append(each, &expr.Counter{})
	}
	if s := u.Share; s != (ruleset.Share{}) {
		each = append(each, &expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(s.Rate), Unit: shareUnits[s.Unit], Burst: uint32(s.Burst), Over: s.Over})
	}
	op := uint32(unix.NFT_DYNSET_OP_UPDATE)
	if u.Delete {
		op = dynsetDelete
	}
	keyed(c, "dynset", set.Name, set.ID, op, uint32(len(each)), uint32(u.Timeout.Milliseconds()), uint32(u.Share.Rate), uint32(u.Share.Burst), uint32(u.Share.Unit/time.Second), uint32(limitFlags(u.Share)))
	c.add(func() expr.Any {
		return &expr.Dynset{SrcRegKey: register, SetName: set.Name, SetID: set.ID, Operation: op, Timeout: u.Timeout, Exprs: each}
	})
}

// limitFlags are those of expression limit (include/uapi/linux/netfilter/nf_tables.h, enum
// nft_limit_flags).
func limitFlags(s ruleset.Share) uint64 {
	if s.Over {
		return unix.NFT_LIMIT_F_INV
	}
	return 0
}

// write changes bytes of the frame.
func (c *ruleCompiler) write(w ruleset.Write) {
	if w.Value == nil {
		c.load(w.From, w.From.Size, register)
	} else {
		keyed(c, "immediate bytes", w.Value)
		c.add(func() expr.Any { return &expr.Immediate{Register: register, Data: w.Value} })
	}
	base := payloadBases[w.To.Base]
	keyed(c, "payload write", "", uint32(base), w.To.Offset, w.To.Size)
	c.add(func() expr.Any {
		return &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: register, Base: base, Offset: w.To.Offset, Len: w.To.Size}
	})
}

// dynsetDelete is an operation of expression dynset that package unix lacks
// (include/uapi/linux/netfilter/nf_tables.h, enum nft_dynset_ops).
const dynsetDelete = 2

// shareUnits are the kernel's of a share.
var shareUnits = map[time.Duration]expr.LimitTime{time.Second: expr.LimitTimeSecond, ruleset.Day: expr.LimitTimeDay, ruleset.Week: expr.LimitTimeWeek}

func verdictOf(v ruleset.Verdict) *expr.Verdict {
	switch v {
	case ruleset.Accept:
		return &expr.Verdict{Kind: expr.VerdictAccept}
	case ruleset.Drop:
		return &expr.Verdict{Kind: expr.VerdictDrop}
	}
	return &expr.Verdict{Kind: expr.VerdictGoto, Chain: v.Chain()}
}
