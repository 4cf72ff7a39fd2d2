package filter

import (
	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/ruleset"
)

// ip judges the datagrams of one family; ICMPv6 has a chain of its own.
func (s side) ip(f family) {
	c := s.newChain(f.name)
	c.isolated()
	c.limited()
	c.learnLease(f)
	c.fastPath(f)
	if s.out {
		c.leases(f)
	}
	if f.name == family6.name {
		c.goTo("icmpv6", ruleset.Byte(ruleset.L4Proto, ruleset.ICMPv6))
	}
	if s.out {
		c.spoofedSources(f)
		c.nextHop(f)
	}
	c.laterFragments(f)
	peers, any := s.notClosed(f, s.peerField(f))
	if any {
		c.lets(f, s.openWords(f), s.bare(f, peers)...)
	}
	c.dhcpServer(f)
	if s.out {
		c.sourceRoutes(f)
	}
	if !s.policy.PassTunnels {
		c.drop("tunnel", "tunnel", ruleset.Lookup{Fields: []ruleset.Field{ruleset.L4Proto}, Set: tunnels})
	}
	if s.out {
		if f.name == family4.name && !s.policy.PassRouters {
			c.drop("redirect", "ICMP redirect", firstFragment, ruleset.Byte(ruleset.ICMPType, icmpRedirect))
			c.drop("router-advertisement", "ICMP router advertisement", firstFragment, ruleset.Byte(ruleset.ICMPType, icmpRouter))
		}
		c.groups(f)
		if any && f.name == family6.name && !s.policy.PassTunnels {
			c.lets(f, s.openWords(f), all(peers, known(f), s.plain())...) // behind an extension header, or in fragments
		}
	}
	c.goTranslated(f)
	c.allowed(f)
	c.served(f)
	if !s.out {
		c.groupQueries(f)
		c.groupAnswers(f)
		if f.name == family4.name {
			c.icmpErrors(f)
		}
	}
	if s.out {
		c.drop("multicast", f.label+" multicast", within(s.peerField(f), f.multicast, false))
		if f.name == family4.name {
			c.drop("broadcast", "broadcast", equals(ruleset.IPDestination, "255.255.255.255"))
		}
	}
	if f.name == family4.name && len(s.policy.Services) > 0 {
		c.drop("fragment", "fragment without ports", laterFragment)
	}
	c.drop("denied-"+f.name, "denied "+f.label+" "+s.peer)
	c.done()
}

// firstFragment and laterFragment match the offset of an IPv4 fragment (RFC 791);
// a whole datagram is a first one. Every rule that accepts by a field of the
// transport header asks for it (see withPorts).
var (
	firstFragment = ruleset.Masked{Field: ruleset.IPFragment, Mask: []byte{0x1f, 0xff}, Op: ruleset.Equal, Value: []byte{0, 0}}
	laterFragment = ruleset.Masked{Field: ruleset.IPFragment, Mask: []byte{0x1f, 0xff}, Op: ruleset.NotEqual, Value: []byte{0, 0}}
)

// withPorts matches datagrams of a protocol whose transport header is there: in a
// later fragment the kernel reads ports and types all the same, from whatever
// stands in their place (net/netfilter/nf_tables_core.c, nft_payload_fast_eval).
// For IPv6 this asks that nothing stands between; nft loads what it lists of it only with
// the protocol first, for behind "ip6 nexthdr" it lists none.
func withPorts(f family, proto byte) []ruleset.Match {
	if f.name == family4.name {
		return []ruleset.Match{firstFragment, ruleset.Byte(ruleset.L4Proto, proto)}
	}
	return []ruleset.Match{ruleset.Byte(ruleset.L4Proto, proto), ruleset.Byte(ruleset.IP6NextHeader, proto)}
}

// bare matches the datagrams with some peers that carry nothing by which a router on the way
// sends them somewhere else, a source route above all (RFC 6274, 3.13.2.3; RFC 5095):
// from the VM, IPv4 without options, and IPv6 without extension headers. The VM's
// ICMPv6 has a chain of its own. IPv4's first byte is asked first: behind "ip daddr", nft
// lists it as two fields, and loads two matches.
func (s side) bare(f family, peers []ruleset.Match) []ruleset.Match {
	routed := s.out && !s.policy.PassTunnels
	switch {
	case routed && f.name == family4.name:
		return all(one(noOptions), peers, s.plain())
	case routed:
		next := ruleset.Lookup{Fields: []ruleset.Field{ruleset.IP6NextHeader}, Not: true, Set: extensions}
		return all(peers, one(next), s.single())
	}
	return all(peers, known(f), s.plain())
}

// versionAndLength is the first byte of an IPv4 header: the version, 4, and the
// header's length in units of four bytes, five without options (RFC 791, 3.1).
var versionAndLength = ruleset.Raw(ruleset.NetworkHeader, 0, 1)

// sourceRoutes drops the datagrams of the VM that a router on the way may send
// to a denied host, by an address in an option (IPv4) or a routing header (IPv6),
// or that hide whether they have one: of extension headers there is one at most,
// so that the next rules know what is behind it. Hop-by-hop options are for all.
func (c *chain) sourceRoutes(f family) {
	if c.policy.PassTunnels {
		return
	}
	if f.name == family4.name {
		c.drop("source-route", "IPv4 options", ruleset.Masked{Field: versionAndLength, Mask: []byte{0x0f}, Op: ruleset.GreaterEqual, Value: []byte{6}})
		return
	}
	c.routed()
	c.drop("source-route", "several IPv6 extension headers", amongBytes(ruleset.IP6NextHeader, extensionHeaders...),
		amongBytes(secondHeader, extensionHeaders...))
}

// routed drops the IPv6 datagrams with a routing header, and those with hop-by-hop
// options, which every host looks at that gets the frame, whoever the datagram is for.
func (c *chain) routed() {
	c.drop("source-route", "IPv6 routing header", ruleset.Byte(ruleset.IP6NextHeader, routingHeader))
	c.drop("source-route", "IPv6 hop-by-hop options", ruleset.Byte(ruleset.IP6NextHeader, hopByHop))
}

// secondHeader says what follows the first of IPv6's extension headers.
var secondHeader = ruleset.Raw(ruleset.NetworkHeader, 40, 1)

// plain matches datagrams that are no tunnel, from the VM in a frame to one host.
func (s side) plain() []ruleset.Match {
	if s.policy.PassTunnels {
		return s.single()
	}
	return all(one(ruleset.Lookup{Fields: []ruleset.Field{ruleset.L4Proto}, Not: true, Set: tunnels}), s.single())
}

// single matches frames of the VM's that are for one host.
func (s side) single() []ruleset.Match {
	if !s.out || s.policy.PassMulticast {
		return nil
	}
	return one(unicast)
}

// notClosed matches a field whose address is neither denied nor special. any is
// false when there is no such address. Bytes without a name are compared, or, with
// many prefixes, looked up in a set of their own.
//
// What is looked up are the addresses that are open, and what is found passes,
// since a set of ranges that is new is empty to frames for some microseconds after
// the rules that look it up are there (seen on Linux 6.18): "!= @denied" would be
// true of all.
func (s side) notClosed(f family, field ruleset.Field) (matches []ruleset.Match, any bool) {
	closed := s.closed(f)
	switch {
	case closed[0].Bits() == 0:
		return nil, false
	case field.Type != ruleset.TypeRaw:
		return one(ruleset.Lookup{Fields: []ruleset.Field{field}, Set: f.set(open)}), true
	case len(closed) > maxCompares:
		return one(among(field, s.openRanges(f))), true
	}
	return outside(field, closed), true
}

// among matches bytes that hold an address of some ranges, of which there is at
// least one.
func among(field ruleset.Field, ranges []netipx.IPRange) ruleset.Match {
	return ruleset.Among(field, false, elements(ranges)...)
}

func elements(ranges []netipx.IPRange) []ruleset.Element {
	var out []ruleset.Element
	for _, r := range ranges {
		out = append(out, element(r))
	}
	return out
}

// spoofedSources drops datagrams from addresses that are not the VM's own, as far as
// that is known, that are others' for certain, or that no host has. What DHCP needs
// passes: from no address yet, to no address known (RFC 2131, 4.1; RFC 8415, 7.2).
func (c *chain) spoofedSources(f family) {
	if !c.policy.PassSpoofing {
		if taken, any := c.taken(f, f.source(), false); any {
			c.drop("spoofed-ip", "source address of another host", taken)
		}
		c.dropRanges("spoofed-ip", "source address that no host has", f.source(), f.nobodys())
	}
	if c.learns(f) && f.name == family4.name {
		c.dhcpClient(f) // from a lease, too, that rules know nothing of
		c.foreignSource(f)
	} else {
		c.foreignSource(f)
		c.dhcpClient(f)
	}
	c.groupReports(f)
	if !c.policy.PassSpoofing {
		c.drop("spoofed-ip", "no source address", is(f.source(), f.all.Addr(), false))
	}
}

// foreignSource drops datagrams from an address that is not the VM's own, as far as these are
// known. From none come those by which a host asks for one.
func (c *chain) foreignSource(f family) {
	c.learnUsed(f, f.sourceBytes())
	if c.knowsOwn(f) {
		c.drop("spoofed-ip", "source address not the VM's own", append(c.isNotVMs(f, f.sourceBytes()), is(f.source(), f.all.Addr(), true))...)
	}
}

// groups judges the multicast and broadcast of the VM: only what the policy opens
// passes, and no datagram for one host in a frame for all.
func (c *chain) groups(f family) {
	field := c.peerField(f)
	for _, b := range c.policy.Broadcasts {
		if f.is(b.Peers.From()) {
			service := config.Service{Proto: b.Proto, From: b.From, To: b.To}
			c.accept(c.broadcastWords(b), all(one(is(field, b.Peers.From(), false)), ports(f, ruleset.DestinationPort, service))...)
		}
	}
	if c.policy.PassMulticast {
		c.accept(multicastPass, within(field, f.groups(), false))
		return
	}
	c.drop("broadcast", "datagram for one host in a frame for all", group, within(field, f.groups(), true))
}

// ports matches a protocol and a range of ports.
func ports(f family, field ruleset.Field, s config.Service) []ruleset.Match {
	there := withPorts(f, s.Proto)
	switch {
	case s.From == s.To:
		return append(there, ruleset.Is(field, s.From))
	case s.From <= 1 && s.To == 65535:
		return there
	}
	return append(there, ruleset.Between{Field: field, From: port(s.From), To: port(s.To)})
}

// fromTo matches a pair of ports.
func fromTo(source, destination uint16) []ruleset.Match {
	return []ruleset.Match{ruleset.Is(ruleset.SourcePort, source), ruleset.Is(ruleset.DestinationPort, destination)}
}

// goTranslated hands the translated addresses to the chain that judges them.
func (c *chain) goTranslated(f family) {
	if f.name == family6.name && !c.policy.PassTunnels {
		c.goTo("translated", ruleset.Lookup{Fields: []ruleset.Field{c.ip6}, Set: translatedSet})
	}
}

// translated lets pass the translated addresses of peers that are not denied, and
// drops the others.
func (s side) translated() {
	if s.policy.PassTunnels {
		return
	}
	c := s.newChain("translated")
	if c.has(relayedSet) {
		c.lets(family6, "NAT64 or 6to4 address of a peer that is allowed or not denied", all(one(ruleset.Lookup{Fields: []ruleset.Field{s.ip6}, Set: relayedSet}), s.plain())...)
	}
	c.services(family6, relayedServicesSet, func(byte) string { return "NAT64 or 6to4 address of " + s.allowWords(family4, services, 0) })
	c.drop("tunnel", "address of a NAT64, 6to4 or Teredo relay")
	c.done()
}

// allowed lets pass the peers of the allow list: hosts, ranges, services.
func (c *chain) allowed(f family) {
	field := c.peerField(f)
	for _, kind := range []string{hosts, ranges} {
		if c.has(f.set(kind)) {
			c.lets(f, c.allowWords(f, kind, 0), all(one(ruleset.Lookup{Fields: []ruleset.Field{field}, Set: f.set(kind)}), known(f))...)
		}
	}
	c.services(f, f.set(services), func(proto byte) string { return c.allowWords(f, services, proto) })
	if f.name == family4.name {
		c.asRouters4()
	}
}

// services lets pass the allowed services that a set holds. words gives the comment, for all
// protocols or one.
func (c *chain) services(f family, set string, words func(proto byte) string) {
	if !c.has(set) {
		return
	}
	lookup := ruleset.Lookup{Fields: []ruleset.Field{c.peerField(f), ruleset.L4Proto, c.port}, Set: set}
	if f.name == family4.name {
		c.lets(f, words(0), firstFragment, lookup)
		return
	}
	for _, proto := range c.policy.ServiceProtocols(f.is) {
		c.lets(f, words(proto), ruleset.Byte(ruleset.IP6NextHeader, proto), lookup)
	}
}

// known matches IPv6 datagrams of which the kernel knows the protocol. Of the first
// fragment of a message whose headers fill more than it, it does not: so router
// advertisements were hidden (RFC 7112, 7113).
func known(f family) []ruleset.Match {
	if f.name == family4.name {
		return nil
	}
	return one(ruleset.Compare{Field: ruleset.L4Proto, Op: ruleset.NotEqual, Value: []byte{ruleset.ICMPv6}})
}

// has reports whether the table has a set.
func (b *builder) has(set string) bool {
	for _, s := range b.table.Sets {
		if s.Name == set {
			return true
		}
	}
	return false
}

// The types of ICMP messages by which a router directs hosts (RFC 792; RFC 1256).
const (
	icmpRedirect = 5
	icmpRouter   = 9
)

// The flags of TCP that tell a segment that opens a connection, or only asks whether a
// port is open, from an answer (RFC 9293, 3.5): an answer has ACK, or RST without SYN.
const (
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

// The chunks of SCTP by which a client opens an association (RFC 9260, 3.3).
const (
	sctpINIT       = 1
	sctpCookieEcho = 10
)

// sctpChunk is the type of the first chunk, behind the common header (RFC 9260, 3).
var sctpChunk = ruleset.Raw(ruleset.TransportHeader, 12, 1)

// served lets denied peers open the VM's services, and the VM answer: no segment
// of the VM's that opens a connection, no datagram of UDP to who sent none, and nothing to groups.
func (c *chain) served(f family) {
	hosts := outside(c.peerField(f), f.special)
	for _, s := range c.policy.Serve {
		if s.Proto == ruleset.UDP {
			words := serveWords(s)
			field := ruleset.DestinationPort
			if c.out {
				words, field = "answer of "+words, ruleset.SourcePort
			}
			c.goTo(f.name+servedChain, all(hosts, ports(f, field, s))...)
			c.Rules[len(c.Rules)-1].Comment = ruleset.Comment(words)
			continue
		}
		if !c.out {
			c.accept(serveWords(s), all(hosts, ports(f, ruleset.DestinationPort, s))...)
			continue
		}
		answer, words := all(hosts, ports(f, ruleset.SourcePort, s)), "answer of "+serveWords(s)
		if s.Proto == ruleset.TCP {
			flags := func(mask, value byte) ruleset.Match {
				return ruleset.Masked{Field: ruleset.TCPFlags, Mask: []byte{mask}, Op: ruleset.Equal, Value: []byte{value}}
			}
			c.accept(words, all(answer, one(flags(tcpACK, tcpACK)))...)
			c.accept(words, all(answer, one(flags(tcpSYN|tcpRST, tcpRST)))...)
		} else {
			c.accept(words, all(answer, one(isNot(sctpChunk, sctpINIT)), one(isNot(sctpChunk, sctpCookieEcho)))...)
		}
	}
}
