package filter

import (
	"macvtap-filter/internal/ruleset"
)

// ethernetIPv4 matches ARP for IPv4 on Ethernet, a request or a reply (RFC 826).
var ethernetIPv4 = []ruleset.Match{
	ruleset.Is(ruleset.ARPHardware, 1),
	ruleset.Is(ruleset.ARPProtocol, ruleset.EtherTypeIPv4),
	ruleset.Byte(ruleset.ARPHardLen, 6),
	ruleset.Byte(ruleset.ARPProtoLen, 4),
	ruleset.Between{Field: ruleset.ARPOperation, From: []byte{0, 1}, To: []byte{0, 2}},
}

// arp judges ARP by the addresses inside it: the VM tells nothing but its own, and
// only to and about peers that it may talk to; denied peers tell it nothing.
func (s side) arp() {
	c := s.newChain("arp")
	if s.policy.PassNeighbours {
		c.accept()
		c.done()
		return
	}
	if s.out && !s.policy.PassSpoofing {
		c.claims()
	}
	if s.out && s.knowsOwn() {
		// Probes and announcements of the VM's own address (RFC 5227).
		if known := family4.own(s.policy); len(known) > 0 {
			c.accept(all(ethernetIPv4, one(family4.among(ruleset.ARPTargetIP, own, known, false)))...)
		}
	}
	c.neighbours(family4, s.view.arp, func(when ...ruleset.Match) { c.accept(all(ethernetIPv4, when)...) })
	if len(s.policy.Serve) > 0 {
		c.accept(all(ethernetIPv4, outside(s.view.arp, family4.special))...)
	}
	c.drop("arp-"+map[bool]string{true: "target", false: "sender"}[s.out], "ARP with a denied host")
	c.done()
}

// claims drops ARP in which the VM gives itself a MAC or IP address that is not
// its own.
func (c *chain) claims() {
	c.drop("arp-claim", "ARP sender MAC address not the VM's own",
		ruleset.Compare{Field: ruleset.ARPSenderMAC, Op: ruleset.NotEqual, Value: c.mac})
	if taken, any := c.taken(family4, ruleset.ARPSenderIP, false); any {
		c.drop("arp-claim", "ARP claims the address of an allowed host", taken)
	}
	if c.knowsOwn() {
		// A probe has no sender address yet.
		probe := is(ruleset.ARPSenderIP, noAddress4, true)
		c.drop("arp-claim", "ARP claims an address not the VM's own", all(c.notOwn(family4, ruleset.ARPSenderIP), one(probe))...)
	}
}

// neighbours adds what then adds for each way in which a field can hold the address
// of a peer that must be found: an allowed one, one with an allowed service, one
// that is not denied.
func (c *chain) neighbours(f family, field ruleset.Field, then func(...ruleset.Match)) {
	for _, kind := range []string{hosts, ranges, servicePeers} {
		if c.has(f.set(kind)) {
			then(ruleset.Lookup{Fields: []ruleset.Field{field}, Set: f.set(kind)})
		}
	}
	if peers, any := c.notClosed(f, field); any {
		then(peers...)
	}
}
