package prove

import (
	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/ruleset"
)

// Live gives what must pass, by name: Broken are the frames of it that do not. Policies that
// bound what may be opened, or how much, let other frames pass.
func (s Spec) Live(j *Judgement) []Property {
	p := s.Policy
	if p.Inbound.Listed || p.Outbound.Listed || p.Max != (config.Rates{}) {
		return nil
	}
	var out []Property
	must := func(name string, frames Bit) {
		out = append(out, Property{name, j.And(frames, j.Passes.Not())})
	}
	unicast := j.Group().Not()
	for _, ipv4 := range []bool{true, false} {
		if !ipv4 && p.DropIPv6 {
			continue
		}
		near, far, port := j.flow(ipv4)
		peer := j.Or(s.denied(j.Frame, far).Not(), j.And(s.allowed(j.Frame, far, whole), j.in(far, prefixes("224.0.0.0/3", "ff00::/8")).Not(), s.network(j, far).Not(), s.stands4(j, far).Not()))
		datagram := j.And(j.plain(ipv4), peer, unicast, j.dhcp(port).Not())
		if j.Hook == ruleset.Ingress {
			isolated := True
			if p.Isolate {
				isolated = s.gateways(j.Frame, j.Source())
			}
			must("datagrams of TCP and UDP from who is not denied, or allowed", j.And(datagram, isolated, j.Equal(j.Destination(), Bytes(s.MAC))))
			continue
		}
		known := j.in(near, s.others()).Not()
		if s.knowsOwn(ipv4) {
			known = j.And(known, s.own(j, near))
		}
		hop := s.hop(j, ipv4)
		must("datagrams of TCP and UDP to who is not denied, or allowed", j.And(datagram, known, j.Or(j.in(near, nobodys4), j.in(near, nobodys6)).Not(), hop, j.Equal(j.Source(), Bytes(s.MAC))))
	}
	if j.Hook == ruleset.Egress && !p.Isolate {
		must("ARP for who is allowed whole", s.asks(j))
	}
	s.ordinary(j, must)
	return out
}

// ordinary are the other shapes by which a host gets on the internet.
func (s Spec) ordinary(j *Judgement, must func(string, Bit)) {
	v4 := j.And(j.is(ruleset.EtherTypeIPv4), j.Valid, j.Is(j.Network(0, 1), 0x45), j.Is(j.Network(6, 2)[2:], 0))
	v6 := j.And(j.is(ruleset.EtherTypeIPv6), j.Valid)
	if s.Policy.DropIPv6 {
		v6 = False
	}
	if j.Hook == ruleset.Ingress {
		return
	}
	own := j.Equal(j.Source(), Bytes(s.MAC))
	client := j.And(j.Is(join(j.Transport(8), j.Transport(9), j.Transport(10)), 0x010106), j.Is(j.bytes(8+12, 4), 0), j.Is(j.bytes(8+24, 4), 0), j.Equal(j.bytes(8+28, 6), Bytes(s.MAC)))
	dhcp := j.And(own, v4, j.fromTo(68, 67), j.HasTransport(8+236), j.AtLeast(j.bytes(4, 2), 8+236), client)
	must("DHCP of a client to all", j.And(dhcp, j.Is(j.Network(12, 4), 0), j.Is(j.Network(16, 4), 0xffffffff), j.Is(j.Destination(), 1<<48-1)))
	direct := j.And(own, v6, j.Is(j.Network(6, 1), 58), j.Is(j.Network(7, 1), 255))
	source := j.Network(8, 16)
	known := j.And(j.in(source, s.others()).Not(), j.in(source, nobodys6).Not())
	if s.knowsOwn(false) {
		known = j.And(known, s.own(j, source))
	}
	if !s.Policy.Isolate {
		must("router solicitations", j.And(direct, known, j.message(58, 8, 133), s.ownLink(j, 8, rsOption, 1), s.toAll(j, "ff02::2")))
		looks := j.And(j.in(j.Network(24, 16), prefixes("ff02::1:ff00:0/104")), j.Is(join(j.Ether[:3]...), 0x3333ff))
		target := j.Network(ndTarget, 16)
		wanted := j.And(s.allowed(j.Frame, target, whole), j.in(target, nobodys6).Not(), s.stands4(j, target).Not(), s.network(j, target).Not())
		must("neighbour solicitations for who is allowed whole", j.And(direct, known, j.message(58, 24, 135), s.ownLink(j, 24, ndOption, 1), looks, wanted))
	}
	alert := j.And(own, v6, j.Is(j.Network(6, 2), 1), j.Group(), j.Is(j.Network(40, 8), 0x3a00050200000100))
	must("MLD reports", j.And(alert, j.message(58, 8, 143), j.in(j.Network(24, 16), prefixes("ff02::16/128")), j.Or(known, j.Is(source, 0))))
}

// bytes gives some of the transport header.
func (f *Frame) bytes(from, size int) Word {
	var out Word
	for i := range size {
		out = append(out, f.Transport(from+i)...)
	}
	return out
}

// flow gives the addresses of the VM and of the peer, and the peer's port.
func (f *Frame) flow(ipv4 bool) (near, far, port Word) {
	source, destination := f.Network(12, 4), f.Network(16, 4)
	if !ipv4 {
		source, destination = f.Network(8, 16), f.Network(24, 16)
	}
	if f.Hook == ruleset.Egress {
		return source, destination, f.destinationPort()
	}
	return destination, source, f.sourcePort()
}

// plain gives whether a frame is a whole datagram of TCP or UDP, without options or extension
// headers, of no port that DHCP has.
func (f *Frame) plain(ipv4 bool) Bit {
	ports := f.And(f.Among(f.L4, 6, 17), f.reads(20), f.dhcp(f.sourcePort()).Not(), f.dhcp(f.destinationPort()).Not())
	if ipv4 {
		return f.And(f.is(ruleset.EtherTypeIPv4), f.Valid, f.Is(f.Network(0, 1), 0x45), f.Is(f.Network(6, 2)[2:], 0), ports)
	}
	return f.And(f.is(ruleset.EtherTypeIPv6), f.Valid, f.Among(f.Network(6, 1), 6, 17), ports)
}

// dhcp gives whether a port is DHCP's or DHCPv6's, or none.
func (f *Frame) dhcp(port Word) Bit {
	out := False
	for _, n := range []uint64{0, 67, 68, 546, 547} {
		out = f.Or(out, f.Is(port, n))
	}
	return out
}

// network gives whether an address is the first of a link's, which no range allows: many hosts
// take it for the broadcast address.
func (s Spec) network(j *Judgement, a Word) Bit {
	out := False
	for _, p := range s.Facts.OnLink {
		first := p.Masked().Addr()
		out = j.Or(out, j.in(a, []netipx.IPRange{netipx.IPRangeFrom(first, first)}))
	}
	return out
}

// stands4 gives whether an address is one of those that stand for IPv4 ones, which are
// judged by these.
func (s Spec) stands4(j *Judgement, a Word) Bit {
	if s.Policy.PassTunnels {
		return False
	}
	return j.Or(j.in(a, standsFor4), j.in(a, prefixes("::/16")))
}

// hop gives whether a frame is for a MAC address to which datagrams for other networks may go.
func (s Spec) hop(j *Judgement, ipv4 bool) Bit {
	if s.Policy.Isolate {
		return s.gateways(j.Frame, j.Destination())
	}
	return s.router(j, j.Destination(), ipv4)
}

// asks gives the requests of ARP from an address of the VM's own for whom allow names whole.
func (s Spec) asks(j *Judgement) Bit {
	sender, target := j.Network(14, 4), j.Network(24, 4)
	form := j.And(j.is(ruleset.EtherTypeARP), j.Has(28), j.Is(j.Network(0, 8), 0x0001080006040001), j.Equal(j.Network(8, 6), Bytes(s.MAC)), j.Equal(j.Source(), Bytes(s.MAC)))
	own := j.And(j.in(sender, s.others()).Not(), j.in(sender, nobodys4).Not())
	if s.knowsOwn(true) {
		own = j.And(own, s.own(j, sender))
	}
	return j.And(form, own, s.allowed(j.Frame, target, whole), s.network(j, target).Not(), j.in(target, prefixes("224.0.0.0/3")).Not())
}
