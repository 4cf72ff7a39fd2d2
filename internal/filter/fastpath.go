package filter

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"macvtap-filter/internal/ruleset"
)

// fastPath adds the rules at the head of a family's chain that let pass at once what
// nearly all frames are: TCP and UDP in ordinary datagrams and frames, with peers
// that are not denied, and with IPv4 hosts that are allowed.
//
// They only save time. They pass nothing that the rules behind them would not pass
// (a test of package judge holds that), and leave to those whatever there is a
// doubt about. So they may ask more than those where that is cheaper, and ask in
// the cheapest way. Nanoseconds on Linux 6.18 and the machine of
// internal/doc/measurements.md, where a frame takes some 2,500 from the VM and 1,200 to it:
//
//	5    1, 2 or 4 aligned bytes of the network or transport header, which the
//	     kernel compares in place (net/netfilter/nf_tables_core.c,
//	     nft_payload_fast_eval, nft_cmp_fast_eval)
//	8    4 such bytes under a mask (nft_bitwise_fast_eval)
//	25   what package meta reads: "ip daddr" makes nft ask "meta protocol" first
//	35   up to 16 bytes of the Ethernet header, no matter how many
//	30   on top, for a mask on other than 4 bytes
//	60   a lookup in a hash of known size
//	90   an update of an element that is there
//	40   a verdict, "accept" or "goto"
//	5    a rule whose first match does not hold
//
// So the Ethernet header is asked once and late, and all else as raw payload
// expressions, before which nft asks nothing. A match beyond the frame's end does not
// hold, so whatever is read is there. Masks begin with the field's first bit: others, nft
// 1.1 lists as a field of fewer bits, and of bits apart as wrong ones (src/payload.c,
// payload_expr_trim_force).
func (c *chain) fastPath(f family) {
	toRouters := c.out && c.nextHopIsRouter(f)
	if peers, inSet, any := c.fastOpen(f); any && (!toRouters || c.has(routerSet(f))) {
		kinds := c.fastKinds(f, inSet)
		for _, kind := range kinds {
			if len(kind.passed) > 0 {
				c.fast("not in deny", all(peers[:1], kind.first, kind.is, c.fastSource(f), kind.passed, c.fastNextHop(f, toRouters)))
			}
		}
		for _, kind := range kinds {
			c.fast("not in deny", all(peers[:1], kind.first, peers[1:], kind.is, c.fastSource(f), kind.stands, inSet, c.fastNextHop(f, toRouters)))
			c.Rules[len(c.Rules)-1].Updates = kind.keeps
		}
	}
	if f.name == family6.name || c.policy.Tracks() {
		return
	}
	if link, any := c.fastLink(family4); any && c.has(family4.set(hosts)) {
		c.fast("allow", all(one(noOptions), link, one(family4.fastProtocol()), c.fastClient(), c.fastPorts(family4), c.fastSource(family4), c.fastNextHop(family4, false), c.fastHosts()))
	}
}

// A fastKind is what a fast path is for: matches that tell it, and, where flows are known, one that
// its flow stands, and of connections one that it passed just now. What tells several apart comes first.
type fastKind struct {
	first, is, stands, passed []ruleset.Match
	keeps                     []ruleset.Update
}

// fastKinds gives those of peers that are not denied. Where flows are known, these are TCP and UDP of
// one that stands: segments that neither open nor end a connection, and whole datagrams that may
// not be cut up, as nearly all are (RFC 1191). There is none where peers are looked up in a set: behind
// "ip daddr" nft lists the bytes of a flow by names.
func (c *chain) fastKinds(f family, inSet []ruleset.Match) []fastKind {
	usual := all(one(f.fastProtocol()), c.fastServer(f), c.fastPorts(f))
	switch {
	case !c.policy.Tracks():
		return []fastKind{{is: usual}}
	case len(inSet) > 0:
		return nil
	}
	whole := []ruleset.Match{ruleset.Compare{Field: network(6, 2), Op: ruleset.Equal, Value: []byte{0x40, 0}}}
	protocol := network(9, 1)
	if f.name == family6.name {
		whole, protocol = nil, network(6, 1)
	}
	kind := func(flows string, first, is []ruleset.Match) fastKind {
		return fastKind{first: first, is: all(whole, is), stands: one(c.stands(f, flows, f.header())), keeps: []ruleset.Update{c.keeps(f, flows, f.header())}}
	}
	flags := func(value byte) []ruleset.Match {
		return []ruleset.Match{ruleset.Byte(protocol, ruleset.TCP), ruleset.Byte(flagsOf(f), value)}
	}
	ack, push := kind(tcpFlows, flags(tcpData[0]), nil), kind(tcpFlows, flags(tcpData[1]), nil)
	ack.keeps, push.keeps = c.keepsConnection(f), c.keepsConnection(f)
	if c.remembersPassed(f) {
		ack.passed = one(ruleset.Lookup{Fields: c.passedFields(f), Set: f.set(passed)})
		push.passed = ack.passed
		if c.out {
			pass := ruleset.Update{Set: f.set(passed), Fields: c.passedFields(f), Timeout: passedFor}
			ack.keeps, push.keeps = append(ack.keeps, pass), append(push.keeps, pass)
		}
	}
	return []fastKind{
		ack, push,
		kind(udpFlows, one(ruleset.Byte(protocol, ruleset.UDP)), all(c.fastServer(f), c.fastPorts(f))),
	}
}

func (c *chain) fast(words string, when []ruleset.Match) {
	c.Rules = append(c.Rules, ruleset.Rule{Matches: when, Verdict: ruleset.Accept, Comment: "fast path: " + words})
}

// network is a field of the network header, as raw bytes.
func network(offset, size uint32) ruleset.Field {
	return ruleset.Raw(ruleset.NetworkHeader, offset, size)
}

// noOptions matches IPv4 headers without options, so that the transport header is
// where it usually is, and no IPv6 ones.
var noOptions = ruleset.Byte(versionAndLength, 0x45)

// fastProtocol matches headers that name TCP, 6, or UDP, 17, as what comes next, or a number
// between: none of these is ICMP, an extension header or a tunnel.
func (f family) fastProtocol() ruleset.Match {
	field := network(9, 1)
	if f.name == family6.name {
		field = network(6, 1)
	}
	return ruleset.Between{Field: field, From: []byte{ruleset.TCP}, To: []byte{ruleset.UDP}}
}

// fastPorts matches datagrams that have ports, which only those have whose header
// the kernel finds right, and from the VM not those to DHCP clients and servers, whose
// ports are, of IPv6, among 512 to 767.
func (s side) fastPorts(f family) []ruleset.Match {
	switch {
	case s.out && f.name == family4.name:
		return []ruleset.Match{isNot(ruleset.DestinationPort, 0, 67), isNot(ruleset.DestinationPort, 0, 68)}
	case s.out:
		return one(isNot(ruleset.Raw(ruleset.TransportHeader, 2, 1), 546>>8))
	}
	return one(isNot(ruleset.SourcePort, 0, 0))
}

// fastServer matches, where leases are learned, what no DHCP server of the VM's sends: by way of
// a router that sends it back the VM would hand itself a lease.
func (s side) fastServer(f family) []ruleset.Match {
	if !s.out || f.name != family4.name || !s.learns(f) {
		return nil
	}
	return s.fastClient()
}

// fastClient matches what no DHCP server of the VM's sends. It is masked, since nft
// 1.0.6 takes "th sport != 67 th dport != 67" for one comparison of both.
func (s side) fastClient() []ruleset.Match {
	if !s.out {
		return nil
	}
	return one(masked(ruleset.Raw(ruleset.TransportHeader, 0, 4), 0xffff0000, ruleset.NotEqual, 67<<16))
}

// fastSource matches the VM's own source addresses, or, where they are not known, those
// of hosts that are not known to be another's: of IPv6, the internet's.
func (s side) fastSource(f family) []ruleset.Match {
	switch {
	case !s.out || s.policy.PassSpoofing:
		return nil
	case s.knowsOwn(f):
		return one(s.isOwn(f.ownAddresses(), f.sourceBytes()))
	}
	first := []ruleset.Match{isNot(network(12, 1), 0), isNot(network(12, 1), 127), masked(network(12, 4), 0xe0000000, ruleset.NotEqual, 0xe0000000)}
	if f.name == family6.name {
		first = one(wordWithin(f.source(), internet6, 0, ruleset.Equal))
	}
	return all(first, s.fastNotTaken(f))
}

// internet6 are the addresses of the internet (RFC 4291, 2.4).
var internet6 = netip.MustParsePrefix("2000::/3")

// fastNotTaken matches sources that are not another's for certain. An IPv6 address is
// taken for another's if it has one word in common.
func (s side) fastNotTaken(f family) []ruleset.Match {
	var out []ruleset.Match
	for _, a := range f.only(s.policy.Claimed) {
		if f.name == family4.name || internet6.Contains(a) {
			p := netip.PrefixFrom(a, a.BitLen())
			out = append(out, wordWithin(f.source(), p, tellingWord(p), ruleset.NotEqual))
		}
	}
	if len(out) <= fewHosts {
		return out
	}
	taken, _ := s.taken(f, f.source(), true)
	return one(taken)
}

// fastLink matches the prefixes of the link where an allowed host is in another network:
// a frame to it goes to a router. any is false where they are too many for one compare.
func (s side) fastLink(f family) (matches []ruleset.Match, any bool) {
	link := s.link(f)
	switch {
	case !s.out || !s.nextHopIsRouter(f):
		return nil, true
	case len(link) == 0: // then all that are not closed are taken for another network's
		return nil, !slices.ContainsFunc(f.only(s.policy.Hosts), func(a netip.Addr) bool { return !s.closedSet(f).Contains(a) })
	}
	for _, a := range f.only(s.policy.Hosts) {
		switch {
		case slices.ContainsFunc(link, func(p netip.Prefix) bool { return p.Contains(a) }):
		case len(link) > 1:
			return nil, false
		default:
			return one(wordWithin(s.peerField(f), link[0], 0, ruleset.Equal)), true
		}
	}
	return nil, true
}

// fastOpen matches a peer that is neither denied nor special. any is false when there is no
// such peer. The first match tells IPv4 from IPv6, and the next ones hold for no allowed host,
// so that other frames are soon through with the rule. A lookup in a set comes after that of the
// VM's own addresses: behind "ip daddr", nft 1.0.6 lists the bytes of these as "ip saddr", and
// then does not load what it lists.
//
// Of IPv6, only the addresses of the internet are matched, 2000::/3 (RFC 4291,
// 2.4), and a prefix longer than 4 bytes is taken to hold whatever is the same in one
// of its words: to compare 8 bytes or 16 takes six times as long.
func (s side) fastOpen(f family) (matches, inSet []ruleset.Match, any bool) {
	field := s.peerField(f)
	reach, first := f.all, ruleset.Match(noOptions)
	if f.name == family6.name {
		reach = internet6
		first = wordWithin(field, reach, 0, ruleset.Equal)
	}
	var closed []ruleset.Match
	for _, p := range s.allowedFirst(s.closed(f)) {
		switch {
		case !p.Overlaps(reach):
		case p.Bits() <= reach.Bits():
			return nil, nil, false
		default:
			closed = append(closed, wordWithin(field, p, tellingWord(p), ruleset.NotEqual))
		}
	}
	if len(closed) > maxCompares {
		return one(first), one(ruleset.Lookup{Fields: []ruleset.Field{field}, Set: f.set(open)}), true
	}
	return all(one(first), closed), nil, true
}

// allowedFirst puts the prefixes that allowed hosts are in before the others.
func (s side) allowedFirst(all []netip.Prefix) []netip.Prefix {
	var with, without []netip.Prefix
	for _, p := range all {
		next, _ := slices.BinarySearchFunc(s.policy.Hosts, p.Addr(), netip.Addr.Compare)
		if next < len(s.policy.Hosts) && p.Contains(s.policy.Hosts[next]) {
			with = append(with, p)
		} else {
			without = append(without, p)
		}
	}
	return append(with, without...)
}

// tellingWord gives the number of the word of 4 bytes that fewest addresses outside
// the prefix are likely to have as well: the last one that is not zero.
func tellingWord(p netip.Prefix) int {
	b := p.Masked().Addr().AsSlice()
	for n := (p.Bits() - 1) / 32; n > 0; n-- {
		if binary.BigEndian.Uint32(b[n*4:]) != 0 {
			return n
		}
	}
	return 0
}

// wordWithin matches an address by one word of it, of which the prefix may fill
// no more than the first bits.
func wordWithin(field ruleset.Field, p netip.Prefix, n int, op ruleset.Op) ruleset.Match {
	b := p.Masked().Addr().AsSlice()[n*4:]
	offset := field.Offset + uint32(n*4)
	switch bits := min(p.Bits()-n*32, 32); bits {
	case 8, 16, 32:
		return ruleset.Compare{Field: network(offset, uint32(bits/8)), Op: op, Value: b[:bits/8]}
	default:
		return masked(network(offset, 4), ^uint32(0)<<(32-bits), op, binary.BigEndian.Uint32(b))
	}
}

// masked matches a field of 4 bytes.
func masked(field ruleset.Field, mask uint32, op ruleset.Op, value uint32) ruleset.Match {
	bytes := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	return ruleset.Masked{Field: field, Mask: bytes(mask), Op: op, Value: bytes(value)}
}

func isNot(field ruleset.Field, value ...byte) ruleset.Match {
	return ruleset.Compare{Field: field, Op: ruleset.NotEqual, Value: value}
}

// fastNextHop matches, from the VM, frames to a router or to one host. The base chain has
// asked for the frame's own type, in which a VLAN tag shows that the kernel has lifted off,
// and for the VM's MAC address.
func (s side) fastNextHop(f family, toARouter bool) []ruleset.Match {
	switch {
	case toARouter:
		return one(s.router(f, ruleset.EtherDestination, false))
	case s.out:
		return one(ruleset.Masked{Field: ruleset.Raw(ruleset.LinkHeader, 0, 1), Mask: groupBit[:1], Op: ruleset.Equal, Value: []byte{0}})
	}
	return nil
}

// fewHosts is the number of addresses up to which comparing one after the other is
// quicker than one lookup in a hash: six nanoseconds each.
const fewHosts = 8

// fastHosts matches the allowed hosts.
func (s side) fastHosts() []ruleset.Match {
	return one(ruleset.Lookup{Fields: []ruleset.Field{s.ip4}, Set: family4.set(hosts)})
}
