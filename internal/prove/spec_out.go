package prove

import (
	"macvtap-filter/internal/config"
	"macvtap-filter/internal/ruleset"
)

// fromVM is what passes from the VM.
func (s Spec) fromVM(j *Judgement, add func(string, Bit)) {
	p := s.Policy
	v4, v6, arp := j.is(ruleset.EtherTypeIPv4), j.is(ruleset.EtherTypeIPv6), j.is(ruleset.EtherTypeARP)
	unicast := j.Group().Not()
	if !p.PassSpoofing {
		add("from the VM's own MAC address", j.Equal(j.Source(), Bytes(s.MAC)))
	}
	add("datagrams that the kernel can read", j.Implies(j.Or(v4, v6), j.Valid))
	if p.Isolate {
		add("to a gateway's MAC address alone", j.Implies(unicast, s.gateways(j.Frame, j.Destination())))
	}
	src4, dst4, src6, dst6 := j.Network(12, 4), j.Network(16, 4), j.Network(8, 16), j.Network(24, 16)
	for _, d := range []struct {
		is   Bit
		dst  Word
		ipv4 bool
	}{{v4, dst4, true}, {v6, dst6, false}} {
		if beyond, known := s.beyondLink(j.Frame, d.dst); known {
			add("to other networks by a router alone", j.Implies(j.And(d.is, unicast, beyond), s.router(j, j.Destination(), d.ipv4)))
		}
	}
	add("no denied IPv4 destination", j.Implies(v4, s.mayGo4(j, dst4)))
	add("no denied IPv6 destination", j.Implies(v6, s.mayGo6(j, dst6)))
	if !p.PassMulticast {
		one := j.Or(j.And(v4, j.in(dst4, prefixes("224.0.0.0/3")).Not(), j.in(dst4, s.broadcasts()).Not()), j.And(v6, j.in(dst6, prefixes("ff00::/8")).Not()))
		add("no datagram for one host in a frame for all", j.Implies(one, j.Or(unicast, s.loosened(j, v4, v6), j.And(v4, s.continues(j, dst4)))))
	}
	if !p.PassSpoofing {
		add("no source of another", j.And(j.Implies(v4, j.in(src4, s.others()).Not()), j.Implies(v6, j.in(src6, s.others()).Not())))
	}
	if !p.PassSpoofing {
		// Of the link a host may have one by itself (RFC 3927). From no address yet come DHCP, IGMP (RFC 3376, 4.2.13) and neighbour discovery.
		host4 := j.Or(j.in(src4, nobodys4).Not(), j.in(src4, prefixes("169.254.0.0/16")), j.And(j.Is(src4, 0), j.Or(j.fromTo(68, 67), j.Is(j.L4, 2))))
		host6 := j.Or(j.in(src6, nobodys6).Not(), j.And(j.Is(src6, 0), j.Is(j.L4, 58)))
		add("no source that no host has", j.And(j.Implies(v4, host4), j.Implies(v6, host6)))
	}
	if s.knowsOwn(true) {
		// A DHCP client may have a lease that rules know nothing of (RFC 2131, 4.1).
		none := j.Or(j.fromTo(68, 67), j.And(j.Is(src4, 0), j.Is(j.L4, 2)))
		add("own IPv4 addresses alone", j.Implies(v4, j.Or(s.own(j, src4), none)))
	}
	if s.knowsOwn(false) {
		none := j.And(j.Is(src6, 0), j.Is(j.L4, 58))
		add("own IPv6 addresses alone", j.Implies(v6, j.Or(s.own(j, src6), none)))
	}
	if !p.PassRouters {
		add("no router", j.Or(j.And(v6, j.Or(j.message(58, 16, 134), j.message(58, 40, 137))), j.And(v4, s.denied(j.Frame, dst4), j.message(1, 8, 5, 9))).Not())
	}
	if !p.PassTunnels {
		add("no tunnel", j.Implies(j.And(j.Or(v4, v6), j.Among(j.L4, carriers...)), j.And(v4, s.continues(j, dst4))))
		add("no routing header", j.And(v6, j.Is(j.Network(6, 1), routingHeader)).Not())
		add("no IPv4 options", j.Implies(v4, j.Or(j.Is(j.Network(0, 1), 0x45), j.Is(j.L4, 2))))
	}
	s.dhcpFromVM(j, v4, v6, add)
	s.discoveryFromVM(j, v6, add)
	s.groupReports(j, v4, v6, add)
	s.arpFromVM(j, arp, add)
}

// loosened are the messages that keys let pass to whomever: of DHCP servers, routers, and
// neighbour discovery that is not judged.
func (s Spec) loosened(j *Judgement, v4, v6 Bit) Bit {
	out := False
	if s.Policy.PassDHCPServer {
		out = j.Or(j.And(v4, j.Or(j.fromTo(67, 68), j.fromTo(67, 67))), j.And(v6, j.Or(j.fromTo(547, 546), j.fromTo(547, 547))))
	}
	if s.Policy.PassRouters {
		out = j.Or(out, j.And(v6, j.icmp(58, 134, 137)))
	}
	if s.Policy.PassNeighbours {
		out = j.Or(out, j.And(v6, j.icmp(58, 133, 135, 136)))
	}
	return out
}

// dhcpFromVM is what the VM sends by DHCP's ports, to whomever: as a client, of itself (RFC 2131, 2;
// RFC 8415, 7.3).
func (s Spec) dhcpFromVM(j *Judgement, v4, v6 Bit, add func(string, Bit)) {
	if s.Policy.PassDHCPServer {
		return
	}
	udp := j.And(j.hasPorts(), j.Is(j.L4, 17))
	add("nothing to DHCP clients", j.Or(j.And(v4, udp, j.Is(j.destinationPort(), 68)), j.And(v6, udp, j.Is(j.destinationPort(), 546))).Not())
	whole := j.And(j.Network(6, 2)[2].Not(), j.AtLeast(join(j.Transport(4), j.Transport(5)), 8+34))
	client := j.And(whole, j.Is(j.bytes(8+0, 3), 0x010106), j.Is(j.bytes(8+24, 4), 0), j.Equal(j.bytes(8+28, 6), Bytes(s.MAC)))
	add("DHCP as a client, of the VM's own MAC address", j.Implies(j.And(v4, udp, j.HasTransport(8+34), j.Is(j.destinationPort(), 67)), client))
	client6 := j.And(j.Is(j.Network(6, 1), 17), j.reads(9), j.Among(j.bytes(8+0, 1), 1, 3, 4, 5, 6, 8, 9, 11))
	add("DHCPv6 as a client", j.Implies(j.And(v6, udp, j.HasTransport(8+4), j.Is(j.destinationPort(), 547)), client6))
}

// mayGo4 gives whether a destination may be the VM's peer, or the datagram is one that every VM may send.
func (s Spec) mayGo4(j *Judgement, dst Word) Bit {
	out := j.Or(s.denied(j.Frame, dst).Not(), s.allowed(j.Frame, dst, whole), s.service(j.Frame, dst, j.destinationPort(), 4))
	out = j.Or(out, j.And(s.allowed(j.Frame, dst, isRouter), j.icmp(1, 0, 3, 8, 11, 12)))
	toAll := j.And(j.Is(dst, 0xffffffff), j.Group())
	out = j.Or(out, j.And(toAll, j.fromTo(68, 67)))
	out = j.Or(out, s.continues(j, dst))
	groups := j.in(dst, prefixes("224.0.0.0/4"))
	out = j.Or(out, j.And(groups, j.Is(j.L4, 2)))
	if s.Policy.PassMulticast {
		out = j.Or(out, j.in(dst, prefixes("224.0.0.0/3")), j.in(dst, s.broadcasts()))
	}
	if s.Policy.PassDHCPServer {
		out = j.Or(out, j.fromTo(67, 68), j.fromTo(67, 67))
	}
	return j.Or(out, s.answers(j, dst))
}

// mayGo6 is mayGo4 for IPv6. Neighbour discovery has properties of its own.
func (s Spec) mayGo6(j *Judgement, dst Word) Bit {
	out := j.Or(s.denied(j.Frame, dst).Not(), s.allowed(j.Frame, dst, whole), s.service(j.Frame, dst, j.destinationPort(), 4))
	out = j.Or(out, j.And(s.allowed(j.Frame, dst, isRouter), j.icmp(58, 1, 2, 3, 4, 128, 129)))
	out = j.Or(out, s.stands(j, dst))
	discovery := j.And(j.icmp(58, 133, 135, 136), j.Is(j.Network(7, 1), 255), j.Is(j.Network(6, 1), 58))
	if s.Policy.PassNeighbours {
		discovery = j.icmp(58, 133, 135, 136)
	}
	if s.Policy.PassRouters {
		discovery = j.Or(discovery, j.icmp(58, 134, 137), j.And(j.icmp(58, 130), j.in(dst, prefixes("ff00::/8"))))
	}
	out = j.Or(out, discovery)
	agents := j.And(j.in(dst, prefixes("ff02::1:2/128")), j.fromTo(546, 547))
	reports := j.And(j.in(dst, prefixes("ff02::/16")), j.Group(), j.icmp(58, 131, 132, 143))
	out = j.Or(out, agents, reports)
	if s.Policy.PassMulticast {
		out = j.Or(out, j.in(dst, prefixes("ff00::/8")))
	}
	if s.Policy.PassDHCPServer {
		out = j.Or(out, j.fromTo(547, 546), j.fromTo(547, 547))
	}
	return j.Or(out, s.answers(j, dst))
}

// stands gives whether an address stands for one of IPv4 that may be the VM's peer.
func (s Spec) stands(j *Judgement, dst Word) Bit {
	sixToFour := j.And(j.in(dst, prefixes("2002::/16")), s.denied(j.Frame, dst[16:48]).Not())
	nat64 := j.And(j.in(dst, prefixes("64:ff9b::/96")), s.denied(j.Frame, dst[96:]).Not())
	named := False
	for _, e := range s.Policy.Deny {
		named = j.Or(named, j.in(dst, s.peers(e)))
	}
	return j.And(j.Or(sixToFour, nat64), named.Not())
}

// arpFromVM is what the VM says in ARP.
func (s Spec) arpFromVM(j *Judgement, arp Bit, add func(string, Bit)) {
	if s.Policy.PassNeighbours || s.Policy.PassSpoofing {
		return
	}
	sender, target := j.Sent(14, 4), j.Sent(24, 4)
	add("ARP for IPv4 on Ethernet", j.Implies(arp, j.And(j.Is(j.Sent(0, 6), 0x000108000604), j.Or(j.Is(j.Sent(6, 2), 1), j.Is(j.Sent(6, 2), 2)))))
	add("ARP of the VM's own MAC address", j.Implies(arp, j.Equal(j.Sent(8, 6), Bytes(s.MAC))))
	add("ARP claims no address of another", j.Implies(arp, j.in(sender, s.others()).Not()))
	add("ARP probes no address of another", j.Implies(j.And(arp, j.Is(sender, 0)), j.in(target, s.others()).Not()))
	if s.knowsOwn(true) {
		add("ARP claims own addresses alone", j.Implies(arp, j.Or(j.Is(sender, 0), s.own(j, sender))))
	}
	peer := func(e config.Entry) bool { return e.Word != config.Broadcast }
	may := j.Or(s.denied(j.Frame, target).Not(), s.allowed(j.Frame, target, peer), s.own(j, target))
	reply := j.And(j.Is(j.Sent(6, 2), 2), j.Or(j.Is(target, 0), s.router(j, j.Destination(), true)))
	if len(s.Policy.Serve) > 0 || s.Policy.PassDHCPServer {
		may = j.Or(may, j.in(target, nobodys4).Not())
	}
	// Of the question by which the VM shows its first address rules make a probe, and of that
	// and its own probes they let a few pass.
	first := False
	if s.Policy.Learn != config.LearnOff {
		first = j.And(j.Is(sender, 0), j.Is(j.Sent(6, 2), 1), j.Group())
	}
	add("ARP with no denied host", j.Implies(arp, j.Or(may, reply, first)))
}
