// Package policy turns a configured policy and the facts of a parent into plain
// sets of addresses. It reads nothing: the same policy and facts give the same
// sets.
package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
)

// A Policy is what peers an interface may exchange frames with: those that Deny
// does not hold, and those that Hosts, Ranges or Services allow all the same.
type Policy struct {
	Name     string
	Deny     []netip.Prefix   // sorted, none within another
	Hosts    []netip.Addr     // single allowed addresses, sorted, none within Ranges
	Ranges   []netipx.IPRange // allowed prefixes and ranges, sorted, merged
	Services []Service        // sorted, no two cover the same address, protocol and port
}

// A Service allows one protocol and range of ports at a range of peers.
type Service struct {
	Peers    netipx.IPRange
	Proto    byte
	From, To uint16
}

// ServiceAt allows one port of one peer.
func ServiceAt(peer netip.Addr, proto byte, port uint16) Service {
	return Service{Peers: netipx.IPRangeFrom(peer, peer), Proto: proto, From: port, To: port}
}

// NeedsFacts reports whether a policy has words, so that Resolve looks at the
// facts.
func NeedsFacts(p config.Policy) bool {
	isWord := func(e config.Entry) bool { return e.Word != "" }
	return slices.ContainsFunc(p.Deny, isWord) || slices.ContainsFunc(p.Allow, isWord)
}

// Resolve gives the policy its addresses. An allow word that stands for nothing
// allows nothing, and is warned about; a deny word that stands for nothing is an
// error: to deny nothing where something was meant would open the LAN.
func Resolve(p config.Policy, f facts.Facts) (Policy, []string, error) {
	var deny netipx.IPSetBuilder
	for _, e := range p.Deny {
		ranges := expand(e, f)
		if len(ranges) == 0 {
			return Policy{}, nil, fmt.Errorf("policy %q: deny %q stands for nothing: %s", p.Name, e, remedy(e.Word, f.Parent))
		}
		for _, r := range ranges {
			deny.AddRange(r)
		}
	}
	denied, err := deny.IPSet()
	if err != nil {
		return Policy{}, nil, fmt.Errorf("policy %q: deny: %w", p.Name, err)
	}
	allow, warnings := allowed(p, f)
	out := Policy{Name: p.Name, Deny: denied.Prefixes()}
	if out.Hosts, out.Ranges, err = split(allow); err != nil {
		return Policy{}, nil, fmt.Errorf("policy %q: allow: %w", p.Name, err)
	}
	if out.Services, err = services(allow); err != nil {
		return Policy{}, nil, fmt.Errorf("policy %q: allow: %w", p.Name, err)
	}
	return out, warnings, nil
}

// peers is an allow entry with its addresses.
type peers struct {
	netipx.IPRange
	services []config.Service
}

func allowed(p config.Policy, f facts.Facts) (all []peers, warnings []string) {
	for _, e := range p.Allow {
		ranges := expand(e, f)
		if len(ranges) == 0 {
			warnings = append(warnings, fmt.Sprintf("policy %q: allow %q stands for nothing and allows nothing: %s", p.Name, e, remedy(e.Word, f.Parent)))
		}
		for _, r := range ranges {
			all = append(all, peers{r, e.Services})
		}
	}
	return all, warnings
}

// expand gives the addresses of an entry.
func expand(e config.Entry, f facts.Facts) []netipx.IPRange {
	var addrs []netip.Addr
	switch e.Word {
	case "":
		return []netipx.IPRange{e.Range}
	case config.Gateway:
		addrs = f.Gateway
	case config.DNS:
		addrs = f.DNS
	case config.Broadcast:
		addrs = f.Broadcast
	case config.OnLink:
		var out []netipx.IPRange
		for _, p := range f.OnLink {
			out = append(out, netipx.RangeOfPrefix(p))
		}
		return out
	}
	var out []netipx.IPRange
	for _, a := range addrs {
		out = append(out, netipx.IPRangeFrom(a, a))
	}
	return out
}

// remedy says what to write instead of a word that stands for nothing.
func remedy(w config.Word, parent string) string {
	switch w {
	case config.Gateway:
		return fmt.Sprintf("the host has no default route through %q; write the router's address, as in \"192.168.2.1\"", parent)
	case config.DNS:
		return "the host names no name server but its own; write the name servers' addresses, as in \"192.168.2.53\""
	case config.Broadcast:
		return fmt.Sprintf("the host has no IPv4 address on %q; write the LAN's broadcast address, as in \"192.168.2.255\"", parent)
	default:
		return fmt.Sprintf("the host has no address on %q to read the LAN's prefixes from; write them, as in \"203.0.113.0/24\", \"2001:db8:2::/64\"", parent)
	}
}

// split parts the peers that are allowed whole into single addresses, which a
// hash finds, and ranges, which a slower tree finds.
func split(all []peers) ([]netip.Addr, []netipx.IPRange, error) {
	var wide netipx.IPSetBuilder
	var single []netip.Addr
	for _, p := range all {
		switch {
		case len(p.services) > 0:
		case p.From() == p.To():
			single = append(single, p.From())
		default:
			wide.AddRange(p.IPRange)
		}
	}
	ranges, err := wide.IPSet()
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(single, netip.Addr.Compare)
	single = slices.Compact(single)
	single = slices.DeleteFunc(single, ranges.Contains)
	return single, ranges.Ranges(), nil
}

// services parts the peers that are allowed by port so that no address, protocol
// and port is covered twice, which the kernel's sets refuse: the ports are cut
// wherever an entry begins or ends, and within each piece the addresses merged.
func services(all []peers) ([]Service, error) {
	var out []Service
	for _, proto := range protocols(all) {
		cuts := portCuts(all, proto)
		pieces := make([]netipx.IPSetBuilder, len(cuts)-1)
		for _, p := range all {
			for _, s := range p.services {
				if s.Proto != proto {
					continue
				}
				first, _ := slices.BinarySearch(cuts, int(s.From))
				for i := first; cuts[i] <= int(s.To); i++ {
					pieces[i].AddRange(p.IPRange)
				}
			}
		}
		for i := range pieces {
			set, err := pieces[i].IPSet()
			if err != nil {
				return nil, err
			}
			for _, r := range set.Ranges() {
				out = append(out, Service{Peers: r, Proto: proto, From: uint16(cuts[i]), To: uint16(cuts[i+1] - 1)})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Service) int { return a.Peers.From().Compare(b.Peers.From()) })
	return out, nil
}

func protocols(all []peers) []byte {
	var out []byte
	for _, p := range all {
		for _, s := range p.services {
			out = append(out, s.Proto)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// portCuts gives the ports at which a piece begins, and the one after the last
// piece.
func portCuts(all []peers, proto byte) []int {
	var cuts []int
	for _, p := range all {
		for _, s := range p.services {
			if s.Proto == proto {
				cuts = append(cuts, int(s.From), int(s.To)+1)
			}
		}
	}
	slices.Sort(cuts)
	return slices.Compact(cuts)
}
