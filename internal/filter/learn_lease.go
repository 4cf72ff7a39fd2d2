package filter

import (
	"go4.org/netipx"

	"macvtap-filter/internal/ruleset"
)

// The bytes of DHCP's acknowledgment that stand at a fixed place in those of all servers
// (RFC 2131, 2): the ports; the kind, an answer to an Ethernet address; yiaddr, the address
// that is leased; chaddr, the client's MAC address (dhcpHardware); the cookie with the first
// option, which is the message's type.
var (
	dhcpPorts    = ruleset.Raw(ruleset.TransportHeader, 0, 4)
	dhcpLeased   = ruleset.Raw(ruleset.TransportHeader, 8+16, 4)
	dhcpOptions  = ruleset.Raw(ruleset.TransportHeader, 8+236, 7)
	dhcpRelease  = []byte{0x63, 0x82, 0x53, 0x63, 53, 1, 7}
	dhcpACK      = []byte{0x63, 0x82, 0x53, 0x63, 53, 1, 5}
	bootReply    = []byte{2, 1, 6}
	serverClient = []byte{0, 67, 0, 68}
)

// learnLease binds what a DHCP server of the policy's hands out to the VM's MAC address, heard of or
// not: whoever had it before may have spoken just now. It
// stands before the fast path, which lets such a datagram pass.
func (c *chain) learnLease(f family) {
	if c.out || f.name != family4.name || !c.learns(f) {
		return
	}
	servers := c.dhcpServers()
	if len(servers) == 0 {
		return
	}
	equal := func(field ruleset.Field, value []byte) ruleset.Match {
		return ruleset.Compare{Field: field, Op: ruleset.Equal, Value: value}
	}
	message := []ruleset.Match{equal(dhcpPorts, serverClient), ruleset.Byte(network(9, 1), ruleset.UDP), noOptions, equal(dhcpKind, bootReply),
		c.isOwn(ownBitsSet, dhcpHardware), equal(dhcpOptions, dhcpACK), among(f.sourceBytes(), servers)}
	// The last one may meet the share of the first address, which is used up, and end the rule.
	leased := []ruleset.Update{c.in(f.ownAddresses(), leaseFor, dhcpLeased), c.in(f.tentative(), leaseDetection, dhcpLeased), c.in(boundSet, leaseFor)}
	c.updates(all(message, one(c.isOwn(f.ownAddresses(), dhcpLeased))), c.in(f.ownAddresses(), leaseFor, dhcpLeased), c.in(boundSet, leaseFor))
	c.updates(all(message, one(c.isNotOwn(f.ownAddresses(), dhcpLeased)), c.notTaken(f, dhcpLeased), outside(dhcpLeased, f.special)), append([]ruleset.Update{c.share(leasesSet, leaseShare)}, leased...)...)
}

// dhcpServers gives the peers whose DHCP servers count: the gateways, those of the link that are
// allowed whole, and those whose service is allowed; elsewhere on the way a datagram may come
// from anybody.
func (b *builder) dhcpServers() []netipx.IPRange {
	f := family4
	var near, out netipx.IPSetBuilder
	for _, p := range b.link(f) {
		near.AddPrefix(p)
	}
	for _, a := range b.policy.Gateways {
		near.Add(a)
	}
	for _, r := range f.merged(ofAddrs(b.policy.Hosts), b.policy.Ranges) {
		out.AddRange(r)
	}
	if b.knowsLink(f) {
		out.Intersect(built(&near))
	}
	open := built(&near)
	for _, a := range f.only(b.policy.Gateways) {
		if !b.closedSet(f).Contains(a) && open.Contains(a) {
			out.Add(a)
		}
	}
	for _, s := range b.policy.Services {
		if s.Proto == ruleset.UDP && s.From <= 67 && s.To >= 67 && f.is(s.Peers.From()) {
			out.AddRange(s.Peers)
		}
	}
	return built(&out).Ranges()
}

// forgetLease has an address that the VM releases itself be forgotten soon, and taken away by
// whoever is given it next: a guest that restarts is given it again. The rules before have seen that it asks as itself.
func (c *chain) forgetLease(toServer []ruleset.Match) {
	if !c.learns(family4) {
		return
	}
	c.updates(all(one(c.isOwn(family4.ownAddresses(), dhcpAddress)), toServer, []ruleset.Match{
		ruleset.Compare{Field: dhcpOptions, Op: ruleset.Equal, Value: dhcpRelease},
	}), c.in(family4.ownAddresses(), releasedFor, dhcpAddress), c.in(family4.tentative(), releasedFor, dhcpAddress))
}
