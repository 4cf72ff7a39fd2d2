package kernel

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"

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
	rules, typeofs, err := addTable(conn, t, map[string]*nftables.Set{})
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	if err := conn.Flush(); err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	messages := plain(batch)
	if t.Comment != "" {
		messages[0].Data = append(messages[0].Data, tableComment(t.Comment)...)
	}
	if err := setTypeofs(messages, typeofs); err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	if err := setDevices(messages, t.Chains); err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	return append(messages, rules...), nil
}

// plain gives the library's messages less its own begin and end of a transaction. Length,
// sequence and port are set when they are sent; nobody reads the copies that Echo asks for.
func plain(batch []netlink.Message) []netlink.Message {
	messages := batch[1 : len(batch)-1]
	for i := range messages {
		messages[i].Header = netlink.Header{Type: messages[i].Header.Type, Flags: messages[i].Header.Flags &^ netlink.Echo}
	}
	return messages
}

// addTable hands a table to the library, but for the rules, of which it gives the
// messages. Its rules may look into sets that stand already, too. It also gives the user data that sets of raw fields need (see
// typeofRaw and typeofJoined), by the sets' identifiers.
func addTable(conn *nftables.Conn, t ruleset.Table, sets map[string]*nftables.Set) ([]netlink.Message, map[uint32][]byte, error) {
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: t.Name})
	for _, c := range t.Counters {
		conn.AddObj(&nftables.NamedObj{Table: table, Name: c, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
	}
	typeofs := map[uint32][]byte{}
	for _, s := range t.Sets {
		set, elements, err := compileSet(table, s)
		if err != nil {
			return nil, nil, fmt.Errorf("set %q: %w", s.Name, err)
		}
		if err := conn.AddSet(set, elements); err != nil {
			return nil, nil, fmt.Errorf("set %q: %w", s.Name, err)
		}
		sets[s.Name] = set
		if s.Typeof != nil {
			typeofs[set.ID] = typeofJoined(s.Typeof)
		}
	}
	for _, c := range t.Chains {
		conn.AddChain(compileChain(table, c))
	}
	rules := ruleCompiler{conn: conn, table: table, sets: sets, typeofs: typeofs, encoded: map[string][]byte{}}
	var messages []netlink.Message
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			m, err := rules.compile(c.Name, r)
			if err != nil {
				return nil, nil, fmt.Errorf("chain %q: rule %q: %w", c.Name, r, err)
			}
			messages = append(messages, m)
		}
	}
	return messages, rules.typeofs, nil
}

func compileChain(table *nftables.Table, c ruleset.Chain) *nftables.Chain {
	chain := &nftables.Chain{Table: table, Name: c.Name}
	if c.Hook == nil {
		return chain
	}
	policy := nftables.ChainPolicyDrop
	if c.Hook.Policy == ruleset.Accept {
		policy = nftables.ChainPolicyAccept
	}
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
	ruleset.TypeInterface:   nftables.TypeIFIndex,
	ruleset.TypeKind:        nftables.TypeIFName,
}

// defaultDynamic is how many elements a set holds to which rules add, if it is declared
// without a size (net/netfilter/nft_dynset.c, nft_dynset_init). Where a size is declared,
// the kernel makes a hash table of that many at once, of 1 MiB for these
// (nft_set_hash.c, nft_rhash_init); without one it grows with the elements.
const defaultDynamic = 65535

func compileSet(table *nftables.Table, s ruleset.Set) (*nftables.Set, []nftables.SetElement, error) {
	types := make([]nftables.SetDatatype, len(s.Key))
	for i, t := range s.Key {
		datatype, ok := setTypes[t]
		switch {
		case t == ruleset.TypeRaw:
			datatype = nftables.TypeInteger
			datatype.Bytes = s.Typeof[i].Size
		case !ok:
			return nil, nil, fmt.Errorf("no sets of type %q", t)
		}
		types[i] = datatype
	}
	set := &nftables.Set{Table: table, Name: s.Name, Interval: s.Interval, Dynamic: s.Dynamic > 0, HasTimeout: s.Expires, Size: uint32(s.Size()), KeyType: types[0], KeyByteOrder: binaryutil.BigEndian}
	if s.Dynamic == defaultDynamic {
		set.Size = 0
	}
	if len(types) == 1 {
		if s.Key[0] == ruleset.TypeInterface {
			set.KeyByteOrder = binaryutil.NativeEndian // that of an index alone; nft lists it so
		}
		return set, keyElements(s), nil
	}
	concat, err := nftables.ConcatSetType(types...)
	if err != nil {
		return nil, nil, err
	}
	set.KeyType, set.Concatenation = concat, s.Interval
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
