package filter

import (
	"net/netip"
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/ruleset"
)

// icmpErrors lets in what routers whose own addresses are denied tell the VM of its
// traffic: the gateway by its global address, which is of the LAN's prefix, and routers
// behind it; and hosts that are allowed by a service alone. Without, the VM never learns
// that its packets are too big for the way (RFC 1191; RFC 8201; RFC 4890, 4.3.1).
//
// The message must quote a datagram that this policy lets the VM send, from the VM's own
// address as far as that is known. A host of the LAN can forge one, but it could before,
// with an internet host's address for its source; it tells the VM nothing but of such
// traffic, and gets no answer.
func (c *chain) icmpErrors(f family) {
	q := f.quoted()
	message := []ruleset.Match{firstFragment, amongBytes(ruleset.ICMPType, unreachable4, timeExceeded4, parameterProblem4)}
	if f.name == family6.name {
		message = []ruleset.Match{directly, ruleset.Between{Field: ruleset.ICMPv6Type, From: []byte{unreachable6}, To: []byte{parameterProblem6}}}
	}
	// Many a router of a tunnel has an IPv4 link-local address alone.
	noRouters := slices.DeleteFunc(slices.Clone(f.special), func(p netip.Prefix) bool { return p == linkLocal4 })
	own := [][]ruleset.Match{nil}
	if c.knowsOwn(f) {
		own = nil
		for _, source := range c.isVMs(f, q.source) {
			own = append(own, one(source))
		}
	}
	accept := func(words string, when ...ruleset.Match) {
		for _, source := range own {
			c.accept(words, all(source, message, outside(c.peerField(f), noRouters), one(q.header), when)...)
		}
	}
	if peer, any := c.notClosed(f, q.destination); any {
		accept(c.notDenied(f, errorAbout), peer...)
	}
	if peers := c.sendsWhole(f); len(peers) > 0 {
		accept(errorAbout+"of "+c.wholeWords(peers), among(q.destination, peers))
	}
	for _, s := range c.sendsServices(f) {
		accept(errorAbout+"of "+c.serviceWords(s.service, s.peers), all(one(among(q.destination, s.peers)), s.quoted(q, q.toPort))...)
	}
	clients := outside(q.destination, f.special)
	for _, s := range c.policy.Serve {
		accept(errorAbout+"of "+serveWords(s), all(clients, portsOf{service: s}.quoted(q, q.fromPort))...)
	}
}

// errorAbout begins the words of what lets ICMP errors pass.
const errorAbout = "ICMP error about traffic "

// sendsWhole gives the closed peers of other networks to which the VM may send anything:
// of its traffic with neighbours no router tells it.
func (b *builder) sendsWhole(f family) []netipx.IPRange {
	lists := [][]netipx.IPRange{ofAddrs(b.policy.Hosts), b.allowedNetworks(f)}
	if f.name == family6.name && !b.policy.PassTunnels {
		lists = append(lists, b.relayed())
	}
	return b.beyond(f, f.merged(lists...))
}

// beyond gives what of some ranges is not on the link.
func (b *builder) beyond(f family, all []netipx.IPRange) []netipx.IPRange {
	var out netipx.IPSetBuilder
	for _, r := range all {
		out.AddRange(r)
	}
	for _, p := range b.link(f) {
		out.RemovePrefix(p)
	}
	return built(&out).Ranges()
}

// portsOf are the peers that have an allowed service.
type portsOf struct {
	service config.Service
	peers   []netipx.IPRange
}

// sendsServices gives the allowed services of the family, each once, with its peers:
// one on the link tells itself that a port is closed.
func (b *builder) sendsServices(f family) []portsOf {
	var out []portsOf
	places := map[config.Service]int{}
	for _, s := range b.policy.Services {
		if !f.is(s.Peers.From()) {
			continue
		}
		key := config.Service{Proto: s.Proto, From: s.From, To: s.To}
		if _, known := places[key]; !known {
			places[key] = len(out)
			out = append(out, portsOf{service: key})
		}
		out[places[key]].peers = append(out[places[key]].peers, s.Peers)
	}
	return out
}

// quoted matches a datagram of the service that an error quotes. Whether it is a later
// fragment, which has no ports, is not asked: a router tells of the first one.
func (p portsOf) quoted(q quotation, field ruleset.Field) []ruleset.Match {
	protocol := ruleset.Byte(q.protocol, p.service.Proto)
	if p.service.From == p.service.To {
		return []ruleset.Match{protocol, ruleset.Compare{Field: field, Op: ruleset.Equal, Value: port(p.service.From)}}
	}
	return []ruleset.Match{protocol, ruleset.Between{Field: field, From: port(p.service.From), To: port(p.service.To)}}
}

// The types of ICMP messages that tell what became of a datagram (RFC 792; RFC
// 4443, 3).
const (
	unreachable4      = 3
	timeExceeded4     = 11
	parameterProblem4 = 12

	unreachable6      = 1
	tooBig6           = 2
	timeExceeded6     = 3
	parameterProblem6 = 4
)

// A quotation is where the fields of the datagram stand that an ICMP error quotes, of a
// header without options or extension headers. header matches such a one.
type quotation struct {
	header                                          ruleset.Match
	protocol, source, destination, fromPort, toPort ruleset.Field
}

func (f family) quoted() quotation {
	if f.name == family4.name {
		return quotation{
			header:   ruleset.Byte(quoted(0, 1), 0x45),
			protocol: quoted(9, 1), source: quoted(12, 4), destination: quoted(16, 4), fromPort: quoted(20, 2), toPort: quoted(22, 2),
		}
	}
	return quotation{
		header:   ruleset.Masked{Field: quoted(0, 1), Mask: []byte{0xf0}, Op: ruleset.Equal, Value: []byte{0x60}},
		protocol: quoted(6, 1), source: quoted(8, 16), destination: quoted(24, 16), fromPort: quoted(40, 2), toPort: quoted(42, 2),
	}
}

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
