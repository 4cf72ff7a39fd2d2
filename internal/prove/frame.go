package prove

import (
	"encoding/binary"

	"macvtap-filter/internal/ruleset"
)

const (
	etherHeader = 14
	vlanHeader  = 4
	ipv4Header  = 20
	ipv6Header  = 40

	protocol8022 = 0x0004 // what eth_type_trans calls a length instead of a type
	protocol8023 = 0x0001

	// readable is how far rules may read from the network header on, and to where IPv6's
	// extension headers are walked one by one. What begins behind it no rule reads but
	// as the transport header.
	readable = 104

	lengthBits = 17
)

// IPv6's extension headers that the kernel walks over (net/ipv6/exthdrs_core.c, ipv6_find_hdr).
const (
	hopByHop       = 0
	routingHeader  = 43
	fragmentHeader = 44
	authentication = 51
	destinations   = 60
)

// A Frame is any frame, as the kernel has it for the rules of a hook: its bytes are variables,
// its length is one, and what the kernel finds in it are formulas over these. It says for all
// frames what package judge says for one.
type Frame struct {
	*Circuit
	Hook ruleset.HookType

	Ether  []Word // the Ethernet header's 14 bytes, the VLAN tag's or frame's own type the last two
	tag    []Word // what is behind the type where a VLAN tag was lifted off
	Length Word   // in bytes, from the network header on
	Legal  Bit    // a frame that rules see

	Protocol Word
	Tagged   Bit // a tag was lifted off
	Valid    Bit // the kernel found the datagram's header right
	L4       Word
	Later    Bit // a later fragment

	at      map[int]Bit // where the transport header begins, from the network header on
	inFrame Bit         // a later fragment of IPv6: it is read from where the kernel's own pointer stands
	tail    tail

	network, transport map[int]Word
}

// A tail is what comes of extension headers that begin where no rule reads: where they end,
// and in what.
type tail struct {
	reached       Bit
	short         Bit // the first of them is cut off
	from          Word
	next          Word // the first one's type
	broken, later Bit
	l4            Word
	units         Word // of eight bytes, less one, that they are long
	rest          Word // bytes behind them
	transport     map[int]Word
}

// NewFrame gives any frame.
func NewFrame(c *Circuit, hook ruleset.HookType) *Frame {
	f := &Frame{Circuit: c, Hook: hook, at: map[int]Bit{}, inFrame: False, network: map[int]Word{}, transport: map[int]Word{}}
	for range etherHeader {
		f.Ether = append(f.Ether, c.Vars(8))
	}
	f.Length = c.Vars(lengthBits)
	f.Legal = c.Less(f.Length, Constant(1<<16, lengthBits))
	f.Protocol, f.Tagged = f.Type(), False
	if hook == ruleset.Ingress {
		f.lift()
	}
	f.parse()
	return f
}

// Type gives what the frame's own type field says.
func (f *Frame) Type() Word { return join(f.Ether[12:]...) }

// Destination and Source give its MAC addresses.
func (f *Frame) Destination() Word { return join(f.Ether[:6]...) }

// Source gives the MAC address that it is from.
func (f *Frame) Source() Word { return join(f.Ether[6:12]...) }

// Group gives whether it is for more than one host.
func (f *Frame) Group() Bit { return f.Ether[0][7] }

func join(all ...Word) Word {
	var out Word
	for _, w := range all {
		out = append(out, w...)
	}
	return out
}

// Network gives bytes from the network header on; of a frame that ends before they mean nothing.
func (f *Frame) Network(from, size int) Word {
	var out Word
	for i := from; i < from+size; i++ {
		if f.network[i] == nil {
			f.network[i] = f.Vars(8)
		}
		out = append(out, f.network[i]...)
	}
	return out
}

// Has gives whether the frame has so many bytes from the network header on.
func (f *Frame) Has(n int) Bit { return f.AtLeast(f.Length, n) }

// lift takes one VLAN tag off, as net/core/dev.c does (__netif_receive_skb_core).
func (f *Frame) lift() {
	for range vlanHeader {
		f.tag = append(f.tag, f.Vars(8))
	}
	outer := f.Type()
	f.Tagged = f.Or(f.Is(outer, uint64(ruleset.EtherTypeVLAN)), f.Is(outer, uint64(ruleset.EtherTypeQinQ)))
	f.Legal = f.And(f.Legal, f.Implies(f.Tagged, f.Has(2)))
	f.Protocol = f.received(f.IfWord(f.Tagged, join(f.tag[2:]...), outer))
}

// received gives the protocol by a type or length field (net/ethernet/eth.c, eth_type_trans).
func (f *Frame) received(field Word) Word {
	old := f.And(f.Has(2), f.Is(f.Network(0, 2), 0xffff))
	length := f.IfWord(old, Constant(protocol8023, 16), Constant(protocol8022, 16))
	return f.IfWord(f.AtLeast(field, 0x0600), field, length)
}

func (f *Frame) parse() {
	v4, v6 := f.Is(f.Protocol, uint64(ruleset.EtherTypeIPv4)), f.Is(f.Protocol, uint64(ruleset.EtherTypeIPv6))
	f.Valid, f.Later, f.L4 = False, False, Constant(0, 8)
	f.ipv4(v4)
	if f.Hook == ruleset.Ingress {
		// Fragments for a group are put together before (drivers/net/macvlan.c, macvlan_handle_frame).
		pieces := f.Or(f.Network(6, 2)[2:]...)
		f.Legal = f.And(f.Legal, f.And(f.Group(), v4, f.Valid, pieces).Not())
	}
	f.ipv6(v6)
}

// found notes where the transport header begins, and what it is.
func (f *Frame) found(when Bit, l4 Word, later Bit) {
	f.Valid = f.Or(f.Valid, when)
	f.L4 = f.IfWord(when, l4, f.L4)
	f.Later = f.If(when, later, f.Later)
}

func (f *Frame) begins(when Bit, at int) { f.at[at] = f.Or(f.at[at], when) }

func (f *Frame) ipv4(is Bit) {
	first := f.Network(0, 1)
	total := append(Constant(0, lengthBits-16), f.Network(2, 2)...)
	valid := f.And(is, f.Has(ipv4Header), f.Is(first[:4], 4), f.AtLeast(first[4:], 5), f.Less(f.Length, total).Not())
	size := append(append(Constant(0, lengthBits-6), first[4:]...), False, False)
	valid = f.And(valid, f.Less(total, size).Not())
	f.found(valid, f.Network(9, 1), f.Or(f.Network(6, 2)[3:]...))
	for words := 5; words < 16; words++ {
		f.begins(f.And(valid, f.Is(first[4:], uint64(words))), words*4)
	}
}

func (f *Frame) ipv6(is Bit) {
	length := f.Add(append(Constant(0, lengthBits-16), f.Network(4, 2)...), Constant(ipv6Header, lengthBits))
	walked := f.And(is, f.Has(ipv6Header), f.Is(f.Network(0, 1)[:4], 6), f.Less(f.Length, length).Not())
	reached, next := map[int]Bit{ipv6Header: walked}, map[int]Word{ipv6Header: f.Network(6, 1)}
	f.tail = tail{reached: False, from: Constant(0, lengthBits), next: Constant(0, 8)}
	for at := ipv6Header; at < readable; at += 8 {
		here, kind := reached[at], next[at]
		if kind == nil {
			continue
		}
		routed := f.Is(kind, routingHeader)
		skipped := f.And(here, f.Or(f.And(f.Among(kind, hopByHop, destinations), f.Has(at+2)), f.And(routed, f.Has(at+4))))
		piece := f.And(here, f.Is(kind, fragmentHeader), f.Has(at+4))
		later := f.And(piece, f.Or(f.Network(at+2, 2)[:13]...))
		ends := f.And(here, f.Among(kind, hopByHop, destinations, routingHeader, fragmentHeader).Not())
		f.found(ends, kind, False)
		f.begins(ends, at)
		inner := f.Network(at, 1)
		f.laterPiece(f.And(later, f.extension(inner).Not()), inner)
		far := skipped
		for to := at + 8; to < readable; to += 8 {
			jump := f.And(skipped, f.Is(f.Network(at+1, 1), uint64((to-at)/8-1)))
			far = f.And(far, jump.Not())
			if to == at+8 {
				jump = f.Or(jump, f.And(piece, later.Not()))
			}
			if next[to] == nil {
				reached[to], next[to] = False, Constant(0, 8)
			}
			reached[to], next[to] = f.Or(reached[to], jump), f.IfWord(jump, inner, next[to])
		}
		units := append(append(Constant(0, lengthBits-11), f.Network(at+1, 1)...), False, False, False)
		to := f.Add(units, Constant(uint64(at+8), lengthBits))
		if at+8 >= readable {
			whole := f.And(piece, later.Not())
			far, to = f.Or(far, whole), f.IfWord(whole, Constant(uint64(at+8), lengthBits), to)
		}
		f.tail.reached = f.Or(f.tail.reached, far)
		f.tail.from, f.tail.next = f.IfWord(far, to, f.tail.from), f.IfWord(far, inner, f.tail.next)
	}
	f.beyond()
}

func (f *Frame) laterPiece(when Bit, l4 Word) {
	f.found(when, l4, True)
	f.inFrame = f.Or(f.inFrame, when)
}

// extension gives whether a header is one behind which the kernel finds no later fragment's.
func (f *Frame) extension(kind Word) Bit {
	return f.Among(kind, hopByHop, routingHeader, fragmentHeader, authentication, destinations)
}

// beyond is what is behind the extension headers that rules can read. More of them are told by
// where they end and in what, for no rule sees more of them: so a proof holds for any number.
func (f *Frame) beyond() {
	t := &f.tail
	t.broken, t.later, t.l4, t.units, t.rest, t.transport = f.Var(), f.Var(), f.Vars(8), f.Vars(13), f.Vars(lengthBits), map[int]Word{}
	walks := f.And(t.reached, f.Among(t.next, hopByHop, destinations, routingHeader, fragmentHeader))
	least := f.IfWord(f.Among(t.next, hopByHop, destinations), Constant(2, lengthBits), Constant(4, lengthBits))
	t.short = f.Less(f.Length, f.Add(t.from, least))
	goesOn := f.And(walks, t.short.Not(), t.broken.Not())

	f.laterPiece(f.And(goesOn, t.later, f.extension(t.l4).Not()), t.l4)
	ends := f.And(goesOn, t.later.Not(), f.Among(t.l4, hopByHop, destinations, routingHeader, fragmentHeader).Not())
	direct := f.And(t.reached, walks.Not())
	f.found(ends, t.l4, False)
	f.found(direct, t.next, False)

	to := f.Add(t.from, append(append(Constant(0, lengthBits-16), t.units...), False, False, False))
	to = f.IfWord(direct, t.from, f.Add(to, Constant(8, lengthBits)))
	f.begins(f.Or(ends, direct), readable)
	some := f.Or(t.rest...)
	f.Legal = f.And(f.Legal, f.Implies(f.And(f.Or(ends, direct), some), f.Equal(f.Length, f.Add(to, t.rest))))
	f.Legal = f.And(f.Legal, f.Less(t.rest, Constant(1<<16, lengthBits)), f.Less(to, Constant(1<<16, lengthBits)))
}

// Transport gives a byte of the transport header, wherever that is.
func (f *Frame) Transport(i int) Word {
	if w := f.transport[i]; w != nil {
		return w
	}
	out := Constant(0, 8)
	for at := ipv4Header; at < readable; at += 4 {
		if f.at[at] != False {
			out = f.IfWord(f.at[at], f.Network(at+i, 1), out)
		}
	}
	f.tail.transport[i] = f.Vars(8)
	out = f.IfWord(f.at[readable], f.tail.transport[i], out)
	out = f.IfWord(f.inFrame, f.pointed(i), out)
	f.transport[i] = out
	return out
}

// pointed gives a byte from where the kernel's own pointer into the frame stands: behind the
// Ethernet header on ingress, before it on egress.
func (f *Frame) pointed(i int) Word {
	switch {
	case f.Hook == ruleset.Ingress:
		return f.Network(i, 1)
	case i < etherHeader:
		return f.Ether[i]
	}
	return f.Network(i-etherHeader, 1)
}

// HasTransport gives whether the frame has so many bytes of it.
func (f *Frame) HasTransport(n int) Bit {
	out := f.And(f.at[readable], f.AtLeast(f.tail.rest, n))
	for at := ipv4Header; at < readable; at += 4 {
		out = f.Or(out, f.And(f.at[at], f.Has(at+n)))
	}
	before := 0
	if f.Hook == ruleset.Egress {
		before = etherHeader
	}
	return f.Or(out, f.And(f.inFrame, f.Has(max(0, n-before))))
}

// read gives a field's value, and whether the kernel can read it.
func (f *Frame) read(field ruleset.Field, device []byte) (Word, Bit) {
	from, size := int(field.Offset), int(field.Size)
	switch field.Base {
	case ruleset.Meta:
		return f.meta(field.Name, device)
	case ruleset.LinkHeader:
		return join(f.Ether[from : from+size]...), True
	case ruleset.NetworkHeader:
		if from+size > readable {
			panic("a rule reads further than the proof: " + field.String())
		}
		return f.Network(from, size), f.Has(from + size)
	case ruleset.TransportHeader:
		var out Word
		for i := range size {
			out = append(out, f.Transport(from+i)...)
		}
		readable := f.And(f.Valid, f.HasTransport(from+size))
		if fast := (size == 1 || size == 2 || size == 4) && from%size == 0; !fast {
			readable = f.And(readable, f.Later.Not())
		}
		return out, readable
	}
	panic("a rule reads " + field.String())
}

func (f *Frame) meta(name string, device []byte) (Word, Bit) {
	switch name {
	case "protocol":
		return f.Protocol, True
	case "l4proto":
		return f.L4, f.Valid
	case "iifkind", "oifkind":
		return Bytes(ruleset.Kind(ruleset.InputKind, ruleset.Equal, "macvtap").Value), True
	case "iif", "oif":
		if device == nil {
			return Constant(0, 32), False
		}
		return Bytes(device), True
	case "iiftype":
		return Bytes(binary.NativeEndian.AppendUint16(nil, 1)), True
	}
	panic("a rule reads meta " + name)
}
