package filter

import (
	"net/netip"
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// family is one of the two versions of IP.
type family struct {
	name      string // as in the names of sets, chains and counters
	label     string // for comments
	addr      ruleset.Type
	is        func(netip.Addr) bool
	all       netip.Prefix
	multicast netip.Prefix

	// special are the addresses that no host of the internet has, and that a
	// host of the LAN may take for its own: nobody need deny them.
	special []netip.Prefix
}

var (
	family4 = family{
		"ipv4", "IPv4", ruleset.TypeIPv4, netip.Addr.Is4, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("224.0.0.0/4"),
		// This host and, from 0.0.0.0, broadcast of old (RFC 1122, 3.2.1.3);
		// loopback; link-local (RFC 3927); multicast, reserved, broadcast.
		mustPrefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
	}
	family6 = family{
		"ipv6", "IPv6", ruleset.TypeIPv6, netip.Addr.Is6, netip.MustParsePrefix("::/0"), netip.MustParsePrefix("ff00::/8"),
		// Unspecified, loopback, IPv4-mapped and -compatible (RFC 4291, 2.5);
		// multicast.
		mustPrefixes("::/16", "ff00::/8"),
	}
)

// translated are IPv6 prefixes whose addresses stand for IPv4 ones: whoever gives
// a 6to4 relay (RFC 3056) or a NAT64 (RFC 6052) such an address has it send to the
// IPv4 address inside.
var translated = []struct {
	netip.Prefix
	ipv4 int // the byte at which the IPv4 address begins
}{
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
}

// translatedPrefixes hold all translated addresses, those of a NAT64 of the LAN's
// own included, of which nobody knows where the IPv4 address is (RFC 8215), and
// Teredo's, which have been out of use too long to be told apart (RFC 4380).
var translatedPrefixes = mustPrefixes("64:ff9b::/32", "2001::/32", "2002::/16")

func mustPrefixes(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// peer gives the field of the peer's address.
func (s side) peerField(f family) ruleset.Field {
	if f.name == family4.name {
		return s.ip4
	}
	return s.ip6
}

func (f family) source() ruleset.Field {
	if f.name == family4.name {
		return ruleset.IPSource
	}
	return ruleset.IP6Source
}

// closed gives the prefixes of the family that are not open to all: the denied
// ones, the special ones and, of IPv6, the translated ones.
func (b *builder) closed(f family) []netip.Prefix { return b.closedSet(f).Prefixes() }

// openRanges gives all other addresses of the family, as ranges.
func (b *builder) openRanges(f family) []netipx.IPRange {
	var all netipx.IPSetBuilder
	all.AddPrefix(f.all)
	all.RemoveSet(b.closedSet(f))
	return built(&all).Ranges()
}

func (b *builder) closedSet(f family) *netipx.IPSet {
	known := &b.closed4
	if f.name == family6.name {
		known = &b.closed6
	}
	if *known == nil {
		*known = f.closed(b.policy)
	}
	return *known
}

func (f family) closed(p policy.Policy) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, d := range p.Deny {
		if f.is(d.Addr()) {
			b.AddPrefix(d)
		}
	}
	for _, d := range f.special {
		b.AddPrefix(d)
	}
	if f.name == family6.name && !p.PassTunnels {
		for _, t := range translatedPrefixes {
			b.AddPrefix(t)
		}
	}
	return built(&b)
}

// relayed gives the translated addresses that stand for IPv4 addresses that are not
// closed, less those that are denied themselves, and those that are allowed as such.
func (b *builder) relayed() []netipx.IPRange {
	var out netipx.IPSetBuilder
	for _, t := range translated {
		out.AddPrefix(t.Prefix)
		for _, d := range b.closed(family4) {
			inner, ipv4 := t.Addr().As16(), d.Addr().As4()
			copy(inner[t.ipv4:], ipv4[:])
			out.RemovePrefix(netip.PrefixFrom(netip.AddrFrom16(inner), t.ipv4*8+d.Bits()))
		}
	}
	for _, d := range b.policy.Deny {
		out.RemovePrefix(d)
	}
	for _, r := range append(ofAddrs(b.policy.Hosts), b.policy.Ranges...) {
		if isTranslated(r) {
			out.AddRange(r)
		}
	}
	return built(&out).Ranges()
}

// allowedNetworks gives the allowed ranges of the family. Of IPv6, a range that holds
// addresses which stand for IPv4 ones, and others, is not meant for those: they are
// judged by what they stand for.
func (b *builder) allowedNetworks(f family) []netipx.IPRange {
	var narrow, wide netipx.IPSetBuilder
	for _, r := range f.merged(b.policy.Ranges) {
		if isTranslated(r) || embedded.Contains(r.To()) {
			narrow.AddRange(r)
		} else {
			wide.AddRange(r)
		}
	}
	if f.name == family6.name && !b.policy.PassTunnels {
		for _, p := range slices.Concat(translatedPrefixes, []netip.Prefix{embedded}) {
			wide.RemovePrefix(p)
		}
	}
	narrow.AddSet(built(&wide))
	return built(&narrow).Ranges()
}

// embedded holds the IPv4-mapped and -compatible addresses (RFC 4291, 2.5.5).
var embedded = netip.MustParsePrefix("::/16")

// isTranslated reports whether a range holds translated addresses and no others: whoever
// allows such a range means those.
func isTranslated(r netipx.IPRange) bool {
	for _, p := range translatedPrefixes {
		if p.Contains(r.From()) && p.Contains(r.To()) {
			return true
		}
	}
	return false
}

// relayedServices gives the allowed services of translated addresses.
func (b *builder) relayedServices() []policy.Service {
	var out []policy.Service
	for _, s := range b.policy.Services {
		if isTranslated(s.Peers) {
			out = append(out, s)
		}
	}
	return out
}

func built(b *netipx.IPSetBuilder) *netipx.IPSet {
	s, err := b.IPSet()
	if err != nil {
		panic(err) // only invalid addresses fail, and all were parsed
	}
	return s
}

// groups is the prefix of the addresses that are more than one host's.
func (f family) groups() netip.Prefix { return f.special[len(f.special)-1] }

// nobodys gives the addresses that no datagram comes from, but for the unspecified one,
// with which a host begins, and those of IPv4 that it may give itself (RFC 3927).
func (f family) nobodys() []netipx.IPRange {
	var b netipx.IPSetBuilder
	for _, p := range f.special {
		b.AddPrefix(p)
	}
	b.Remove(f.all.Addr())
	b.RemovePrefix(linkLocal4)
	return built(&b).Ranges()
}

var linkLocal4 = netip.MustParsePrefix("169.254.0.0/16")

func (f family) only(all []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		if f.is(a) {
			out = append(out, a)
		}
	}
	return out
}
