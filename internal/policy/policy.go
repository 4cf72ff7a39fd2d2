// Package policy turns a configured policy and the facts of a parent into plain
// sets of addresses. It reads nothing: the same policy and facts give the same
// sets.
package policy

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

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
	Routers  []netip.Addr     // the gateways, where they are allowed as routers; their DHCP is among Services

	// DenyEntries and AllowEntries are those of the configuration, for people.
	DenyEntries, AllowEntries []Entry

	// Broadcasts are the allowed services of broadcast addresses.
	Broadcasts []Service

	// Claimed are the addresses that the VM can never have: single ones that
	// are allowed, the gateways, the name servers that are allowed in whatever way,
	// and the link's broadcast addresses, less the VM's own.
	Claimed []netip.Addr

	Inbound, Outbound Openings

	Gateways []netip.Addr   // routers of the host's default routes, as far as it knows them
	Host     []netip.Addr   // the host's own, on the parent
	OnLink   []netip.Prefix // prefixes of the parent's link, as far as the host knows them

	config.Rules // with GatewayMACs from the facts where the configuration has none
}

// An Entry is one of deny or allow, with what it stands for.
type Entry struct {
	config.Entry
	Peers []netipx.IPRange
}

// expanded gives entries of deny or allow with the addresses that they stand for, sorted:
// the same rules come of them in whatever order they are written.
func expanded(all []config.Entry, f facts.Facts) []Entry {
	var out []Entry
	for _, e := range all {
		if e.Word == config.Router {
			e.Services = slices.Concat([]config.Service{dhcp4, dhcp6}, e.Services)
		}
		out = append(out, Entry{e, Expand(e, f)})
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(out, func(a, b Entry) bool { return a.String() == b.String() })
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

// ServicePeers gives the peers that have an allowed service, sorted and merged.
func (p Policy) ServicePeers() []netipx.IPRange {
	var b netipx.IPSetBuilder
	for _, s := range p.Services {
		b.AddRange(s.Peers)
	}
	set, err := b.IPSet()
	if err != nil {
		panic(err) // only invalid ranges fail, and Resolve made these
	}
	return set.Ranges()
}

// ServiceProtocols gives the protocols of the allowed services of peers of a family, sorted.
func (p Policy) ServiceProtocols(is func(netip.Addr) bool) []byte {
	var out []byte
	for _, s := range p.Services {
		if is(s.Peers.From()) {
			out = append(out, s.Proto)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// distinct gives each address once, in order: the kernel keeps no second one.
func distinct(all []net.HardwareAddr) []net.HardwareAddr {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b net.HardwareAddr) int { return bytes.Compare(a, b) })
	return slices.CompactFunc(all, func(a, b net.HardwareAddr) bool { return bytes.Equal(a, b) })
}

// Resolve gives the policy its addresses. An allow word that stands for nothing
// allows nothing, and is warned about; a deny word that stands for nothing is an
// error: to deny nothing where something was meant would open the LAN.
func Resolve(p config.Policy, f facts.Facts) (Policy, []string, error) {
	var deny netipx.IPSetBuilder
	denyEntries, allowEntries := expanded(p.Deny, f), expanded(p.Allow, f)
	for _, e := range denyEntries {
		if len(e.Peers) == 0 {
			return Policy{}, nil, fmt.Errorf("policy %q: deny %q stands for nothing: %s", p.Name, e, remedy(e.Word, f.Parent))
		}
		for _, r := range e.Peers {
			deny.AddRange(r)
		}
	}
	denied, err := deny.IPSet()
	if err != nil {
		return Policy{}, nil, fmt.Errorf("policy %q: deny: %w", p.Name, err)
	}
	allow, warnings := allowed(p.Name, allowEntries, f)
	warnings = append(warnings, hardlyMeant(p, denied, allow, f)...)
	out := Policy{Name: p.Name, Deny: denied.Prefixes(), Gateways: f.Gateway, Host: f.Host, OnLink: links(f), Rules: p.Rules}
	out.DenyEntries, out.AllowEntries = denyEntries, allowEntries
	if slices.ContainsFunc(p.Allow, isRouter) {
		out.Routers = sorted(f.Gateway)
	}
	var idleOpenings []string
	out.Inbound, out.Outbound, idleOpenings = openings(p, denied, allow, f)
	warnings = append(warnings, idleOpenings...)
	if len(p.GatewayMACs) == 0 {
		for _, mac := range f.GatewayMACs {
			out.GatewayMACs = append(out.GatewayMACs, net.HardwareAddr(mac))
		}
	}
	if out.Isolate && len(out.GatewayMACs) == 0 {
		return Policy{}, nil, fmt.Errorf("policy %q: isolate: the host knows no MAC address of a gateway behind %q; write gateway_macs = [\"…\"]", p.Name, f.Parent)
	}
	out.GatewayMACs = distinct(out.GatewayMACs)
	out.Claimed = claimed(allow, p.Addresses, f)
	allow, broadcasts := partBroadcasts(lessNetworks(allow, f), f)
	if p.PassMulticast {
		for _, a := range f.Broadcast {
			broadcasts = append(broadcasts, peers{netipx.IPRangeFrom(a, a), everyService, ""})
		}
	}
	if out.Broadcasts, err = services(broadcasts); err != nil {
		return Policy{}, nil, fmt.Errorf("policy %q: allow: %w", p.Name, err)
	}
	if out.Hosts, out.Ranges, err = split(allow); err != nil {
		return Policy{}, nil, fmt.Errorf("policy %q: allow: %w", p.Name, err)
	}
	if out.Services, err = services(allow); err != nil {
		return Policy{}, nil, fmt.Errorf("policy %q: allow: %w", p.Name, err)
	}
	if out.cutsOff(f.Gateway) {
		warnings = append(warnings, fmt.Sprintf("policy %q: the VM finds no router: %v, which deny holds and allow does not; \"gateway\" in allow opens them", p.Name, f.Gateway))
	} else if v6 := out.unheard(f.Gateway); len(v6) > 0 {
		warnings = append(warnings, fmt.Sprintf("policy %q: the VM hears no router advertisement: of %v, which send them, allow opens services alone; add \"router\" to allow, or write ipv6 = \"drop\"", p.Name, v6))
	}
	return out, warnings, nil
}

// cutsOff reports whether there are routers, and the policy denies each of them.
func (p Policy) cutsOff(routers []netip.Addr) bool {
	return len(routers) > 0 && !slices.ContainsFunc(routers, func(a netip.Addr) bool {
		denied := slices.ContainsFunc(p.Deny, func(d netip.Prefix) bool { return d.Contains(a) })
		_, host := slices.BinarySearchFunc(p.Hosts, a, netip.Addr.Compare)
		inRange := slices.ContainsFunc(p.Ranges, func(r netipx.IPRange) bool { return r.Contains(a) })
		// ARP finds who is allowed by a service, too; router advertisements come from who is allowed whole.
		served := a.Is4() && slices.ContainsFunc(p.Services, func(s Service) bool { return s.Peers.Contains(a) })
		return !denied || host || inRange || served || slices.Contains(p.Routers, a)
	})
}

// unheard gives the routers of IPv6, where a service of one is allowed and of none what a VM
// learns its way from.
func (p Policy) unheard(routers []netip.Addr) []netip.Addr {
	v6 := slices.DeleteFunc(slices.Clone(routers), netip.Addr.Is4)
	served := slices.ContainsFunc(p.Services, func(s Service) bool { return slices.ContainsFunc(v6, s.Peers.Contains) })
	if p.DropIPv6 || !served || !p.cutsOff(v6) {
		return nil
	}
	return v6
}

// AllOf gives those of the gateways that deny holds and that are allowed whole, with
// whatever services they have themselves.
func (p Policy) AllOf(gateways []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(gateways), func(a netip.Addr) bool {
		denied := slices.ContainsFunc(p.Deny, func(d netip.Prefix) bool { return d.Contains(a) })
		inRange := slices.ContainsFunc(p.Ranges, func(r netipx.IPRange) bool { return r.Contains(a) })
		return !denied || !inRange && !slices.Contains(p.Hosts, a)
	})
}

// linkLocals are the link-local addresses in use (RFC 4291, 2.5.6).
var linkLocals = netip.MustParsePrefix("fe80::/64")

// peers is an allow entry with its addresses.
type peers struct {
	netipx.IPRange
	services []config.Service
	word     config.Word
}

// The services by which a router gives out addresses (RFC 2131; RFC 8415).
var (
	dhcp4 = config.Service{Proto: 17, From: 67, To: 67}
	dhcp6 = config.Service{Proto: 17, From: 547, To: 547}
)

func isRouter(e config.Entry) bool { return e.Word == config.Router }

func sorted(all []netip.Addr) []netip.Addr {
	all = slices.Clone(all)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// everyService stands for all datagrams, of protocols that have ports.
var everyService = []config.Service{{Proto: 17, From: 1, To: 65535}, {Proto: 6, From: 1, To: 65535}}

// partBroadcasts parts the entries for broadcast addresses, which are judged by
// other rules, from the rest. The word alone opens what DHCP needs, which those
// rules let pass in any case; an address that is written, or lies in a range that is,
// opens all of it. One that may be a broadcast address, or a host's, is both.
func partBroadcasts(all []peers, f facts.Facts) (rest, broadcasts []peers) {
	for _, p := range all {
		if !isBroadcast(p, f) {
			rest = append(rest, p)
		}
		if len(p.services) == 0 && p.word != config.Broadcast {
			p.services = everyService
		}
		for _, a := range broadcastsOf(p, f) {
			if len(p.services) > 0 {
				broadcasts = append(broadcasts, peers{netipx.IPRangeFrom(a, a), p.services, p.word})
			}
		}
	}
	return rest, broadcasts
}

// lessNetworks takes the first addresses of the parent's IPv4 links out of ranges. No host
// has them, but many take them for the broadcast address (RFC 1122, 3.3.6; Linux did
// until 5.14): a datagram for one in a denied host's own frame reaches that host.
func lessNetworks(all []peers, f facts.Facts) []peers {
	var out []peers
	for _, p := range all {
		if p.From() == p.To() {
			out = append(out, p)
			continue
		}
		var b netipx.IPSetBuilder
		b.AddRange(p.IPRange)
		for _, link := range f.OnLink {
			if link.Addr().Is4() && link.Bits() < 31 { // smaller ones have none (RFC 3021)
				b.Remove(link.Masked().Addr())
			}
		}
		set, err := b.IPSet()
		if err != nil {
			panic(err) // only invalid ranges fail, and all were parsed
		}
		for _, r := range set.Ranges() {
			out = append(out, peers{r, p.services, p.word})
		}
	}
	return out
}

// isBroadcast reports whether an entry is a broadcast address, for certain.
func isBroadcast(p peers, f facts.Facts) bool {
	return p.From() == p.To() &&
		(p.word == config.Broadcast || slices.Contains(f.Broadcast, p.From()) || p.From() == limitedBroadcast)
}

// broadcastsOf gives the broadcast addresses of an entry, which may be a whole link: those
// of the parent's, or, where the host does not know it, the last one.
func broadcastsOf(p peers, f facts.Facts) []netip.Addr {
	if isBroadcast(p, f) {
		return []netip.Addr{p.From()}
	}
	var out []netip.Addr
	for _, a := range f.Broadcast {
		if a != limitedBroadcast && p.Contains(a) {
			out = append(out, a)
		}
	}
	if mayBroadcast(p.To(), f) {
		out = append(out, p.To())
	}
	return out
}

// mayBroadcast reports whether an address can be a prefix's broadcast address, the last
// of it, where the host knows none of the link's prefixes: of one of 16 addresses or
// more, since smaller ones have so many last addresses that most are hosts'.
func mayBroadcast(a netip.Addr, f facts.Facts) bool {
	isIPv4 := func(p netip.Prefix) bool { return p.Addr().Is4() }
	if !a.Is4() || a.IsMulticast() || a == limitedBroadcast || slices.ContainsFunc(f.OnLink, isIPv4) {
		return false
	}
	const ones = 0x0f
	return a.As4()[3]&ones == ones
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// claimed gives the addresses that are others', whatever range or port they are allowed
// by: who takes the gateway's has all the LAN's traffic.
func claimed(all []peers, own []netip.Addr, f facts.Facts) []netip.Addr {
	out := slices.DeleteFunc(slices.Concat(f.Gateway, f.Broadcast), func(a netip.Addr) bool { return a == limitedBroadcast })
	for _, p := range all {
		if p.From() == p.To() && p.word != config.Broadcast && !p.From().IsMulticast() {
			out = append(out, p.From())
		}
	}
	for _, server := range f.DNS {
		if slices.ContainsFunc(all, func(p peers) bool { return p.Contains(server) }) {
			out = append(out, server)
		}
	}
	out = slices.DeleteFunc(out, func(a netip.Addr) bool { return slices.Contains(own, a) })
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func allowed(policy string, entries []Entry, f facts.Facts) (all []peers, warnings []string) {
	for _, e := range entries {
		if len(e.Peers) == 0 {
			warnings = append(warnings, fmt.Sprintf("policy %q: allow %q stands for nothing and allows nothing: %s", policy, e, remedy(e.Word, f.Parent)))
		}
		for _, r := range e.Peers {
			services := e.Services
			if e.Word == config.Router { // of DHCP, its own family's
				services = slices.DeleteFunc(slices.Clone(services), func(s config.Service) bool { return s == dhcp4 && r.From().Is6() || s == dhcp6 && r.From().Is4() })
			}
			all = append(all, peers{r, services, e.Word})
		}
	}
	return all, warnings
}

// Expand gives the addresses of an entry.
func Expand(e config.Entry, f facts.Facts) []netipx.IPRange {
	var addrs []netip.Addr
	switch e.Word {
	case "":
		return []netipx.IPRange{e.Range}
	case config.Gateway, config.Router:
		addrs = f.Gateway
	case config.DNS:
		addrs = f.DNS
	case config.Broadcast:
		addrs = f.Broadcast
	case config.OnLink:
		return rangesOf(links(f))
	case config.Private:
		return rangesOf(config.PrivatePrefixes)
	}
	var out []netipx.IPRange
	for _, a := range addrs {
		out = append(out, netipx.IPRangeFrom(a, a))
	}
	return out
}

// links gives the prefixes of the parent's link.
func links(f facts.Facts) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range f.OnLink {
		out = append(out, facts.Link(p))
	}
	return out
}

func rangesOf(prefixes []netip.Prefix) []netipx.IPRange {
	var out []netipx.IPRange
	for _, p := range prefixes {
		out = append(out, netipx.RangeOfPrefix(p))
	}
	return out
}

// remedy says what to write instead of a word that stands for nothing.
func remedy(w config.Word, parent string) string {
	switch w {
	case config.Gateway, config.Router:
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
