package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// rule reads a rule and the name of its chain.
func (r *reader) rule(b []byte, all sets) (chain string, rule ruleset.Rule) {
	var said string
	var expressions []byte
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_RULE_CHAIN:
			chain = text(value)
		case unix.NFTA_RULE_EXPRESSIONS:
			expressions = value
		case unix.NFTA_RULE_USERDATA:
			said = comment(value, byte(userdata.TypeComment))
		}
	}
	// Most rules of one device's table are rules of the next one's.
	rule, ok := r.known[string(expressions)]
	if !ok {
		d := decoder{sets: all}
		rule = d.rule(expressions)
		if !d.own {
			r.known[string(expressions)] = rule
		}
	}
	if rule.Comment = said; said != "" && rule.Unknown != "" {
		rule.Unknown += fmt.Sprintf(" comment %q", said)
	}
	return chain, rule
}

// A decoder turns a rule's expressions back into matches and statements: the
// inverse of ruleCompiler. It follows the registers as the kernel does.
type decoder struct {
	sets      sets
	registers [registers]operand // by 32-bit register
	out       ruleset.Rule
	reached   part
	unknown   []string
	own       bool // the rule has a set of its own
}

// registers is how many 32-bit registers there are, the verdict's four included
// (include/net/netfilter/nf_tables.h, NFT_REG32_NUM).
const registers = 20

// An operand is what a register holds: a field, under a mask if there is one, or a
// constant.
type operand struct {
	field    ruleset.Field
	mask     []byte
	constant []byte
	used     bool
}

// A part is a kind of statement; a rule has its parts in this order.
type part int

const (
	matches part = iota
	update
	limit
	log
	counter
	mark
	write
	verdict
)

// What an immediate's verdict and a chain's policy say
// (include/uapi/linux/netfilter.h).
const (
	verdictDrop   = 0
	verdictAccept = 1
)

// An expression is one of a rule's, with the attributes that matter to one kind or
// another by their numbers.
type expression struct {
	name       string
	attributes [11][]byte
	all        []byte
}

func (e expression) number(kind int) uint64 { return number(e.attributes[kind]) }
func (e expression) has(kind int) bool      { return e.attributes[kind] != nil }

// rule decodes a rule's expressions. What it does not understand makes the whole
// rule unknown.
func (d *decoder) rule(b []byte) ruleset.Rule {
	for _, element := range attributes(b) {
		var e expression
		for kind, value := range attributes(element) {
			switch kind {
			case unix.NFTA_EXPR_NAME:
				e.name = text(value)
			case unix.NFTA_EXPR_DATA:
				e.all = value
			}
		}
		for kind, value := range attributes(e.all) {
			if int(kind) < len(e.attributes) {
				e.attributes[kind] = value
			}
		}
		if !d.expression(e) {
			d.unknown = append(d.unknown, e.String())
		}
	}
	for n := range d.registers {
		d.unload(n)
	}
	rule := ruleset.FromKernel(d.out)
	if len(d.unknown) > 0 {
		// A rule is its matches, then its statements; what is unknown stands
		// in between.
		statements := rule
		statements.Matches = nil
		words := append([]string{ruleset.Rule{Matches: rule.Matches}.String()}, d.unknown...)
		words = append(words, statements.String())
		return ruleset.Rule{Unknown: strings.Join(strings.Fields(strings.Join(words, " ")), " ")}
	}
	return rule
}

// String writes an expression that is not understood: its name, and its attributes
// by their numbers. What changes with each frame is left out.
func (e expression) String() string {
	words := []string{e.name}
	if e.name != "counter" && e.name != "quota" && e.name != "last" {
		for kind, value := range attributes(e.all) {
			words = append(words, fmt.Sprintf("%d=%x", kind, value))
		}
	}
	return "[" + strings.Join(words, " ") + "]"
}

// expression takes in one expression, and reports whether it is one that the
// model has, where the model has it.
func (d *decoder) expression(e expression) bool {
	switch e.name {
	case "payload":
		return d.payload(e)
	case "meta":
		field, ok := metaFields[uint32(e.number(unix.NFTA_META_KEY))]
		if e.has(unix.NFTA_META_SREG) {
			return field == ruleset.PacketMark && d.setMark(e.number(unix.NFTA_META_SREG))
		}
		return ok && d.load(e.number(unix.NFTA_META_DREG), field)
	case "bitwise":
		return d.bitwise(e)
	case "cmp":
		return d.cmp(e)
	case "byteorder":
		// nft turns bytes round in joined fields, of one byte, too: nothing
		// happens (net/netfilter/nft_byteorder.c).
		return e.number(unix.NFTA_BYTEORDER_LEN) == 1
	case "range":
		return d.between(e)
	case "lookup":
		return d.lookup(e)
	case "dynset":
		return d.update(e)
	case "limit":
		return d.limit(e)
	case "log":
		return d.log(e)
	case "objref":
		d.out.Counter = text(e.attributes[unix.NFTA_OBJREF_IMM_NAME])
		return e.number(unix.NFTA_OBJREF_IMM_TYPE) == unix.NFT_OBJECT_COUNTER && d.next(counter)
	case "immediate":
		if value := data(e.attributes[unix.NFTA_IMMEDIATE_DATA]); value != nil {
			return d.constant(e.number(unix.NFTA_IMMEDIATE_DREG), value)
		}
		return d.verdict(e)
	}
	return false
}

// next goes on to a part of the rule, and reports whether it may come now.
func (d *decoder) next(p part) bool {
	inOrder := p > d.reached || p == d.reached && (p == matches || p == update || p == write)
	d.reached = max(d.reached, p)
	return inOrder
}

// metaFields are the fields of compile's metaKeys.
var metaFields = map[uint32]ruleset.Field{
	unix.NFT_META_PROTOCOL:    ruleset.Protocol,
	unix.NFT_META_L4PROTO:     ruleset.L4Proto,
	unix.NFT_META_IIFTYPE:     ruleset.DeviceType,
	unix.NFT_META_MARK:        ruleset.PacketMark,
	unix.NFT_META_IIF:         ruleset.InputIndex,
	unix.NFT_META_OIF:         ruleset.OutputIndex,
	uint32(metaKeyInputKind):  ruleset.InputKind,
	uint32(metaKeyOutputKind): ruleset.OutputKind,
}

// slot gives the 32-bit register of a number in a message: 1 to 4 are registers of
// 16 bytes, 8 and above of four (net/netfilter/nf_tables_api.c,
// nft_parse_register). 0, the verdict's, is never a value's.
func slot(register uint64) int {
	const wide = 4
	switch {
	case register <= wide:
		return int(register) * wide
	case register >= 8 && register < 8+registers-wide:
		return int(register) - wide
	}
	return 0
}

// load puts a field into a register.
func (d *decoder) load(register uint64, f ruleset.Field) bool {
	return d.put(register, operand{field: f}) && (d.reached <= update || d.reached == write) // matches, and more than one update or write
}

// constant puts a constant into a register.
func (d *decoder) constant(register uint64, value []byte) bool {
	constant := ruleset.Word(string(bytes.TrimRight(value, "\x00")))
	constant.Size = uint32(len(value))
	return d.put(register, operand{field: constant, constant: bytes.Clone(value)})
}

// setMark is meta mark set, of a constant.
func (d *decoder) setMark(register uint64) bool {
	o := d.registers[slot(register)]
	if len(o.constant) != int(ruleset.PacketMark.Size) {
		return false
	}
	d.registers[slot(register)].used = true
	d.out.Mark = new(binary.NativeEndian.Uint32(o.constant))
	return d.next(mark)
}

func (d *decoder) put(register uint64, loaded operand) bool {
	n, f := slot(register), loaded.field
	if n == 0 || f.Size == 0 || n+padded(int(f.Size))/4 > registers {
		return false
	}
	for i, o := range d.registers {
		if o.field.Size > 0 && i < n+padded(int(f.Size))/4 && n < i+padded(int(o.field.Size))/4 {
			d.unload(i)
		}
	}
	d.registers[n] = loaded
	return true
}

// unload empties a register. A field that nothing looked at matters all the same:
// the rule ends where the frame does not have it.
func (d *decoder) unload(n int) {
	if o := d.registers[n]; o.field.Size > 0 && !o.used {
		d.unknown = append(d.unknown, "["+o.field.String()+"]")
	}
	d.registers[n] = operand{}
}

func (d *decoder) payload(e expression) bool {
	var base ruleset.Base
	switch e.number(unix.NFTA_PAYLOAD_BASE) {
	case unix.NFT_PAYLOAD_LL_HEADER:
		base = ruleset.LinkHeader
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		base = ruleset.NetworkHeader
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		base = ruleset.TransportHeader
	default:
		return false
	}
	offset, size := e.number(unix.NFTA_PAYLOAD_OFFSET), e.number(unix.NFTA_PAYLOAD_LEN)
	field := ruleset.Raw(base, uint32(offset), uint32(size))
	if e.has(unix.NFTA_PAYLOAD_SREG) {
		return d.write(e, field)
	}
	return d.load(e.number(unix.NFTA_PAYLOAD_DREG), field)
}

// write changes bytes of the frame, and no checksum: @nh,192,32 set @nh,112,32.
func (d *decoder) write(e expression, to ruleset.Field) bool {
	o := &d.registers[slot(e.number(unix.NFTA_PAYLOAD_SREG))]
	if o.field.Size != to.Size || o.mask != nil || e.number(unix.NFTA_PAYLOAD_CSUM_TYPE) != 0 || e.number(unix.NFTA_PAYLOAD_CSUM_FLAGS) != 0 {
		return false
	}
	o.used = true
	w := ruleset.Write{To: to, Value: o.constant}
	if o.constant == nil {
		w.From = o.field
	}
	d.out.Writes = append(d.out.Writes, w)
	return d.next(write)
}

// operand gives what is in a register, if it is a value of that size.
func (d *decoder) operand(register uint64, size int) *operand {
	o := &d.registers[slot(register)]
	if size == 0 || int(o.field.Size) != size || o.constant != nil {
		return nil
	}
	o.used = true
	return o
}

// bitwise masks: ip frag-off & 8191.
func (d *decoder) bitwise(e expression) bool {
	const operation = 6 // NFTA_BITWISE_OP, 0 for masks
	mask, xor := data(e.attributes[unix.NFTA_BITWISE_MASK]), data(e.attributes[unix.NFTA_BITWISE_XOR])
	o := d.operand(e.number(unix.NFTA_BITWISE_SREG), len(mask))
	if o == nil || o.mask != nil || e.number(operation) != 0 || len(bytes.Trim(xor, "\x00")) > 0 ||
		e.number(unix.NFTA_BITWISE_SREG) != e.number(unix.NFTA_BITWISE_DREG) {
		return false
	}
	o.used, o.mask = false, bytes.Clone(mask)
	return d.next(matches)
}

// data gives the value in an attribute that holds one.
func data(b []byte) []byte { return nested(b, unix.NFTA_DATA_VALUE) }

var cmpNames = map[uint64]ruleset.Op{
	unix.NFT_CMP_EQ: ruleset.Equal, unix.NFT_CMP_NEQ: ruleset.NotEqual,
	unix.NFT_CMP_LT: ruleset.Less, unix.NFT_CMP_GTE: ruleset.GreaterEqual,
}

func (d *decoder) cmp(e expression) bool {
	value := bytes.Clone(data(e.attributes[unix.NFTA_CMP_DATA]))
	o := d.operand(e.number(unix.NFTA_CMP_SREG), len(value))
	if o == nil {
		return false
	}
	op, ok := cmpNames[e.number(unix.NFTA_CMP_OP)]
	if e.number(unix.NFTA_CMP_OP) == unix.NFT_CMP_LTE {
		return d.upTo(o, value)
	}
	if !ok {
		return false
	}
	if o.mask != nil {
		return d.match(ruleset.Masked{Field: o.field, Mask: o.mask, Op: op, Value: value})
	}
	return d.match(ruleset.Compare{Field: o.field, Op: op, Value: value})
}

func (d *decoder) match(m ruleset.Match) bool {
	d.out.Matches = append(d.out.Matches, m)
	return d.next(matches)
}

// upTo makes a range of the compare before, its lower bound: th dport 80-90.
func (d *decoder) upTo(o *operand, value []byte) bool {
	last := len(d.out.Matches) - 1
	if last < 0 {
		return false
	}
	lower, ok := d.out.Matches[last].(ruleset.Compare)
	if !ok || lower.Field != o.field || lower.Op != ruleset.GreaterEqual || o.mask != nil {
		return false
	}
	d.out.Matches[last] = ruleset.Between{Field: o.field, From: lower.Value, To: value}
	return d.next(matches)
}

// between is a range in one expression.
func (d *decoder) between(e expression) bool {
	from, to := bytes.Clone(data(e.attributes[unix.NFTA_RANGE_FROM_DATA])), bytes.Clone(data(e.attributes[unix.NFTA_RANGE_TO_DATA]))
	o := d.operand(e.number(unix.NFTA_RANGE_SREG), len(from))
	if o == nil || o.mask != nil || len(from) != len(to) || e.number(unix.NFTA_RANGE_OP) != unix.NFT_RANGE_EQ {
		return false
	}
	return d.match(ruleset.Between{Field: o.field, From: from, To: to})
}

// lookup is a match with a set: the table's, of one or more fields in consecutive
// registers, or the rule's own, of one.
func (d *decoder) lookup(e expression) bool {
	name := text(e.attributes[unix.NFTA_LOOKUP_SET])
	s := d.sets[name]
	if s == nil {
		return false
	}
	d.own = d.own || s.anonymous()
	not := e.number(unix.NFTA_LOOKUP_FLAGS)
	if e.has(unix.NFTA_LOOKUP_DREG) || not > unix.NFT_LOOKUP_F_INV {
		return false
	}
	fields := d.joined(slot(e.number(unix.NFTA_LOOKUP_SREG)), s.keySize)
	switch {
	case fields == nil, slices.ContainsFunc(fields, func(f ruleset.Field) bool { return f.Base == ruleset.Constant }):
		return false
	case !s.anonymous():
		return d.match(ruleset.Lookup{Fields: fields, Not: not != 0, Set: name})
	case len(fields) > 1 || len(s.unknown) > 0:
		return false
	}
	elements := s.split([]int{s.keySize})
	return d.match(ruleset.OneOf{Field: fields[0], Not: not != 0, Elements: elements})
}

// update adds fields to a named set of the table, or takes them out: update @routers { ether saddr }.
func (d *decoder) update(e expression) bool {
	const expressions = 10 // NFTA_DYNSET_EXPRESSIONS, of each element
	s := d.sets[text(e.attributes[unix.NFTA_DYNSET_SET_NAME])]
	op := e.number(unix.NFTA_DYNSET_OP)
	if s == nil || s.anonymous() || op != unix.NFT_DYNSET_OP_UPDATE && op != dynsetDelete ||
		e.has(unix.NFTA_DYNSET_SREG_DATA) || e.has(expressions) || e.number(unix.NFTA_DYNSET_FLAGS) != 0 {
		return false
	}
	u := ruleset.Update{Set: s.name, Delete: op == dynsetDelete, Timeout: time.Duration(e.number(unix.NFTA_DYNSET_TIMEOUT)) * time.Millisecond}
	u.Fields = d.joined(slot(e.number(unix.NFTA_DYNSET_SREG_KEY)), s.keySize)
	if u.Fields == nil || e.has(unix.NFTA_DYNSET_EXPR) && !each(&u, e.attributes[unix.NFTA_DYNSET_EXPR]) {
		return false
	}
	d.out.Updates = append(d.out.Updates, u)
	return d.next(update)
}

// each reads what each element of a set does: counter, limit rate 1/week burst 1 packets.
func each(u *ruleset.Update, b []byte) bool {
	data := nested(b, unix.NFTA_EXPR_DATA)
	switch text(nested(b, unix.NFTA_EXPR_NAME)) {
	case "counter":
		u.Count = true
		return true
	case "limit":
		value := func(kind uint16) uint64 { return number(nested(data, kind)) }
		u.Share = ruleset.Share{Rate: int(value(unix.NFTA_LIMIT_RATE)), Burst: int(value(unix.NFTA_LIMIT_BURST)), Unit: time.Duration(value(unix.NFTA_LIMIT_UNIT)) * time.Second}
		u.Share.Over = value(unix.NFTA_LIMIT_FLAGS)&unix.NFT_LIMIT_F_INV != 0
		return value(unix.NFTA_LIMIT_TYPE) == unix.NFT_LIMIT_PKTS && value(unix.NFTA_LIMIT_FLAGS) == limitFlags(u.Share) && shareUnits[u.Share.Unit] != 0
	}
	return false
}

// joined gives the fields in consecutive registers that are a key of that size.
func (d *decoder) joined(from, size int) []ruleset.Field {
	var fields []ruleset.Field
	for n := from; size > 0; {
		if n == 0 || n >= registers || d.registers[n].field.Size == 0 || d.registers[n].mask != nil {
			return nil
		}
		o := &d.registers[n]
		o.used = true
		fields = append(fields, o.field)
		size -= padded(int(o.field.Size))
		n += padded(int(o.field.Size)) / 4
	}
	return fields
}

// limit reads: limit rate 5/second burst 5 packets.
func (d *decoder) limit(e expression) bool {
	rate := e.number(unix.NFTA_LIMIT_RATE)
	d.out.Limit = int(rate)
	return rate > 0 && e.number(unix.NFTA_LIMIT_UNIT) == uint64(expr.LimitTimeSecond) && e.number(unix.NFTA_LIMIT_BURST) == rate &&
		e.number(unix.NFTA_LIMIT_TYPE) == unix.NFT_LIMIT_PKTS && e.number(unix.NFTA_LIMIT_FLAGS) == 0 && d.next(limit)
}

// log reads: log prefix "…" level info.
func (d *decoder) log(e expression) bool {
	d.out.Log = text(e.attributes[unix.NFTA_LOG_PREFIX])
	for _, other := range []int{unix.NFTA_LOG_GROUP, unix.NFTA_LOG_SNAPLEN, unix.NFTA_LOG_QTHRESHOLD, unix.NFTA_LOG_FLAGS} {
		if e.number(other) != 0 {
			return false
		}
	}
	return d.out.Log != "" && e.number(unix.NFTA_LOG_LEVEL) == uint64(expr.LogLevelInfo) && d.next(log)
}

func (d *decoder) verdict(e expression) bool {
	v := nested(e.attributes[unix.NFTA_IMMEDIATE_DATA], unix.NFTA_DATA_VERDICT)
	code, chain := nested(v, unix.NFTA_VERDICT_CODE), text(nested(v, unix.NFTA_VERDICT_CHAIN))
	if len(code) != 4 {
		return false
	}
	switch int32(number(code)) {
	case verdictAccept:
		d.out.Verdict = ruleset.Accept
	case verdictDrop:
		d.out.Verdict = ruleset.Drop
	case unix.NFT_GOTO:
		d.out.Verdict = ruleset.Goto(chain)
	case unix.NFT_JUMP:
		d.unknown = append(d.unknown, "jump "+chain)
	case unix.NFT_RETURN:
		d.unknown = append(d.unknown, "return")
	default:
		return false
	}
	return d.next(verdict)
}
