package filter

import "macvtap-filter/internal/ruleset"

// icmpErrors lets in what routers whose own addresses are denied tell the VM of its
// traffic with the internet: the gateway by its global address, which is of the
// LAN's prefix, and routers behind it. Without, the VM never learns that its packets
// are too big for the way (RFC 1191; RFC 8201; RFC 4890, 4.3.1).
//
// The message must quote a datagram to a peer that is not denied, of the VM's as
// far as its addresses are known. A host of the LAN can forge one, but it could
// before, with an internet host's address for its source; it tells the VM nothing
// but of traffic with the internet, and gets no answer.
func (c *chain) icmpErrors(f family) {
	source, destination := quoted(12, 4), quoted(16, 4)
	message := []ruleset.Match{firstFragment, amongBytes(ruleset.ICMPType, unreachable4, timeExceeded4, parameterProblem4)}
	version := byte(0x40)
	if f.name == family6.name {
		source, destination = quoted(8, 16), quoted(24, 16)
		message = []ruleset.Match{directly, ruleset.Between{Field: ruleset.ICMPv6Type, From: []byte{unreachable6}, To: []byte{parameterProblem6}}}
		version = 0x60
	}
	peer, any := c.notClosed(f, destination)
	if !any {
		return
	}
	var own []ruleset.Match
	if known := f.own(c.policy); c.knowsOwn() {
		if len(known) == 0 {
			return
		}
		var elements []ruleset.Element
		for _, a := range known {
			elements = append(elements, single(a))
		}
		own = one(ruleset.Among(source, false, elements...))
	}
	c.accept(all(message, outside(c.peerField(f), f.special),
		one(ruleset.Masked{Field: quoted(0, 1), Mask: []byte{0xf0}, Op: ruleset.Equal, Value: []byte{version}}), own, peer)...)
}

// The types of ICMP messages that tell what became of a datagram (RFC 792; RFC
// 4443, 3).
const (
	unreachable4      = 3
	timeExceeded4     = 11
	parameterProblem4 = 12

	unreachable6      = 1 // 2 is packet too big, 3 time exceeded
	parameterProblem6 = 4
)

// quoted is a field of the datagram that an ICMP error quotes, counted from that
// one's beginning.
func quoted(offset, size uint32) ruleset.Field {
	const header = 8 // the message's own
	return ruleset.Raw(ruleset.TransportHeader, header+offset, size)
}

// amongBytes matches a field of one byte that has one of several values.
func amongBytes(field ruleset.Field, values ...byte) ruleset.Match {
	var elements []ruleset.Element
	for _, v := range values {
		elements = append(elements, ruleset.Element{From: [][]byte{{v}}, To: [][]byte{{v}}})
	}
	return ruleset.Among(field, false, elements...)
}
