package facts

import (
	"net/netip"
	"slices"
)

// Link gives the prefix of the link that a prefix of the host's is on: DHCPv6 gives
// addresses without one (RFC 8415, 18.2.10.1), and then it is the usual one, what is left
// of the address without an interface identifier (RFC 4291, 2.5.4).
func Link(onlink netip.Prefix) netip.Prefix {
	if onlink.Addr().Is6() && onlink.IsSingleIP() {
		return netip.PrefixFrom(onlink.Addr(), 64).Masked()
	}
	return onlink
}

// Beyond reports whether frames for an address go to a router, since it is none of the
// link's own.
func (f Facts) Beyond(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !slices.Contains(f.Broadcast, a) &&
		!slices.ContainsFunc(f.OnLink, func(p netip.Prefix) bool { return Link(p).Contains(a) })
}
