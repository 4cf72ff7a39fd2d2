package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
)

// hardlyMeant gives what a policy says and hardly means, as the facts have it.
func hardlyMeant(p config.Policy, denied *netipx.IPSet, allow []peers, f facts.Facts) (warnings []string) {
	for _, w := range []string{halfKnown(p, f), linkLocal(p, denied, allow, f), gatewaysOwn(p, f), unlearned(p)} {
		if w != "" {
			warnings = append(warnings, w)
		}
	}
	return slices.Concat(warnings, routersOpen(p, denied, f), idle(p, denied, f))
}

// gatewaysOwn warns where the VM is said to have an address of the gateway's.
func gatewaysOwn(p config.Policy, f facts.Facts) string {
	for _, a := range p.Addresses {
		if slices.Contains(f.Gateway, a) {
			return fmt.Sprintf("addresses holds %s, which is the gateway's: the VM can take the traffic of the whole LAN", a)
		}
	}
	return ""
}

// routersOpen warns where a router is to be a router alone, and its services are open all
// the same.
func routersOpen(p config.Policy, denied *netipx.IPSet, f facts.Facts) (warnings []string) {
	if !slices.ContainsFunc(p.Allow, isRouter) {
		return nil
	}
	open := slices.DeleteFunc(slices.Clone(f.Gateway), denied.Contains)
	if len(open) > 0 {
		warnings = append(warnings, fmt.Sprintf("policy %q: \"router\" in allow closes no service of %v, which deny does not hold; add \"gateway\" to deny", p.Name, open))
	}
	for _, e := range p.Allow {
		holds := func(r netipx.IPRange) bool {
			return slices.ContainsFunc(f.Gateway, func(a netip.Addr) bool { return r.Contains(a) && denied.Contains(a) })
		}
		if !isRouter(e) && len(e.Services) == 0 && slices.ContainsFunc(Expand(e, f), holds) {
			warnings = append(warnings, fmt.Sprintf("policy %q: allow %q opens all services of the router, which \"router\" would leave closed; name the services that are meant, as in \"dns udp/53 tcp/53\"", p.Name, e))
		}
	}
	return warnings
}

// unlearned warns where addresses are to be learned and no rule asks for them.
func unlearned(p config.Policy) string {
	if p.PassSpoofing && (p.Learn != config.LearnOff || p.DHCP || p.SLAAC) {
		return `spoofing = "pass": no address is learned, the VM may use any`
	}
	return ""
}

// idle warns of allow entries that open nothing, or the whole LAN.
func idle(p config.Policy, denied *netipx.IPSet, f facts.Facts) (warnings []string) {
	for _, e := range p.Allow {
		var lan []string
		for _, link := range append(slices.Clone(f.OnLink), linkLocals) {
			whole := netipx.RangeOfPrefix(link)
			opens := func(r netipx.IPRange) bool { return r.Contains(whole.From()) && r.Contains(whole.To()) }
			if !link.IsSingleIP() && denied.OverlapsPrefix(link) && slices.ContainsFunc(Expand(e, f), opens) {
				lan = append(lan, link.String())
			}
		}
		switch {
		case len(lan) > 0 && len(e.Services) == 0:
			warnings = append(warnings, fmt.Sprintf("policy %q: allow %q opens the whole LAN, %s, which deny holds: write the hosts that are meant", p.Name, e, strings.Join(lan, ", ")))
		case e.Word == "" && !denied.OverlapsRange(e.Range) && !mattersAnyway(e.Range, f):
			warnings = append(warnings, fmt.Sprintf("policy %q: allow %q opens nothing: deny does not hold it, so that it is open already; if only what allow holds is to be open, write deny = [\"0.0.0.0/0\", \"::/0\"]", p.Name, e))
		}
	}
	return warnings
}

// Addresses that stand for others (RFC 6052, RFC 3056), and groups.
var (
	translated = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32")}
	groups     = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("ff00::/8")}
)

// special are addresses that no host of the internet has, and that are closed whatever deny
// holds (see package filter).
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/16"),
}

// mattersAnyway reports whether it matters that addresses are allowed, though deny does not
// hold them: those that no host of the internet has, of groups, of broadcast and of tunnels
// are closed by other rules, and where the link is not known, a router may be among them.
func mattersAnyway(r netipx.IPRange, f facts.Facts) bool {
	known := slices.ContainsFunc(f.OnLink, func(p netip.Prefix) bool { return p.Addr().Is4() == r.From().Is4() })
	holds := func(p netip.Prefix) bool { return r.Overlaps(netipx.RangeOfPrefix(p)) }
	return !known || slices.ContainsFunc(translated, holds) || slices.ContainsFunc(groups, holds) || slices.ContainsFunc(special, holds) ||
		r.Contains(limitedBroadcast) || slices.ContainsFunc(f.Broadcast, r.Contains)
}

// halfKnown warns where "onlink" names no public IPv6 prefix of the LAN's, or one that is
// only likely: its public IPv6 addresses, if it has any, are open then.
func halfKnown(p config.Policy, f facts.Facts) string {
	onlink := slices.ContainsFunc(p.Deny, func(e config.Entry) bool { return e.Word == config.OnLink })
	written := slices.ContainsFunc(p.Deny, func(e config.Entry) bool {
		return e.Word == "" && e.Range.Overlaps(netipx.RangeOfPrefix(publicIPv6))
	})
	if !onlink || written || p.DropIPv6 {
		return ""
	}
	var likely *netip.Prefix
	for _, known := range f.OnLink {
		switch {
		case !publicIPv6.Contains(known.Addr()):
		case facts.Link(known) == known:
			return ""
		default:
			likely = &known
		}
	}
	if likely != nil {
		return fmt.Sprintf("policy %q: deny \"onlink\" takes %s for the LAN's, since all that the host has of public IPv6 on %q is %s; if the LAN's prefix is another, write it into deny", p.Name, facts.Link(*likely), f.Parent, likely)
	}
	return fmt.Sprintf("policy %q: deny \"onlink\" holds no public IPv6 prefix: the host has no public IPv6 address on %q to read one from; if the LAN has public IPv6 addresses, write their prefix into deny, and if not, ipv6 = \"drop\"", p.Name, f.Parent)
}

// publicIPv6 is all that is given out of global unicast addresses (RFC 4291, 2.4, and
// IANA's registry): ULAs, for one, say nothing of the public ones beside them.
var publicIPv6 = netip.MustParsePrefix("2000::/3")

// linkLocal warns where the LAN is denied by its IPv4 addresses and open by those that
// each of its hosts has of IPv6.
func linkLocal(p config.Policy, denied *netipx.IPSet, allow []peers, f facts.Facts) string {
	lan := slices.ContainsFunc(f.OnLink, func(p netip.Prefix) bool { return p.Addr().Is4() && denied.ContainsPrefix(p) })
	meant := slices.ContainsFunc(allow, func(a peers) bool { return a.From() != a.To() && a.Contains(linkLocals.Addr()) })
	if !lan || p.DropIPv6 || meant || denied.ContainsPrefix(linkLocals) {
		return ""
	}
	return fmt.Sprintf("policy %q: deny holds the LAN's IPv4 addresses, but not fe80::/10, by which each of its hosts can be reached over IPv6; add \"fe80::/10\" to deny, or set ipv6 = \"drop\"", p.Name)
}
