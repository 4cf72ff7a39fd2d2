package filter

import (
	"fmt"
	"slices"
	"time"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// What may be opened (keys inbound, outbound, max_new_flows). There is no connection tracking
// in the family netdev: rules keep the flows that stand in sets of their own, as they learn
// addresses. Rules that let peers through hand datagrams on to the chain "ipv4-inbound" or
// "ipv4-outbound", which only ever narrows: a flow whose set is full is not opened, and one
// that stands opens no peer that is closed by now.
//
//	nic-flows-tcp-ipv4        connections that were answered
//	nic-flows-tcp-new-ipv4    those being opened
//	nic-flows-tcp-ended-ipv4  those that end, and those of before: nobody opens one by them
//	nic-flows-udp-ipv4        by peer and both ports
//	nic-flows-icmp-ipv4       echo, by peer and identifier
//	nic-flows-fragments-ipv4  datagrams whose first fragment was seen, by peer and identification
//	nic-new-flows             how many flows a VM may still open
//	nic-peers-flows           how many peers may still open on a VM
//	nic-connections           how many of its connections a NIC may still keep for long
//	nic-fragments             how many datagrams in fragments may still pass
//	nic-running-flows         NICs whose VMs ran before their flows were known
//	nic-asked-dhcp            NICs whose VMs asked DHCP servers just now
//
// An element is of the VM and the peer, whoever opened the flow. Ports are read as bytes from
// the network header on, of IPv4 one without options: nft has names for those of the transport
// header, and then wants other types in the sets.
const (
	newFlowsSet     = ruleset.OwnPrefix + "new-flows"
	peersFlowsSet   = ruleset.OwnPrefix + "peers-flows"
	connectionsSet  = ruleset.OwnPrefix + "connections"
	fragmentsSet    = ruleset.OwnPrefix + "fragments"
	runningFlowsSet = ruleset.OwnPrefix + "running-flows"
	askedDHCPSet    = ruleset.OwnPrefix + "asked-dhcp"
)

// The kinds of flows.
const (
	tcpFlows      = "tcp"
	tcpNewFlows   = "tcp-new"
	tcpEndedFlows = "tcp-ended"
	udpFlows      = "udp"
	echoFlows     = "icmp"
	fragmentFlows = "fragments"
)

// flowTime says how long a flow stands after its last datagram: a connection, after the VM's last
// segment, 2 hours and 4 minutes (RFC 5382, 5), one that is opened or closed 4 minutes (there), UDP 5 (RFC 4787, 4.3), a
// ping one (RFC 5508, 3.2), a datagram in fragments as long as Linux waits for the rest.
func flowTime(kind string) time.Duration {
	switch kind {
	case tcpFlows:
		return 124*time.Minute + passedFor
	case tcpNewFlows, tcpEndedFlows:
		return 4 * time.Minute
	case udpFlows:
		return 5 * time.Minute
	case echoFlows:
		return time.Minute
	}
	return 30 * time.Second
}

// answeredFor is the time that DHCP servers have to answer.
const answeredFor = time.Minute

// The room of these sets, for all NICs, and what each NIC may add to them. What floods a VM
// with new flows, or a VM that does, fills no more than its share: of UDP, a thirtieth. The kernel makes
// the hash table for as many as the lower 16 bits of the size say, and has it grow (nft_rhash_init;
// struct rhashtable_params, nelem_hint): by multiples of 65,536, none takes memory before its flows do.
const (
	maxFlows    = 1 << 20
	maxOddFlows = 1 << 18 // of pings
)

var (
	flowShare       = ruleset.Share{Rate: 100, Burst: 4096, Unit: time.Second}
	connectionShare = ruleset.Share{Rate: int(ruleset.Day / time.Second), Burst: 16384, Unit: ruleset.Day}
	fragmentShare   = ruleset.Share{Rate: 1000, Burst: 1000, Unit: time.Second}
)

func (f family) flows(kind string) string {
	return ruleset.FlowPrefix + kind + "-" + f.name
}

// flowSets gives the sets of flows.
func (b *builder) flowSets() []ruleset.Set {
	if !b.policy.Tracks() && !b.servesUDP() {
		return nil
	}
	shares := func(name string) ruleset.Set {
		return ruleset.Set{Name: name, Key: []ruleset.Type{ruleset.TypeInterface}, Dynamic: maxLearned, Expires: true}
	}
	running := shares(runningFlowsSet)
	running.Dynamic, running.Grace, running.Regrace = 0, runningFor, true
	newFlows := func(v view) ruleset.Set { return shares(side{view: v, builder: b}.newFlows()) }
	out := []ruleset.Set{newFlows(fromVM), newFlows(toVM), shares(connectionsSet), shares(fragmentsSet), running, shares(askedDHCPSet)}
	for _, f := range []family{family4, family6} {
		for _, kind := range []string{tcpFlows, tcpNewFlows, tcpEndedFlows, udpFlows, echoFlows, fragmentFlows} {
			fields := side{view: fromVM, builder: b}.flow(f, kind, f.header())
			s := ruleset.Set{Name: f.flows(kind), Typeof: fields, Dynamic: maxFlows, Expires: true}
			if kind == echoFlows {
				s.Dynamic = maxOddFlows
			}
			for _, field := range fields {
				s.Key = append(s.Key, field.Type)
			}
			out = append(out, s)
		}
	}
	return out
}

// TracksFlows reports whether rules know which flows stand.
func TracksFlows(t ruleset.Table) bool {
	return slices.ContainsFunc(t.Sets, func(s ruleset.Set) bool { return ruleset.IsFlows(s.Name) })
}

// newFlows names the set in which a VM's new flows are counted, or its peers'. An element keeps the bound
// that it was made with, so each has a set of its own.
func (s side) newFlows() string {
	if s.out {
		return rated(newFlowsSet, s.mostNewFlows())
	}
	return rated(peersFlowsSet, s.mostNewFlows())
}

func rated(set string, rate int) string {
	if rate == 0 {
		return set
	}
	return fmt.Sprintf("%s-%d", set, rate)
}

// perSecond is a share of so many a second, all of them at once.
func perSecond(rate int, over bool) ruleset.Share {
	return ruleset.Share{Rate: rate, Burst: rate, Unit: time.Second, Over: over}
}

// header is the length of the family's header without options or extension headers, and
// fragmentLength that of IPv6's fragment header.
func (f family) header() uint32 {
	if f.name == family4.name {
		return 20
	}
	return 40
}

const fragmentLength = 8

// flow gives the fields of a datagram that are a flow's, where the transport header is at
// that place: the NIC, the peer, and the ports, the peer's first.
func (s side) flow(f family, kind string, at uint32) []ruleset.Field {
	source, destination := f.sourceBytes(), f.destinationBytes()
	return s.flowOf(f, kind, source, destination, at)
}

func (s side) flowOf(f family, kind string, source, destination ruleset.Field, at uint32) []ruleset.Field {
	peer, ports := source, []ruleset.Field{network(at, 2), network(at+2, 2)}
	if s.out {
		peer, ports = destination, []ruleset.Field{network(at+2, 2), network(at, 2)}
	}
	switch {
	case kind == echoFlows:
		ports = []ruleset.Field{network(at+4, 2)} // the identifier (RFC 792; RFC 4443, 4.1)
	case kind == fragmentFlows && f.name == family4.name:
		ports = []ruleset.Field{network(4, 2)} // the identification (RFC 791)
	case kind == fragmentFlows:
		ports = []ruleset.Field{network(family6.header()+4, 4)} // (RFC 8200, 4.5)
	}
	return append([]ruleset.Field{s.index(), peer}, ports...)
}

// quotedFlow gives the fields of the datagram that an ICMP error quotes: it went the other way.
func (s side) quotedFlow(f family, kind string) []ruleset.Field {
	return s.quotedFlowAt(f, kind, f.header())
}

// quotedFlowAt gives them where the transport header is at a place of that datagram.
func (s side) quotedFlowAt(f family, kind string, transport uint32) []ruleset.Field {
	at := f.header() + icmpHeader
	back := s
	back.out = !s.out
	move := func(field ruleset.Field) ruleset.Field { return network(field.Offset+at, field.Size) }
	fields := back.flowOf(f, kind, move(f.sourceBytes()), move(f.destinationBytes()), at+transport)
	fields[0] = s.index()
	return fields
}

const icmpHeader = 8 // of an error

func (f family) destinationBytes() ruleset.Field {
	if f.name == family4.name {
		return network(16, 4)
	}
	return network(24, 16)
}

// icmp is the protocol of the family's control messages.
func (f family) icmp() byte {
	if f.name == family4.name {
		return ruleset.ICMP
	}
	return ruleset.ICMPv6
}

// stands matches datagrams of a flow that stands.
func (s side) stands(f family, kind string, at uint32) ruleset.Match {
	return ruleset.Lookup{Fields: s.flow(f, kind, at), Set: f.flows(kind)}
}

// keeps has a flow stand from now on for as long as its kind does.
func (s side) keeps(f family, kind string, at uint32) ruleset.Update {
	return ruleset.Update{Set: f.flows(kind), Fields: s.flow(f, kind, at), Timeout: flowTime(kind)}
}

// passing adds a rule that lets pass, and changes sets.
func (c *chain) passing(words string, updates []ruleset.Update, when ...ruleset.Match) {
	c.accept(words, when...)
	c.Rules[len(c.Rules)-1].Updates = updates
}

// openings gives what may be opened in the direction, and key its key.
func (s side) openings() policy.Openings {
	if s.out {
		return s.policy.Outbound
	}
	return s.policy.Inbound
}

func (s side) key() string {
	if s.out {
		return "outbound"
	}
	return "inbound"
}

// records reports whether what is opened in the direction is kept: what the VM opens, so that
// its answers come in; what peers open, where the VM may not open everything, or they not as much as they like.
func (s side) records() bool {
	return s.policy.Tracks() && (s.out || s.policy.Outbound.Listed || s.policy.Max.NewFlows > 0 || s.policy.Max.InboundFlows > 0)
}

// bounds reports whether more flows than the share of its NIC are dropped, and not only kept no more.
// Where something is listed, they are so in both directions.
func (s side) bounds() bool {
	return s.lists() || s.mostNewFlows() > 0
}

func (s side) lists() bool { return s.policy.Inbound.Listed || s.policy.Outbound.Listed }

func (s side) mostNewFlows() int {
	if s.out {
		return s.policy.Max.NewFlows
	}
	return s.policy.Max.InboundFlows
}

// lets adds a rule that lets peers through, as far as flows and what may be opened do.
func (c *chain) lets(f family, words string, when ...ruleset.Match) {
	if !c.policy.Tracks() {
		c.accept(words, when...)
		return
	}
	c.goTo(f.name+"-"+c.key(), when...)
	c.Rules[len(c.Rules)-1].Comment = ruleset.Comment(words)
}

// flowChains gives the chains that say what may be opened, and what stands.
func (s side) flowChains(f family) {
	s.servedUDP(f)
	if !s.policy.Tracks() {
		return
	}
	s.dispatch(f)
	s.laterFragmentFlows(f)
	s.firstFragmentFlows(f)
	s.tcpFlows(f)
	s.udpFlows(f)
	s.icmpFlows(f)
	for _, kind := range []string{tcpNewFlows, udpFlows, echoFlows} {
		s.opens(f, kind)
	}
}

// sub names a chain of these.
func (s side) sub(f family, name string) string { return f.name + "-" + s.key() + "-" + name }

// dispatch tells protocols apart.
func (s side) dispatch(f family) {
	c := s.newChain(f.name + "-" + s.key())
	is := func(proto byte) []ruleset.Match { return one(ruleset.Byte(ruleset.IP6NextHeader, proto)) }
	icmp := byte(ruleset.ICMPv6)
	if f.name == family4.name {
		is = func(proto byte) []ruleset.Match { return one(ruleset.Byte(ruleset.L4Proto, proto)) }
		icmp = ruleset.ICMP
		if !s.out {
			c.groupQueries(f) // which have an option
		}
		// Behind options, ports are somewhere else.
		c.drop(c.key(), "IPv4 options", isNot(versionAndLength, 0x45))
		c.goTo(s.sub(f, laterFragmentChain), laterFragment)
		c.goTo(s.sub(f, firstFragmentChain), moreFragments)
	} else {
		later := ruleset.Masked{Field: network(f.header()+2, 2), Mask: []byte{0xff, 0xf8}, Op: ruleset.NotEqual, Value: []byte{0, 0}}
		c.goTo(s.sub(f, laterFragmentChain), append(is(fragmentHeader), later)...)
		c.goTo(s.sub(f, firstFragmentChain), is(fragmentHeader)...)
	}
	c.goTo(s.sub(f, "tcp"), is(ruleset.TCP)...)
	c.toGroups(f)
	c.goTo(s.sub(f, "udp"), is(ruleset.UDP)...)
	c.goTo(s.sub(f, "icmp"), is(icmp)...)
	if f.name == family6.name && !s.out {
		c.accept(mldQueryWords, mldQueries()...)
	}
	c.otherFlows(f)
	c.done()
}

// otherFlows judges protocols of which rules know no flows. Of SCTP, what opens an association
// is told by its chunk, and all else passes where either side may open one.
func (c *chain) otherFlows(f family) {
	sctp := func(words string, field ruleset.Field, o *policy.Opening, more ...ruleset.Match) {
		for _, service := range openedServices(o, ruleset.SCTP) {
			c.accept(words, all(c.openedBy(f, o), ports(f, field, service), more)...)
		}
	}
	back := c.back()
	for _, o := range c.listed(f) {
		if o == nil || o.Any {
			c.accept(c.openingWords(o), c.openedBy(f, o)...)
		} else {
			sctp(c.openingWords(o), ruleset.DestinationPort, o)
		}
	}
	if !c.openings().Listed {
		return
	}
	for _, o := range back.listed(f) {
		sctp("answer to "+back.openingWords(o), ruleset.SourcePort, o, isNot(sctpChunk, sctpINIT), isNot(sctpChunk, sctpCookieEcho))
	}
	c.drop(c.key(), "not in "+c.key())
}

// back is the other direction.
func (s side) back() side {
	if s.out {
		return side{view: toVM, builder: s.builder}
	}
	return side{view: fromVM, builder: s.builder}
}

// openingWords name the entry that opens something, nil for all.
func (s side) openingWords(o *policy.Opening) string {
	if o == nil {
		return s.key() + ": any"
	}
	return s.key() + ": " + o.String()
}

// openedBy matches the peers of an entry.
func (s side) openedBy(f family, o *policy.Opening) []ruleset.Match {
	return ofPeers(s.peerField(f), o)
}

func ofPeers(field ruleset.Field, o *policy.Opening) []ruleset.Match {
	if o == nil || o.Everybody {
		return nil
	}
	return one(among(field, o.Peers))
}

// laterFragments lets pass the fragments of datagrams with peers that are allowed by a service,
// which have no ports. There is no set of flows for those of IPv6.
func (c *chain) laterFragments(f family) {
	if !c.policy.Tracks() || f.name == family6.name || len(c.policy.Services) == 0 {
		return
	}
	offset := ruleset.Among(network(6, 2), false,
		ruleset.Element{From: [][]byte{{0, 1}}, To: [][]byte{{0x1f, 0xff}}}, ruleset.Element{From: [][]byte{{0x20, 1}}, To: [][]byte{{0x3f, 0xff}}})
	c.accept(laterWords, noOptions, offset, c.stands(f, fragmentFlows, f.header()))
}

const laterWords = "fragment of a datagram whose first one was seen"

// The ends of the names of the chains for fragments.
const (
	laterFragmentChain = "later-fragment"
	firstFragmentChain = "first-fragment"
)

// laterFragmentFlows lets pass the fragments of datagrams whose first one did.
func (s side) laterFragmentFlows(f family) {
	c := s.newChain(s.sub(f, laterFragmentChain))
	if s.openings().Listed {
		c.accept(laterWords, c.stands(f, fragmentFlows, f.header()))
		c.drop("fragment", "fragment whose first one was not seen")
	} else { // whichever comes first
		c.accept(c.openingWords(nil))
	}
	c.done()
}

// firstFragmentFlows judges first fragments, and those of IPv6 that are whole (RFC 6946): what
// follows one passes if it does, within the share of its NIC.
func (s side) firstFragmentFlows(f family) {
	c := s.newChain(s.sub(f, firstFragmentChain))
	at, protocol := f.header(), network(9, 1)
	if f.name == family6.name {
		at, protocol = f.header()+fragmentLength, network(f.header(), 1)
	}
	is := func(proto byte) ruleset.Match { return ruleset.Byte(protocol, proto) }
	rest := []ruleset.Update{c.share(fragmentsSet, fragmentShare), c.keeps(f, fragmentFlows, at)}
	if !c.openings().Listed {
		if f.name == family4.name && len(c.policy.Services) > 0 { // see laterFragments
			c.updates(nil, rest...)
		}
		rest = nil
	}
	echo := func(kinds ...byte) ruleset.Match { return amongBytes(network(at, 1), kinds...) }
	request, reply := f.echo()
	stands := func(kind string, when ...ruleset.Match) {
		c.passing("first fragment of a flow that stands", append([]ruleset.Update{c.keeps(f, kind, at)}, rest...), append(when, c.stands(f, kind, at))...)
	}
	stands(tcpFlows, is(ruleset.TCP))
	stands(tcpNewFlows, is(ruleset.TCP))
	stands(udpFlows, is(ruleset.UDP))
	stands(echoFlows, is(f.icmp()), echo(request, reply))

	peer := f.sourceBytes()
	if c.out {
		peer = f.destinationBytes()
	}
	for _, o := range c.listed(f) {
		peers := ofPeers(peer, o)
		open := func(kind string, when ...ruleset.Match) {
			updates := rest
			if kind != "" && c.records() {
				updates = append([]ruleset.Update{c.newShare(), c.keeps(f, kind, at)}, rest...)
			}
			c.passing(c.openingWords(o), updates, append(when, peers...)...)
		}
		if o == nil || o.Any || o.Ping {
			open(echoFlows, is(f.icmp()), echo(request))
		}
		for _, of := range []struct {
			proto byte
			kind  string
		}{{ruleset.TCP, tcpNewFlows}, {ruleset.UDP, udpFlows}, {ruleset.SCTP, ""}} {
			for _, service := range openedServices(o, of.proto) {
				open(of.kind, all(one(is(of.proto)), rawPort(network(at+2, 2), service))...)
			}
		}
		if o == nil || o.Any {
			open("", isNot(protocol, ruleset.TCP), isNot(protocol, ruleset.UDP))
		}
	}
	switch {
	case c.openings().Listed:
		c.drop(c.key(), "not in "+c.key())
	case c.bounds():
		c.drop("max-new-flows", "more new flows than a NIC may have")
	default:
		c.accept(moreFlows)
	}
	c.done()
}

// moreFlows are the words of what passes beyond the share of a NIC whose flows are not bounded.
const moreFlows = "more flows than rules keep"

// echo gives the types of ping.
func (f family) echo() (request, reply byte) {
	if f.name == family4.name {
		return echoRequest4, echoReply4
	}
	return echoRequest6, echoReply6
}

// rawPort matches a range of ports by bytes.
func rawPort(field ruleset.Field, s config.Service) []ruleset.Match {
	switch {
	case s.From <= 1 && s.To == 65535:
		return nil
	case s.From == s.To:
		return one(ruleset.Compare{Field: field, Op: ruleset.Equal, Value: port(s.From)})
	}
	return one(ruleset.Between{Field: field, From: port(s.From), To: port(s.To)})
}

// listed gives the entries of what peers of the family may open, or have opened, nil for anything.
func (s side) listed(f family) []*policy.Opening {
	if !s.openings().Listed {
		return []*policy.Opening{nil}
	}
	var out []*policy.Opening
	for _, o := range s.openings().List {
		if o.Peers = f.merged(o.Peers); o.Everybody || len(o.Peers) > 0 {
			out = append(out, &o)
		}
	}
	return out
}

// allPorts are every service of a protocol.
func allPorts(proto byte) config.Service { return config.Service{Proto: proto, From: 0, To: 65535} }

// openedServices gives an entry's of a protocol.
func openedServices(o *policy.Opening, proto byte) []config.Service {
	if o == nil || o.Any {
		return []config.Service{allPorts(proto)}
	}
	var out []config.Service
	for _, s := range o.Services {
		if s.Proto == proto {
			out = append(out, s)
		}
	}
	return out
}

// newShare counts a new flow: the VM's own, or its peers'.
func (s side) newShare() ruleset.Update {
	share := flowShare
	if rate := s.mostNewFlows(); rate > 0 {
		share = perSecond(rate, false)
	}
	return s.share(s.newFlows(), share)
}

// servedChain ends the name of the chain of the UDP that denied peers ask the VM's services by.
const servedChain = "-serve"

func (b *builder) servesUDP() bool {
	return slices.ContainsFunc(b.policy.Serve, func(s config.Service) bool { return s.Proto == ruleset.UDP })
}

// servedUDP has the VM answer those alone that asked: their flow stands.
func (s side) servedUDP(f family) {
	if !s.servesUDP() {
		return
	}
	c := s.newChain(f.name + servedChain)
	const words = "UDP of a flow that stands"
	if f.name == family4.name {
		c.drop("denied-ipv4", "IPv4 options", isNot(versionAndLength, 0x45))
	}
	c.passing(words, []ruleset.Update{c.keeps(f, udpFlows, f.header())}, c.stands(f, udpFlows, f.header()))
	if s.out {
		c.drop("denied-"+f.name, "answer to a question that nobody asked")
	} else {
		c.passing("question", []ruleset.Update{c.newShare(), c.keeps(f, udpFlows, f.header())})
		c.drop("max-new-flows", "more new flows than a NIC may have")
	}
	c.done()
}

// The flags of a TCP segment in an ordinary header (RFC 9293, 3.1): all that end a connection,
// RST alone, those that answer who opens one, and those of most others. Each comes with ECN's, too
// (RFC 3168, 6.1.1; RFC 9768, 3.1.1).
const (
	tcpEnds    = "\x01\x04\x11\x14\x19\x1c"
	tcpResets  = "\x04\x14\x1c"
	tcpAnswers = "\x12\x1a"
	tcpGoesOn  = "\x04\x10\x11\x14\x18\x19\x1c\x30\x31\x38\x39"
)

const tcpData = "\x10\x18"

func withECN(flags string) []byte {
	var out []byte
	for _, ecn := range []byte{0, 0x40, 0x80, 0xc0} {
		for _, b := range []byte(flags) {
			out = append(out, b|ecn)
		}
	}
	return out
}

// flagsOf is the byte of a TCP header's flags.
func flagsOf(f family) ruleset.Field { return network(f.header()+13, 1) }

func (s side) tcpFlows(f family) {
	c := s.newChain(s.sub(f, "tcp"))
	at := f.header()
	flags := func(all string) ruleset.Match { return amongBytes(flagsOf(f), withECN(all)...) }
	const words = "TCP of a flow that stands"
	soon, long, ended := c.keeps(f, tcpNewFlows, at), c.keeps(f, tcpFlows, at), c.keeps(f, tcpEndedFlows, at)
	ends := append(c.forgets(f), ruleset.Update{Set: long.Set, Fields: long.Fields, Delete: true}, ended)
	c.passing("end of a connection", ends, flags(tcpEnds), c.stands(f, tcpFlows, at))
	c.passing("answer to who opened a connection", []ruleset.Update{c.share(connectionsSet, connectionShare), long, {Set: soon.Set, Fields: soon.Fields, Delete: true}}, flags(tcpAnswers), c.stands(f, tcpNewFlows, at))
	c.passing(words, c.keepsConnection(f), c.stands(f, tcpFlows, at))
	c.passing(words, []ruleset.Update{soon}, c.stands(f, tcpNewFlows, at))
	c.passing("TCP of a connection that ends", []ruleset.Update{ended}, flags(tcpGoesOn), c.stands(f, tcpEndedFlows, at))
	// By what a peer sends, none begins to stand: the VM may not know of it, and answer with a reset.
	var updates []ruleset.Update
	if c.out {
		updates = []ruleset.Update{c.newShare(), ended}
	}
	c.passing("connection of a VM that ran before its flows were known", updates,
		amongBytes(flagsOf(f), []byte(tcpData)...), ruleset.Lookup{Fields: []ruleset.Field{c.index()}, Set: runningFlowsSet})
	c.opening(f, ruleset.TCP, tcpNewFlows)
	c.done()
}

// keepsConnection has a connection stand on, by the VM's segments alone: it answers all that arrives,
// a peer's keep-alives, too (RFC 9293, 3.8.4 and 3.8.6.3), so that those to the VM, which is most of
// what there is, need no more than a look into the set.
func (s side) keepsConnection(f family) []ruleset.Update {
	if !s.out {
		return nil
	}
	return []ruleset.Update{s.keeps(f, tcpFlows, f.header())}
}

func (s side) udpFlows(f family) {
	c := s.newChain(s.sub(f, "udp"))
	c.passing("UDP of a flow that stands", []ruleset.Update{c.keeps(f, udpFlows, f.header())}, c.stands(f, udpFlows, f.header()))
	c.dhcpFlows(f)
	c.opening(f, ruleset.UDP, udpFlows)
	c.done()
}

// dhcpFlows lets DHCP pass as without the lists, but that servers are near, and answer only a VM that
// asked just now: all of them, and one does.
func (c *chain) dhcpFlows(f family) {
	client, server, near := uint16(68), uint16(67), c.dhcpServers()
	if f.name == family6.name {
		client, server, near = 546, 547, []netipx.IPRange{netipx.RangeOfPrefix(linkLocal6)}
	}
	switch {
	case !c.openings().Listed:
	case !c.out:
		c.accept("DHCP of a server that was asked", append(fromTo(server, client), ruleset.Lookup{Fields: []ruleset.Field{c.index()}, Set: askedDHCPSet})...)
	case len(near) > 0:
		c.accept("DHCP of a client", append(fromTo(client, server), among(c.peerField(f), near))...)
	}
	if c.policy.PassDHCPServer {
		c.serveLeases(f)
	}
}

// asksDHCP remembers, where answers are judged, that the VM asks DHCP servers.
func (c *chain) asksDHCP(f family, client, server uint16) {
	if c.policy.Inbound.Listed {
		c.updates(all(withPorts(f, ruleset.UDP), fromTo(client, server)), c.in(askedDHCPSet, answeredFor))
	}
}

// opening lets those flows be opened that may.
func (c *chain) opening(f family, proto byte, kind string) {
	open := func(words string, when ...ruleset.Match) {
		if !c.records() {
			c.accept(words, when...)
			return
		}
		c.goTo(c.sub(f, kind+"-open"), when...)
		c.Rules[len(c.Rules)-1].Comment = ruleset.Comment(words)
	}
	if c.out && !c.back().records() { // what peers open passes by their services alone
		for _, o := range c.back().listed(f) {
			for _, service := range openedServices(o, proto) {
				c.accept("answer to "+c.back().openingWords(o), all(c.openedBy(f, o), ports(f, ruleset.SourcePort, service))...)
			}
		}
	}
	for _, o := range c.listed(f) {
		if o == nil {
			open(c.openingWords(nil))
			continue
		}
		for _, service := range openedServices(o, proto) {
			open(c.openingWords(o), all(c.openedBy(f, o), ports(f, ruleset.DestinationPort, service))...)
		}
	}
	if c.openings().Listed {
		c.drop(c.key(), "not in "+c.key())
	}
}

// NewFlow is the comment of the rules that let a flow be opened. What says that it may, the rule that
// led to their chain does.
const NewFlow = "new flow"

// opens has a flow stand, within the share of its NIC.
func (s side) opens(f family, kind string) {
	if !s.records() {
		return
	}
	c := s.newChain(s.sub(f, kind+"-open"))
	if kind == echoFlows { // one flow of many requests
		c.passing("echo of a flow that stands", []ruleset.Update{c.keeps(f, kind, f.header())}, c.stands(f, kind, f.header()))
	}
	if kind == tcpNewFlows {
		none := tcpResets
		if !s.lists() && (s.out || s.bounds()) {
			none = tcpGoesOn + tcpAnswers
		}
		c.accept("segment that opens no connection", amongBytes(flagsOf(f), withECN(none)...))
	}
	c.passing(NewFlow, []ruleset.Update{c.newShare(), c.keeps(f, kind, f.header())})
	if s.bounds() {
		c.drop("max-new-flows", "more new flows than a NIC may have")
	} else {
		c.accept(moreFlows)
	}
	c.done()
}

func (s side) icmpFlows(f family) {
	c := s.newChain(s.sub(f, "icmp"))
	typed := func(kinds ...byte) ruleset.Match { return amongBytes(ruleset.ICMPType, kinds...) }
	request, reply := f.echo()
	errors := typed(unreachable4, icmpRedirect, timeExceeded4, parameterProblem4) // a redirect of the VM's was judged before
	if f.name == family6.name {
		typed = func(kinds ...byte) ruleset.Match { return amongBytes(ruleset.ICMPv6Type, kinds...) }
		errors = ruleset.Between{Field: ruleset.ICMPv6Type, From: []byte{unreachable6}, To: []byte{parameterProblem6}}
	}
	for _, o := range c.listed(f) {
		if o != nil && !o.Any && !o.Ping {
			continue
		}
		when := all(one(typed(request)), c.openedBy(f, o))
		if c.records() {
			c.goTo(c.sub(f, echoFlows+"-open"), when...)
			c.Rules[len(c.Rules)-1].Comment = ruleset.Comment(c.openingWords(o))
		} else {
			c.accept(c.openingWords(o), when...)
		}
	}
	if f.name == family6.name { // judged before
		discovery := discoveryTypes
		if !c.out {
			discovery = append([]byte{routerAdvertisement, redirect}, discoveryTypes...)
		}
		c.accept("neighbour discovery", typed(discovery...))
	}
	if !c.openings().Listed {
		c.accept(c.openingWords(nil))
		c.done()
		return
	}
	c.goTo(c.sub(f, "icmp-reply"), typed(reply))
	for _, o := range c.listed(f) {
		if o.Any {
			c.accept(c.openingWords(o), c.openedBy(f, o)...)
		}
	}
	c.goTo(c.sub(f, "icmp-error"), errors)
	c.drop(c.key(), "not in "+c.key())
	c.done()
	s.icmpReplies(f)
	s.flowErrors(f)
}

// icmpReplies lets in, where what may be opened is listed, answers to who was asked: then what is
// opened in the other direction is always kept.
func (s side) icmpReplies(f family) {
	c := s.newChain(s.sub(f, "icmp-reply"))
	c.accept("echo of a flow that stands", c.stands(f, echoFlows, f.header()))
	c.drop(c.key(), "answer that nobody asked for")
	c.done()
}

// flowErrors lets ICMP errors pass that quote a datagram of a flow that stands, or one of what
// may be opened in the direction without rules keeping it.
func (s side) flowErrors(f family) {
	c := s.newChain(s.sub(f, "icmp-error"))
	q := f.quoted()
	const words = "ICMP error about a flow that stands"
	for _, kind := range []struct {
		flows string
		proto byte
	}{{tcpFlows, ruleset.TCP}, {tcpNewFlows, ruleset.TCP}, {udpFlows, ruleset.UDP}, {echoFlows, f.icmp()}} {
		c.accept(words, q.header, ruleset.Byte(q.protocol, kind.proto), ruleset.Lookup{Fields: c.quotedFlow(f, kind.flows), Set: f.flows(kind.flows)})
	}
	if f.name == family6.name { // a datagram that the VM cut up itself
		const behind = 40
		header := all(one(q.header), one(ruleset.Byte(q.protocol, fragmentHeader)), one(ruleset.Byte(quoted(behind, 1), ruleset.UDP)))
		c.accept(words, append(header, ruleset.Lookup{Fields: c.quotedFlowAt(f, udpFlows, f.header()+fragmentLength), Set: f.flows(udpFlows)})...)
	}
	c.openedErrors(f)
	c.drop(c.key(), "ICMP error about no flow that stands")
	c.done()
}

// openedErrors lets errors pass about what may be opened in the direction without rules keeping it.
func (c *chain) openedErrors(f family) {
	q := f.quoted()
	peer, at := q.destination, q.fromPort
	if c.out {
		peer, at = q.source, q.toPort
	}
	for _, o := range c.listed(f) {
		accept := func(when ...ruleset.Match) {
			c.accept("ICMP error about "+c.openingWords(o), all(one(q.header), when, ofPeers(peer, o))...)
		}
		if o.Any {
			accept()
			continue
		}
		protos := []byte{ruleset.SCTP}
		if !c.records() {
			protos = []byte{ruleset.TCP, ruleset.UDP, ruleset.SCTP}
			if o.Ping {
				accept(ruleset.Byte(q.protocol, f.icmp()))
			}
		}
		for _, proto := range protos {
			for _, service := range openedServices(o, proto) {
				accept(append(rawPort(at, service), ruleset.Byte(q.protocol, proto))...)
			}
		}
	}
	back, at := c.back(), q.toPort
	if c.out {
		at = q.fromPort
	}
	for _, o := range back.listed(f) {
		for _, service := range openedServices(o, ruleset.SCTP) {
			c.accept("ICMP error about "+back.openingWords(o), all([]ruleset.Match{q.header, ruleset.Byte(q.protocol, ruleset.SCTP)}, ofPeers(peer, o), rawPort(at, service))...)
		}
	}
}
