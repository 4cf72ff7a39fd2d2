package filter

import (
	"macvtap-filter/internal/config"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// The gateways that are allowed as routers are peers with an allowed service, DHCP's, and so
// found by ARP and neighbour discovery. Beside these, what makes a router of a host is here.

// The types of ICMP messages by which hosts and routers ask whether the other is there (RFC
// 792; RFC 4443, 4).
const (
	echoReply4, echoRequest4 = 0, 8
	echoRequest6, echoReply6 = 128, 129
)

// routerMatch matches a peer that is allowed as a router. any is false where there is none.
func (s side) routerMatch(f family) (m ruleset.Match, words string, any bool) {
	all := f.only(s.policy.Routers)
	if len(all) == 0 {
		return nil, "", false
	}
	words = s.allowed(func(e policy.Entry) bool { return e.Word == config.Router && f.holdsSome(e) })
	return f.among(s.peerField(f), asRouters, all, false), words, true
}

// asRouters4 lets pass echo and errors; to the VM redirects, which are among the errors
// (RFC 1122, 3.2.2), and a router's advertisements (RFC 1256), too.
func (c *chain) asRouters4() {
	router, words, any := c.routerMatch(family4)
	if !any {
		return
	}
	types := []byte{echoReply4, unreachable4, echoRequest4, timeExceeded4, parameterProblem4}
	if !c.out {
		types = append(types, icmpRedirect, icmpRouter)
	}
	c.lets(family4, words, firstFragment, amongBytes(ruleset.ICMPType, types...), router)
}

// asRouters6 lets pass echo and errors; to the VM advertisements and redirects of a router on
// the link (RFC 4861, 6.1.2, 8.1), too. Neighbours are found by other rules.
func (c *chain) asRouters6() {
	router, words, any := c.routerMatch(family6)
	if !any {
		return
	}
	c.lets(family6, words, directly, amongBytes(ruleset.ICMPv6Type, unreachable6, tooBig6, timeExceeded6, parameterProblem6, echoRequest6, echoReply6), router)
	if !c.out {
		c.accept(words, directly, discoveryHopLimit, icmpTypes([]byte{routerAdvertisement, redirect}), router)
	}
}
