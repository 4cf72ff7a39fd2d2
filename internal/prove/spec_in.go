package prove

import (
	"macvtap-filter/internal/ruleset"
)

// toVM is what passes to the VM.
func (s Spec) toVM(j *Judgement, add func(string, Bit)) {
	v4, v6 := j.is(ruleset.EtherTypeIPv4), j.is(ruleset.EtherTypeIPv6)
	unicast := j.Group().Not()
	if !s.Policy.PassSpoofing {
		add("to the VM's own MAC address", j.Implies(unicast, j.Equal(j.Destination(), Bytes(s.MAC))))
	}
	if s.Policy.Isolate {
		// Whoever has an address of the VM's may say so.
		add("from a gateway's MAC address alone", j.Implies(j.And(unicast, j.is(ruleset.EtherTypeARP).Not()), s.gateways(j.Frame, j.Source())))
	}
	src4, src6 := j.Network(12, 4), j.Network(8, 16)
	add("no denied IPv4 source", j.Implies(v4, s.mayCome4(j, src4)))
	add("no denied IPv6 source", j.Implies(v6, s.mayCome6(j, src6)))
	whoRoutes := j.Or(s.allowed(j.Frame, src6, whole), s.allowed(j.Frame, src6, isRouter))
	if !s.denies(128) { // then every host of the link may be the VM's router
		whoRoutes = j.Or(whoRoutes, s.denied(j.Frame, src6).Not(), s.stands(j, src6))
	}
	add("router advertisements of routers that are allowed", j.Implies(j.And(v6, j.icmp(58, 134, 137)), whoRoutes))
}

func (s Spec) mayCome4(j *Judgement, src Word) Bit {
	out := j.Or(s.denied(j.Frame, src).Not(), s.allowed(j.Frame, src, whole), s.service(j.Frame, src, j.sourcePort(), 2))
	out = j.Or(out, j.And(s.allowed(j.Frame, src, isRouter), j.icmp(1, 0, 3, 5, 8, 9, 11, 12)))
	dst := j.Network(16, 4)
	queries := j.And(j.Is(j.L4, 2), j.reads(1), j.Is(j.Transport(0), 0x11), j.Is(j.hops(), 1), j.in(dst, prefixes("224.0.0.0/4")))
	errors := s.errors(j, true)
	out = j.Or(out, queries, errors, s.continues(j, src))
	if s.Policy.PassDHCPServer {
		out = j.Or(out, j.fromTo(68, 67), j.fromTo(67, 67))
	}
	host := j.in(src, nobodys4).Not()
	out = j.Or(out, j.And(host, j.reads(4), j.ofService(s.Policy.Serve, j.destinationPort())))
	return j.Or(out, s.fromGroup(j, src))
}

// fromGroup gives whether a datagram is from the port of a group's service that allow opens.
func (s Spec) fromGroup(j *Judgement, src Word) Bit {
	out := False
	groups := append(prefixes("224.0.0.0/3", "ff00::/8"), s.broadcasts()...)
	for _, e := range s.Policy.Allow {
		for _, r := range s.peers(e) {
			group := r.From() == r.To() && r.From().IsMulticast()
			for _, b := range groups[2:] {
				group = group || r.Overlaps(b)
			}
			if group {
				out = j.Or(out, j.ofService(e.Services, j.sourcePort()), j.And(j.reads(4), j.ofService(e.Services, j.destinationPort())))
			}
		}
	}
	to := j.Network(16, 4)
	if len(src) == 128 {
		to = j.Network(24, 16)
	}
	toGroup := j.And(s.allowed(j.Frame, to, whole), j.in(to, prefixes("224.0.0.0/4", "ff00::/8")))
	if s.Policy.PassMulticast {
		toGroup = j.Or(j.And(j.is(ruleset.EtherTypeIPv4), j.in(j.Network(16, 4), prefixes("224.0.0.0/3"))), j.And(j.is(ruleset.EtherTypeIPv6), j.in(j.Network(24, 16), prefixes("ff00::/8"))))
		for _, port := range []uint64{5353, 1900, 3702, 5355, 137} {
			out = j.Or(out, j.And(j.Is(j.L4, 17), j.Is(j.sourcePort(), port)))
		}
	}
	return j.And(j.Or(toGroup, j.And(out, j.reads(2))), j.Or(j.in(src, nobodys4), j.in(src, nobodys6)).Not())
}

func (s Spec) mayCome6(j *Judgement, src Word) Bit {
	out := j.Or(s.denied(j.Frame, src).Not(), s.allowed(j.Frame, src, whole), s.service(j.Frame, src, j.sourcePort(), 2), s.stands(j, src))
	out = j.Or(out, j.And(s.allowed(j.Frame, src, isRouter), j.icmp(58, 1, 2, 3, 4, 128, 129, 134, 137)))
	discovery := s.discoveryToVM(j, src)
	out = j.Or(out, discovery, j.And(j.icmp(58, 130), j.Is(j.Network(6, 1), hopByHop), j.Is(j.hops(), 1)), s.errors(j, false))
	if s.Policy.PassRouters {
		out = j.Or(out, j.icmp(58, 131, 132, 143))
	}
	if s.Policy.PassDHCPServer {
		out = j.Or(out, j.fromTo(546, 547), j.fromTo(547, 547))
	}
	host := j.in(src, nobodys6).Not()
	out = j.Or(out, j.And(host, j.reads(4), j.ofService(s.Policy.Serve, j.destinationPort())))
	return j.Or(out, s.fromGroup(j, src))
}
