package filter

import (
	"fmt"
	"net/netip"
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
func (s side) openWords(f family) string { return s.notDenied(f, f.label+" "+s.peer+" ") }

// notDenied names the entries of deny that hold some of the family, and, as far as there is
// room, the prefixes that these stand for.
func (s side) notDenied(f family, before string) string {
	var prefixes []string
	for _, p := range s.policy.Deny {
		if f.is(p.Addr()) {
			prefixes = append(prefixes, p.String())
		}
	}
	words := before + "not in deny"
	if len(prefixes) == 0 {
		return words
	}
	entries := list(written(s.policy.DenyEntries, f.holdsSome), maxList)
	words += ": " + entries
	all := list(prefixes, ruleset.MaxComment-len(words)-len(" = ")-len(more))
	if all != strings.TrimPrefix(more, ", ") && all != entries && !strings.HasSuffix(entries, more) {
		words += " = " + all
	}
	return words
}

// allowWords name the entries of allow that are in the family's sets of a kind, and, of
// services, have one of the protocol, if that is not 0.
func (s side) allowWords(f family, kind string, proto byte) string {
	return s.allowed(func(e policy.Entry) bool {
		single := len(e.Peers) > 0 && e.Peers[0].From() == e.Peers[0].To()
		switch {
		case e.Word == config.Broadcast, !f.holdsSome(e):
			return false
		case kind == hosts:
			return len(e.Services) == 0 && single
		case kind == ranges:
			return len(e.Services) == 0 && !single
		}
		return slices.ContainsFunc(e.Services, func(s config.Service) bool { return proto == 0 || s.Proto == proto })
	})
}

// wholeWords name what opened the closed peers of other networks to which the VM may send
// anything: of IPv6, there are relays' addresses among them.
func (s side) wholeWords(peers []netipx.IPRange) string {
	whole := func(e policy.Entry) bool { return len(e.Services) == 0 && overlap(e.Peers, peers) }
	if !slices.ContainsFunc(s.policy.AllowEntries, whole) {
		return "NAT64 or 6to4 addresses"
	}
	return s.allowed(whole)
}

// serviceWords name what opened a service of some peers.
func (s side) serviceWords(service config.Service, peers []netipx.IPRange) string {
	return s.allowed(func(e policy.Entry) bool { return hasService(e, service) && overlap(e.Peers, peers) })
}

// broadcastWords name what opened a service of a broadcast address: what is allowed whole
// opens all, but for the word.
func (s side) broadcastWords(b policy.Service) string {
	if s.policy.PassMulticast {
		return multicastPass
	}
	return s.allowed(func(e policy.Entry) bool {
		whole := len(e.Services) == 0 && e.Word != config.Broadcast
		return overlap(e.Peers, []netipx.IPRange{b.Peers}) && (whole || hasService(e, config.Service{Proto: b.Proto, From: b.From, To: b.To}))
	})
}

// groupWords name what opened multicast groups of the family that are wanted.
func (s side) groupWords(f family, wanted func(e policy.Entry) bool) string {
	if s.policy.PassMulticast {
		return multicastPass
	}
	return s.allowed(func(e policy.Entry) bool { return len(f.groupsOf(e.Peers)) > 0 && wanted(e) })
}

func anyOf(policy.Entry) bool      { return true }
func allWhole(e policy.Entry) bool { return len(e.Services) == 0 }

// answerWords name what opened the answers that come from a port of a group's members.
func (s side) answerWords(f family, service config.Service) string {
	return "answer from " + s.groupWords(f, func(e policy.Entry) bool {
		wellKnown := func(g groupPort) bool {
			a := netip.MustParseAddr(g.group)
			return g.port == service.From && overlap(e.Peers, []netipx.IPRange{netipx.IPRangeFrom(a, a)})
		}
		return hasService(e, service) || allWhole(e) && slices.ContainsFunc(answerPorts, wellKnown)
	})
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
	return "serve: " + list(services, maxList)
}

// routerWords name the key for which the VM hears who looks for a router.
func (s side) routerWords() string {
	if s.policy.PassRouters {
		return routersPass
	}
	return neighboursPass
}

func serveWords(s config.Service) string { return fmt.Sprintf("serve: %v", s) }

// allowed names the entries of allow that are wanted.
func (s side) allowed(wanted func(policy.Entry) bool) string {
	return "allow: " + list(written(s.policy.AllowEntries, wanted), maxList)
}

// hasService reports whether an entry names a service that has something in common with another.
func hasService(e policy.Entry, other config.Service) bool {
	return slices.ContainsFunc(e.Services, func(s config.Service) bool {
		return s.Proto == other.Proto && s.From <= other.To && other.From <= s.To
	})
}

func overlap(a, b []netipx.IPRange) bool {
	return slices.ContainsFunc(a, func(r netipx.IPRange) bool { return slices.ContainsFunc(b, r.Overlaps) })
}

// holdsSome reports whether an entry stands for addresses of the family.
func (f family) holdsSome(e policy.Entry) bool {
	return slices.ContainsFunc(e.Peers, func(r netipx.IPRange) bool { return f.is(r.From()) })
}

// written gives those of some entries that are wanted, as they are written, and no more than
// a comment can have. Several members of a group are the group: entries are sorted.
func written(all []policy.Entry, wanted func(policy.Entry) bool) []string {
	var out []string
	for _, e := range all {
		if len(out) > ruleset.MaxComment || !wanted(e) {
			continue
		}
		if n := len(out) - 1; n >= 0 && e.Group != "" && (out[n] == e.Group || strings.HasPrefix(out[n], e.Group+": ")) {
			out[n] = e.Group
			continue
		}
		out = append(out, e.String())
	}
	return out
}

// more ends a list that goes on.
const more = ", …"

// maxList is the length of a list that leaves a comment room for other words.
const maxList = 72

// list joins entries, as many as there is room for: of entries of the configuration, one.
func list(all []string, room int) string {
	length := 0
	for n, entry := range all {
		if length += len(entry) + len(", "); length > room && (n > 0 || room < maxList) {
			return strings.TrimPrefix(strings.Join(all[:n], ", ")+more, ", ")
		}
	}
	return strings.Join(all, ", ")
}
