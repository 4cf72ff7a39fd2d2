package filter

import (
	"fmt"
	"slices"
	"strings"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// What the comments of accept rules say where a key of the configuration opened them.
const (
	neighboursPass = "neighbours: pass"
	routersPass    = "routers: pass"
	multicastPass  = "multicast: pass"
	dhcpServer     = "dhcp: server"
)

// openWords are for peers of the family that are not denied.
func (s side) openWords(f family) string {
	return f.label + " " + s.peer + " " + s.notDenied(f)
}

// notDenied names the entries of deny that hold some of the family, and the prefixes that
// these stand for.
func (s side) notDenied(f family) string {
	var prefixes []string
	for _, p := range s.policy.Deny {
		if f.is(p.Addr()) {
			prefixes = append(prefixes, p.String())
		}
	}
	if len(prefixes) == 0 {
		return "not in deny"
	}
	entries := written(s.policy.DenyEntries, f.holdsSome)
	words := "not in deny: " + entries
	if all := list(prefixes); all != entries && !strings.HasSuffix(entries, more) {
		words += " = " + all
	}
	return words
}

// allowWords name the entries of allow that are in some kinds of the family's sets.
func (s side) allowWords(f family, kinds ...string) string {
	return "allow: " + written(s.policy.AllowEntries, func(e policy.Entry) bool {
		return e.Word != config.Broadcast && f.holdsSome(e) && slices.ContainsFunc(kinds, func(kind string) bool { return isOfKind(e, kind) })
	})
}

// isOfKind reports whether an entry of allow that stands for something is in the sets of a
// kind.
func isOfKind(e policy.Entry, kind string) bool {
	single := e.Peers[0].From() == e.Peers[0].To()
	switch kind {
	case hosts:
		return len(e.Services) == 0 && single
	case ranges:
		return len(e.Services) == 0 && !single
	default:
		return len(e.Services) > 0
	}
}

// broadcastWords name what opened a service of a broadcast address.
func (s side) broadcastWords(b policy.Service) string {
	if s.policy.PassMulticast {
		return multicastPass
	}
	return "allow: " + written(s.policy.AllowEntries, func(e policy.Entry) bool {
		return slices.ContainsFunc(e.Peers, func(r netipx.IPRange) bool { return r.Contains(b.Peers.From()) })
	})
}

// groupWords name what opened multicast groups of the family.
func (s side) groupWords(f family) string {
	if s.policy.PassMulticast {
		return multicastPass
	}
	return "allow: " + written(s.policy.AllowEntries, func(e policy.Entry) bool { return len(f.groupsOf(e.Peers)) > 0 })
}

// clientWords name the key for which denied peers of the link and the VM find each other.
func (s side) clientWords() string {
	if s.policy.PassDHCPServer {
		return dhcpServer
	}
	var services []string
	for _, service := range s.policy.Serve {
		services = append(services, service.String())
	}
	return "serve: " + list(services)
}

// routerWords name the key for which the VM hears who looks for a router.
func (s side) routerWords() string {
	if s.policy.PassRouters {
		return routersPass
	}
	return neighboursPass
}

func serveWords(s config.Service) string { return fmt.Sprintf("serve: %v", s) }

// wholeWords name what opened the closed peers of the family to which the VM may send
// anything: of IPv6, there are relays' addresses besides.
func (s side) wholeWords(f family) string {
	if words := s.allowWords(f, hosts, ranges); words != "allow: " {
		return words
	}
	return "NAT64 or 6to4 addresses"
}

// holdsSome reports whether an entry stands for addresses of the family.
func (f family) holdsSome(e policy.Entry) bool {
	return slices.ContainsFunc(e.Peers, func(r netipx.IPRange) bool { return f.is(r.From()) })
}

// written gives those of some entries that are wanted, as they are written.
func written(all []policy.Entry, wanted func(policy.Entry) bool) string {
	var out []string
	for _, e := range all {
		if len(out) <= maxListed && wanted(e) {
			out = append(out, e.String())
		}
	}
	return list(out)
}

// maxListed is a number of entries that no comment has room for.
const maxListed = ruleset.MaxComment / 2

// more ends a list that goes on.
const more = ", …"

// list joins entries, as many as leave room in a comment for other words.
func list(all []string) string {
	const room = 72
	length := 0
	for n, entry := range all {
		if length += len(entry) + len(", "); length > room && n > 0 {
			return strings.Join(all[:n], ", ") + more
		}
	}
	return strings.Join(all, ", ")
}
