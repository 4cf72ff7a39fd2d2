package filter

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// The kinds of sets that a table can have for a family; one with no element is
// left out.
const (
	open         = "open" // whoever is not denied
	hosts        = "allow"
	ranges       = "allow-ranges"
	services     = "allow-services"
	servicePeers = "allow-service-peers" // whoever has an allowed service
	asRouters    = "allow-routers"       // gateways that are allowed as routers
	claimed      = "claimed"             // addresses that the VM can never have
)

// tunnels names the set of the protocols that carry other frames.
const tunnels = "tunnels"

// tunnelProtocols carry IP or Ethernet in IP (IANA's protocol numbers): IPv4, IPv6,
// GRE, MOBILE, IPIP, ETHERIP, ENCAP, PIM in its registers, L2TP, MPLS-in-IP, Ethernet,
// NSH.
var tunnelProtocols = []byte{ruleset.IPinIP, ruleset.SixIn4, ruleset.GRE, 55, 94, 97, 98, 103, 115, 137, 143, 145}

// translatedSet names the set of the addresses that stand for IPv4 ones, and
// relayedSet that of those among them that stand for peers that are not denied.
const (
	translatedSet = "translated-ipv6"
	relayedSet    = "relayed-ipv6"

	relayedServicesSet = "relayed-services-ipv6"
)

// extensions names the set of what can follow an IPv6 header and needs a closer
// look: extension headers, tunnels, ICMPv6.
const extensions = "extensions"

const (
	routingHeader  = 43
	fragmentHeader = 44
)

// extensionHeaders are IPv6's (RFC 7045): hop-by-hop, routing, fragment,
// authentication, destination options, mobility, HIP, shim6.
var extensionHeaders = []byte{hopByHop, routingHeader, fragmentHeader, 51, 60, 135, 139, 140}

// maxCompares is the number of prefixes up to which comparing one after the other
// is cheaper than one lookup in a tree: a lookup costs about seven times a
// compare, and many more expressions must be programmed for compares.
const maxCompares = 12

// set names the family's set of a kind: "allow-ranges-ipv4".
func (f family) set(kind string) string { return kind + "-" + f.name }

// sets gives the sets that the rules look up.
func (b *builder) sets() []ruleset.Set {
	p := b.policy
	var out []ruleset.Set
	add := func(s ruleset.Set) {
		if len(s.Elements) > 0 || s.Dynamic > 0 {
			out = append(out, s)
		}
	}
	if !p.PassTunnels {
		add(protocolSet(tunnels, tunnelProtocols))
		if !p.DropIPv6 {
			add(protocolSet(extensions, slices.Concat(tunnelProtocols, extensionHeaders, []byte{ruleset.ICMPv6})))
			add(family6.ranges(translatedSet, ofPrefixes(translatedPrefixes)))
			add(family6.ranges(relayedSet, b.relayed()))
			add(family6.servicesOf(relayedServicesSet, b.relayedServices()))
		}
	}
	for _, f := range []family{family4, family6} {
		if b.denies(f) && (f.name == family4.name || !p.DropIPv6) {
			add(b.routers(f))
		}
		if (f.name == family4.name || !p.DropIPv6) && b.remembersPassed(f) {
			add(b.passedSet(f))
		}
		add(f.rangeSet(open, b.openRanges(f)))
		add(f.hostSet(hosts, p.Hosts))
		add(f.rangeSet(ranges, b.allowedNetworks(f)))
		add(f.servicesOf(f.set(services), p.Services))
		add(f.rangeSet(servicePeers, p.ServicePeers()))
		add(f.hostSet(asRouters, several(f.only(p.Routers))))
		if !p.PassSpoofing {
			if taken := f.only(p.Claimed); !slices.Equal(taken, f.only(p.Hosts)) {
				add(f.hostSet(claimed, several(taken)))
			}
		}
	}
	return out
}

// taken matches a field that holds an address that the VM can never have, or, with
// not, any other. Mostly these are the allowed hosts, and one set holds both. any is
// false when there is no such address.
func (b *builder) taken(f family, field ruleset.Field, not bool) (m ruleset.Match, any bool) {
	taken := f.only(b.policy.Claimed)
	if len(taken) == 0 {
		return nil, false
	}
	kind := claimed
	if slices.Equal(taken, f.only(b.policy.Hosts)) {
		kind = hosts
	}
	return f.among(field, kind, taken, not), true
}

func protocolSet(name string, all []byte) ruleset.Set {
	s := ruleset.Set{Name: name, Key: []ruleset.Type{ruleset.TypeInetProto}}
	for _, proto := range slices.Sorted(slices.Values(all)) {
		s.Elements = append(s.Elements, ruleset.Element{From: [][]byte{{proto}}, To: [][]byte{{proto}}})
	}
	return s
}

// several gives the addresses when there is more than one: a single one is
// compared, not looked up.
func several(all []netip.Addr) []netip.Addr {
	if len(all) > 1 {
		return all
	}
	return nil
}

func ofPrefixes(all []netip.Prefix) []netipx.IPRange {
	var out []netipx.IPRange
	for _, p := range all {
		out = append(out, netipx.RangeOfPrefix(p))
	}
	return out
}

func (f family) hostSet(kind string, all []netip.Addr) ruleset.Set {
	s := ruleset.Set{Name: f.set(kind), Key: []ruleset.Type{f.addr}}
	for _, a := range f.only(all) {
		s.Elements = append(s.Elements, single(a))
	}
	return s
}

func (f family) rangeSet(kind string, all []netipx.IPRange) ruleset.Set {
	return f.ranges(f.set(kind), all)
}

func (f family) ranges(name string, all []netipx.IPRange) ruleset.Set {
	s := ruleset.Set{Name: name, Key: []ruleset.Type{f.addr}, Interval: true}
	for _, r := range all {
		if f.is(r.From()) {
			s.Elements = append(s.Elements, element(r))
		}
	}
	return s
}

func (f family) servicesOf(name string, all []policy.Service) ruleset.Set {
	s := ruleset.Set{
		Name: name, Interval: true,
		Key: []ruleset.Type{f.addr, ruleset.TypeInetProto, ruleset.TypeInetService},
	}
	for _, v := range all {
		if !f.is(v.Peers.From()) {
			continue
		}
		e := element(v.Peers)
		e.From = append(e.From, []byte{v.Proto}, port(v.From))
		e.To = append(e.To, []byte{v.Proto}, port(v.To))
		s.Elements = append(s.Elements, e)
	}
	return s
}

func element(r netipx.IPRange) ruleset.Element {
	return ruleset.Element{From: [][]byte{r.From().AsSlice()}, To: [][]byte{r.To().AsSlice()}}
}

func single(a netip.Addr) ruleset.Element { return element(netipx.IPRangeFrom(a, a)) }

func port(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
