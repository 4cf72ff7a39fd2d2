package policy

import (
	"slices"

	"macvtap-filter/internal/config"
)

// NeedsFacts reports whether a policy means nothing without facts, since it has words.
func NeedsFacts(p config.Policy) bool {
	isWord := func(e config.Entry) bool { return e.Word != "" }
	return slices.ContainsFunc(p.Deny, isWord) || slices.ContainsFunc(p.Allow, isWord) || NeedsMACs(p)
}

// UsesMACs reports whether rules hold the VM's datagrams to other networks against the
// routers' MAC addresses, and have these from the facts at first.
func UsesMACs(p config.Policy) bool {
	return len(p.Deny) > 0 && !p.AnyNextHop && len(p.GatewayMACs) == 0
}

// NeedsMACs reports whether Resolve fails without a gateway's MAC address among the facts.
func NeedsMACs(p config.Policy) bool { return p.Isolate && len(p.GatewayMACs) == 0 }
