package filter

import (
	"cmp"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/ruleset"
)

// The types of IGMP messages (RFC 3376, 4; RFC 2236, 2).
const (
	igmpQuery    = 0x11
	igmpV1Report = 0x12
	igmpV2Report = 0x16
	igmpLeave    = 0x17
	igmpV3Report = 0x22
)

const igmp byte = 2 // IANA's protocol numbers

// igmpType is the first byte of an IGMP message.
var igmpType = ruleset.Raw(ruleset.TransportHeader, 0, 1)

// igmpMessage matches one type of IGMP: whole, and not from afar (RFC 3376, 4). nft lists
// protocol and type as "igmp type", and loads both where that stands.
func igmpMessage(kind byte) []ruleset.Match {
	return []ruleset.Match{ruleset.Byte(ruleset.IPTTL, 1), firstFragment, ruleset.Byte(ruleset.L4Proto, igmp), ruleset.Byte(igmpType, kind)}
}

// groupsAllowed gives the family's groups that are allowed, whole or by a service.
func (b *builder) groupsAllowed(f family) []netipx.IPRange {
	if b.policy.PassMulticast {
		return []netipx.IPRange{netipx.RangeOfPrefix(f.multicast)}
	}
	return f.groupsOf(b.allowedRanges(f))
}

// groupsOf gives what of some ranges are groups.
func (f family) groupsOf(all []netipx.IPRange) []netipx.IPRange {
	groups := netipx.RangeOfPrefix(f.multicast)
	var out []netipx.IPRange
	for _, r := range all {
		if !r.Overlaps(groups) {
			continue
		}
		from, to := r.From(), r.To()
		if from.Less(groups.From()) {
			from = groups.From()
		}
		if groups.To().Less(to) {
			to = groups.To()
		}
		out = append(out, netipx.IPRangeFrom(from, to))
	}
	return out
}

// groupReports lets the VM tell switches and routers that it listens to groups that are
// allowed, by IGMP: with the option router alert, by which no router sends it elsewhere
// (RFC 2113), and from no address while it has none (RFC 3376, 4.2.13). MLD is told for all
// groups (see reports), since neighbour discovery needs it.
func (c *chain) groupReports(f family) {
	groups := c.groupsAllowed(f)
	if f.name == family6.name || len(groups) == 0 {
		return
	}
	report := func(kind byte, to ruleset.Match) {
		words := "IGMP of " + c.groupWords(f, anyOf)
		c.accept(words, all(one(noOptions), igmpMessage(kind), one(to))...)
		c.accept(words, all(one(ruleset.Byte(versionAndLength, 0x46)), one(routerAlert4), igmpMessage(kind), one(to))...)
	}
	report(igmpV1Report, among(c.ip4, groups))
	report(igmpV2Report, among(c.ip4, groups))
	report(igmpLeave, equals(c.ip4, "224.0.0.2"))
	report(igmpV3Report, equals(c.ip4, "224.0.0.22"))
	if c.policy.PassRouters {
		report(igmpQuery, within(c.ip4, f.multicast, false))
	}
}

// routerAlert4 is the option router alert (RFC 2113, 2.1) in a header of 24 bytes.
var routerAlert4 = ruleset.Compare{Field: network(20, 4), Op: ruleset.Equal, Value: []byte{0x94, 4, 0, 0}}

// groupQueries lets the VM hear which groups a switch or router asks for: whoever does not
// answer is soon in none, and neighbour discovery ends with that (RFC 4541; RFC 9777).
// A switch asks from an address of the LAN, or from none.
func (c *chain) groupQueries(f family) {
	if f.name == family4.name {
		c.accept("IGMP query of a switch or router", all(igmpMessage(igmpQuery), one(within(ruleset.IPDestination, f.multicast, false)))...)
	}
}

// answerPorts are the ports from which members of well-known groups answer one host: mDNS
// (RFC 6762, 6.7), SSDP (UPnP Device Architecture, 1.3.3), WS-Discovery (1.1, 3.1.1) and
// LLMNR (RFC 4795, 2.5).
var answerPorts = []groupPort{
	{"224.0.0.251", 5353}, {"ff02::fb", 5353},
	{"239.255.255.250", 1900}, {"ff02::c", 1900}, {"ff05::c", 1900},
	{"239.255.255.250", 3702}, {"ff02::c", 3702},
	{"224.0.0.252", 5355}, {"ff02::1:3", 5355},
}

// netbios is the service from which hosts answer who asks for a name in a broadcast (RFC
// 1002, 5.1.3).
var netbios = config.Service{Proto: ruleset.UDP, From: 137, To: 137}

// A groupPort is the port of a group's service.
type groupPort struct {
	group string
	port  uint16
}

// groupAnswers lets in what the members of allowed groups send to the group, and to the VM
// from the group's port. A denied host's frame to the VM passes so, if it comes from there.
func (c *chain) groupAnswers(f family) {
	if len(c.groupsAllowed(f)) == 0 {
		return
	}
	hosts := outside(c.peerField(f), f.special)
	whole := c.groupsWhole(f)
	if len(whole) > 0 {
		c.accept(c.groupWords(f, allWhole), all(hosts, one(among(f.destination(), whole)))...)
	}
	for _, s := range c.answers(f, whole) {
		c.accept(c.answerWords(f, s), all(hosts, ports(f, ruleset.SourcePort, s))...)
	}
	if c.policy.PassMulticast {
		if f.name == family4.name {
			c.accept("answer to a broadcast of "+multicastPass, all(hosts, one(unicast), ports(f, ruleset.SourcePort, netbios))...)
		}
		return
	}
	c.toGroupServices(f, hosts)
}

// toGroupServices lets in what is for the services of allowed groups, from whatever port:
// questions and announcements.
func (c *chain) toGroupServices(f family, hosts []ruleset.Match) {
	for _, s := range c.sendsServices(f) {
		if to := f.groupsOf(s.peers); len(to) > 0 {
			c.accept(c.serviceWords(s.service, to), all(hosts, one(among(f.destination(), to)), ports(f, ruleset.DestinationPort, s.service))...)
		}
	}
}

// toGroups lets pass what is for groups that other keys open, whatever may be opened. Of what the
// VM sends to groups, nothing else comes here.
func (c *chain) toGroups(f family) {
	if len(c.groupsAllowed(f)) == 0 {
		return
	}
	if c.out {
		c.accept("multicast that other keys open", within(c.peerField(f), f.multicast, false))
		return
	}
	if whole := c.groupsWhole(f); len(whole) > 0 {
		c.accept(c.groupWords(f, allWhole), among(f.destination(), whole))
	}
	if !c.policy.PassMulticast {
		c.toGroupServices(f, nil)
	}
}

// destination is the field of a datagram's destination.
func (f family) destination() ruleset.Field {
	if f.name == family4.name {
		return ruleset.IPDestination
	}
	return ruleset.IP6Destination
}

// groupsWhole gives those of which the VM hears all.
func (c *chain) groupsWhole(f family) []netipx.IPRange {
	if c.policy.PassMulticast {
		return c.groupsAllowed(f)
	}
	return c.wholeGroups(f)
}

// wholeGroups gives the groups that are allowed whole.
func (b *builder) wholeGroups(f family) []netipx.IPRange {
	return f.groupsOf(f.merged(ofAddrs(b.policy.Hosts), b.policy.Ranges))
}

// answers gives the services as which answers to the allowed groups come.
func (b *builder) answers(f family, whole []netipx.IPRange) []config.Service {
	var out []config.Service
	for _, known := range answerPorts {
		a := netip.MustParseAddr(known.group)
		if slices.ContainsFunc(whole, func(r netipx.IPRange) bool { return r.Contains(a) }) {
			out = append(out, config.Service{Proto: ruleset.UDP, From: known.port, To: known.port})
		}
	}
	for _, s := range b.policy.Services {
		if s.Proto == ruleset.UDP && s.Peers.Overlaps(netipx.RangeOfPrefix(f.multicast)) {
			out = append(out, config.Service{Proto: s.Proto, From: s.From, To: s.To})
		}
	}
	slices.SortFunc(out, func(a, b config.Service) int { return cmp.Compare(a.From, b.From) })
	return slices.Compact(out)
}
