package policy

import (
	"net/netip"
	"slices"

	"macvtap-filter/internal/config"
)

// NeedsFacts reports whether a policy means nothing without facts, since it has words.
func NeedsFacts(p config.Policy) bool {
	isWord := func(e config.Entry) bool { return e.Word != "" }
	return slices.ContainsFunc(p.Deny, isWord) || slices.ContainsFunc(p.Allow, isWord) || NeedsMACs(p)
}

// ByMAC gives those of the gateways that the VM reaches other networks by only while rules
// know their MAC addresses, which come from the facts at first: those of a family of which
// somebody is denied.
func ByMAC(p config.Policy, gateways []netip.Addr) []netip.Addr {
	if p.AnyNextHop || len(p.GatewayMACs) > 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(gateways), func(a netip.Addr) bool {
		denies := func(e config.Entry) bool { return e.Word != "" || e.Range.From().Is6() == a.Is6() }
		return a.Is6() && p.DropIPv6 || !slices.ContainsFunc(p.Deny, denies)
	})
}

// NeedsMACs reports whether Resolve fails without a gateway's MAC address among the facts.
func NeedsMACs(p config.Policy) bool { return p.Isolate && len(p.GatewayMACs) == 0 }
