// Package change says what other rules of an interface open and close: of two versions of them,
// what the VM can open by the one and not by the other, and who can open what on it.
package change

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/reach"
	"macvtap-filter/internal/ruleset"
)

// A Change is what is open by the new rules alone, and by the old ones alone.
type Change struct {
	Opens, Closes reach.Report
}

// MAC addresses and addresses of nobody's (RFC 5737, RFC 3849).
var (
	aVM     = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xfc}
	aHost   = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xfd}
	aRouter = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xfe}
)

// anyone's addresses are made when somebody asks: no hook call does.
func anyone() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:100::7")}
}

// Of compares two versions of an interface's rules on a network that is as the facts say. It
// compares what is open to peers: that the VM, or a router, has another address by now opens
// nothing.
func Of(old, now ruleset.Table, known facts.Facts) (Change, error) {
	own := addresses(old, now)
	before, err := of(old, own, known)
	if err != nil {
		return Change{}, fmt.Errorf("the rules before: %w", err)
	}
	after, err := of(now, own, known)
	if err != nil {
		return Change{}, err
	}
	return Change{after.Diff(before).Report(), before.Diff(after).Report()}, nil
}

// addresses gives the VM's addresses by either version, one of each family at least.
func addresses(tables ...ruleset.Table) []netip.Addr {
	var own []netip.Addr
	for _, t := range tables {
		all, _, _ := filter.Addresses(t)
		for _, a := range all {
			if !slices.Contains(own, a.Addr) {
				own = append(own, a.Addr)
			}
		}
	}
	for _, a := range anyone() {
		if !slices.ContainsFunc(own, func(o netip.Addr) bool { return o.Is4() == a.Is4() }) {
			own = append(own, a)
		}
	}
	return own
}

// of gives the reach under rules that know a router, and an address of the VM's of each family
// where they learn it.
func of(t ruleset.Table, own []netip.Addr, known facts.Facts) (reach.Reach, error) {
	has, _, _ := filter.Addresses(t)
	for _, a := range own {
		if filter.LearnsFamily(t, a) && !slices.ContainsFunc(has, func(h filter.Address) bool { return h.Addr == a }) {
			t = filter.WithAddress(t, a)
		}
	}
	e := reach.Ends{VM: filter.MAC(t), Own: own, Router: aRouter, Host: aHost, Gateways: known.Gateway, OnLink: known.OnLink, Broadcast: known.Broadcast}
	if e.VM == nil {
		e.VM = aVM
	}
	return reach.Of(filter.WithRouter(t, aRouter), e)
}

// Lines says in one line each what opens, or closes: "now also 192.168.2.20 tcp/445".
func Lines(r reach.Report, when string) []string {
	var out []string
	for _, list := range []struct {
		what  string
		lines []reach.Line
	}{{"", r.CanOpen}, {"opened by ", r.OpenedBy}, {"sends to ", r.AlsoSends}, {"receives from ", r.AlsoReceives}} {
		for _, l := range list.lines {
			out = append(out, when+list.what+l.String())
		}
	}
	return out
}

// Bounded joins what is to be told in one line of a log, of so many bytes about at most.
func Bounded(lines []string, most int) string {
	text := ""
	for i, l := range lines {
		if i > 0 {
			text += "; "
		}
		if len(text)+len(l) > most {
			l = l[:max(0, most-len(text))]
			l = l[:strings.LastIndexByte(" "+l, ' ')]
			return fmt.Sprintf("%s… and more: %d lines in all", text+l, len(lines))
		}
		text += l
	}
	return text
}
