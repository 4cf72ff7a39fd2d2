package policytest

import (
	"net/netip"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
)

// special are addresses of no host in the internet: those of this host and network, link-local
// and group addresses (RFC 6890, RFC 4291), and those that carry IPv4 addresses (RFC 6052, RFC
// 4380, RFC 3056).
var special = []string{
	"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
	"::/16", "64:ff9b::/32", "2001::/32", "2002::/16", "ff00::/8",
}

// internet gives the addresses that are neither special nor private nor on the link.
func internet(f facts.Facts) []netipx.IPRange {
	var b netipx.IPSetBuilder
	for _, r := range everybody() {
		b.AddRange(r)
	}
	for _, p := range special {
		b.RemovePrefix(netip.MustParsePrefix(p))
	}
	for _, p := range config.PrivatePrefixes {
		b.RemovePrefix(p)
	}
	for _, p := range f.OnLink {
		b.RemovePrefix(facts.Link(p))
	}
	set, _ := b.IPSet() // of ranges that are all right
	return set.Ranges()
}

// carried gives the IPv6 addresses that carry IPv4 ones of some ranges: of NAT64's well-known
// prefix (RFC 6052, 2.1), and of 6to4 (RFC 3056, 2).
func carried(ranges []netipx.IPRange) []netipx.IPRange {
	var out []netipx.IPRange
	for _, r := range ranges {
		if r.From().Is6() {
			continue
		}
		from, to := r.From().As4(), r.To().As4()
		nat64 := func(a [4]byte) netip.Addr {
			return netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b, 12: a[0], 13: a[1], 14: a[2], 15: a[3]})
		}
		first := [16]byte{0x20, 2, from[0], from[1], from[2], from[3]}
		last := [16]byte{0x20, 2, to[0], to[1], to[2], to[3]}
		for i := 6; i < 16; i++ {
			last[i] = 0xff
		}
		out = append(out, netipx.IPRangeFrom(nat64(from), nat64(to)), netipx.IPRangeFrom(netip.AddrFrom16(first), netip.AddrFrom16(last)))
	}
	return out
}
