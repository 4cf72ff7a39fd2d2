package filter

import (
	"macvtap-filter/internal/ruleset"
)

// ethernetIPv4 matches ARP for IPv4 on Ethernet, a request or a reply (RFC 826), the other
// two one of them.
func ethernetIPv4() []ruleset.Match {
	return append(arpHeader(), ruleset.Between{Field: ruleset.ARPOperation, From: []byte{0, 1}, To: []byte{0, 2}})
}

func ethernetIPv4Request() []ruleset.Match {
	return append(arpHeader(), ruleset.Is(ruleset.ARPOperation, 1))
}

func ethernetIPv4Reply() []ruleset.Match {
	return append(arpHeader(), ruleset.Is(ruleset.ARPOperation, 2))
}

func arpHeader() []ruleset.Match {
	return []ruleset.Match{
		ruleset.Is(ruleset.ARPHardware, 1),
		ruleset.Is(ruleset.ARPProtocol, ruleset.EtherTypeIPv4),
		ruleset.Byte(ruleset.ARPHardLen, 6),
		ruleset.Byte(ruleset.ARPProtoLen, 4),
	}
}

// arp judges ARP by the addresses inside it: the VM tells nothing but its own, and
// only to and about peers that it may talk to; denied peers tell it nothing.
func (s side) arp() {
	c := s.newChain("arp")
	if !s.out {
		c.hearARP() // whoever has an address may say so by its own MAC address
	}
	c.isolated()
	c.limited()
	if !s.out {
		c.learnARP()
	}
	if s.policy.PassNeighbours {
		if s.out {
			c.learnARPSource()
		}
		c.accept(neighboursPass)
		c.done()
		return
	}
	if s.out && !s.policy.PassSpoofing {
		c.claims()
	}
	c.probeARP()
	if s.knowsOwn(family4) {
		c.ownARP()
	}
	accept := func(words string, when ...ruleset.Match) { c.accept(words, all(ethernetIPv4(), when)...) }
	c.neighbours(family4, s.view.arp, accept)
	if s.servesNeighbours() {
		accept(s.clientWords(), s.clients(family4, s.view.arp)...)
	}
	if c.has(routerSet(family4)) {
		c.routersARP()
	}
	c.drop("arp-"+map[bool]string{true: "target", false: "sender"}[s.out], "ARP with a denied host")
	c.done()
}

// Where the addresses stand in ARP for IPv4 on Ethernet (RFC 826), as bytes (see sourceBytes).
var (
	arpSender = network(14, 4)
	arpTarget = network(24, 4)
)

// ownARP lets pass what finds out whether another host has an address of the VM's, and
// what keeps it (RFC 5227): from the VM its probes and announcements, and answers to
// others' probes; to the VM, whoever else has it or is about to.
func (c *chain) ownARP() {
	senders, targets := c.isVMs(family4, arpSender), c.isVMs(family4, arpTarget)
	if c.out {
		for _, target := range targets {
			c.accept("ARP about an address of the VM's own", all(one(target), ethernetIPv4())...)
		}
		c.accept("answer to an ARP probe", all(ethernetIPv4Reply(), one(is(ruleset.ARPTargetIP, noAddress4, false)))...)
		return
	}
	for i := range senders {
		c.accept("ARP of another host that has an address of the VM's own", all(one(senders[i]), ethernetIPv4())...)
		c.accept("ARP probe for an address of the VM's own", all(one(targets[i]), ethernetIPv4(), one(is(ruleset.ARPSenderIP, noAddress4, false)))...)
	}
}

// routersARP lets a router that asks for the VM by an address that is denied find it, as
// one of a pair does, by its own address (RFC 5798, 8.1.2): the question and the answer. The
// answer is to somebody, so that one cut short, of which no rule reads who it is from, is none.
func (c *chain) routersARP() {
	if c.out {
		c.accept("answer to a router", all(ethernetIPv4Reply(), one(is(ruleset.ARPTargetIP, noAddress4, true)), one(c.router(family4, ruleset.EtherDestination, false)))...)
		return
	}
	c.accept("request of a router", all(ethernetIPv4Request(), one(c.router(family4, ruleset.ARPSenderMAC, false)))...)
}

// claims drops ARP in which the VM gives itself a MAC or IP address that is not
// its own.
func (c *chain) claims() {
	c.drop("arp-claim", "ARP sender MAC address not the VM's own",
		c.isNotOwn(ownMACSet, ruleset.ARPSenderMAC))
	if taken, any := c.taken(family4, ruleset.ARPSenderIP, false); any {
		c.drop("arp-claim", "ARP claims the address of another host", taken)
	}
	if taken, any := c.taken(family4, ruleset.ARPTargetIP, false); any {
		// Whoever has it takes the probe for a claim, too.
		c.drop("arp-claim", "ARP probe for the address of another host", is(ruleset.ARPSenderIP, noAddress4, false), taken)
	}
	c.dropRanges("arp-claim", "ARP claims an address that no host has", ruleset.ARPSenderIP, family4.nobodys())
	c.learnARPSource()
	if c.knowsOwn(family4) {
		// A probe has no sender address yet.
		probe := is(ruleset.ARPSenderIP, noAddress4, true)
		c.drop("arp-claim", "ARP claims an address not the VM's own", append(c.isNotVMs(family4, arpSender), probe)...)
	}
}

// neighbours adds what then adds for each way in which a field can hold the address
// of a peer that must be found: an allowed one, one with an allowed service, one
// that is not denied. It is given the words of the rule's comment, too.
func (c *chain) neighbours(f family, field ruleset.Field, then func(words string, when ...ruleset.Match)) {
	for _, kind := range []string{hosts, ranges, servicePeers} {
		if c.has(f.set(kind)) {
			then(c.allowWords(f, kind, 0), ruleset.Lookup{Fields: []ruleset.Field{field}, Set: f.set(kind)})
		}
	}
	if peers := c.openNeighbours(f); len(peers) > 0 {
		then(c.openWords(f), among(field, peers))
	}
}

// servesNeighbours reports whether denied peers of the link and the VM, which serves them,
// have to find each other: a DHCP client that renews its lease, too (RFC 2131, 4.4.5).
func (b *builder) servesNeighbours() bool {
	return len(b.policy.Serve) > 0 || b.policy.PassDHCPServer
}

// clients matches a field that holds the address of a denied peer that the VM serves.
// Those of other networks come by a router.
func (s side) clients(f family, field ruleset.Field) []ruleset.Match {
	if !s.knowsLink(f) {
		return outside(field, f.special)
	}
	return one(among(field, ofPrefixes(s.link(f))))
}
