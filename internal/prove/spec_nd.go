package prove

import (
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
)

// Neighbour discovery (RFC 4861): what a message says stands behind an IPv6 header without
// extension headers, the target 8 bytes into it, the first option behind that.
const (
	ndTarget   = ipv6Header + 8
	ndOption   = ipv6Header + 24
	rsOption   = ipv6Header + 8
	ownLinkMAC = 8 // an option of a MAC address
)

// discoveryFromVM is what the VM says and asks in neighbour discovery.
func (s Spec) discoveryFromVM(j *Judgement, v6 Bit, add func(string, Bit)) {
	if s.Policy.PassNeighbours {
		return
	}
	ns, na, rs := j.And(v6, j.message(58, 24, 135)), j.And(v6, j.message(58, 24, 136)), j.And(v6, j.message(58, 8, 133))
	any := j.Or(ns, na, rs)
	source, destination, target := j.Network(8, 16), j.Network(24, 16), j.Network(ndTarget, 16)
	probe := j.And(ns, j.Is(source, 0))
	add("neighbour discovery as a host of the link sends it", j.Implies(any, j.And(j.Is(j.Network(6, 1), 58), j.Is(j.Network(7, 1), 255))))
	if !s.Policy.PassSpoofing {
		add("neighbour discovery of the VM's own MAC address alone", j.And(
			j.Implies(j.And(ns, probe.Not()), s.ownLink(j, 24, ndOption, 1)), j.Implies(na, s.ownLink(j, 24, ndOption, 2)), j.Implies(rs, s.ownLink(j, 8, rsOption, 1))))
		add("neighbour discovery claims no address of another", j.Implies(j.Or(na, probe), j.in(target, s.others()).Not()))
	}
	if s.knowsOwn(false) {
		add("neighbour advertisements of own addresses alone", j.Implies(na, s.own(j, target)))
	}
	add("router solicitations to routers and peers alone", j.Implies(rs, j.Or(s.toAll(j, "ff02::2"), s.toNeighbour(j, destination))))
	solicited := j.And(j.in(destination, prefixes("ff02::1:ff00:0/104")), j.Is(join(j.Ether[:3]...), 0x3333ff))
	add("neighbour solicitations to whom it looks for, or peers", j.Implies(ns, j.Or(solicited, s.toNeighbour(j, destination), s.router(j, j.Destination(), false))))
	everybody := j.And(s.identified(j, target), j.Or(s.toAll(j, "ff02::1"), s.toAll(j, "ff02::2")))
	add("neighbour advertisements to peers, or of own addresses to all", j.Implies(na, j.Or(everybody, s.toNeighbour(j, destination), s.router(j, j.Destination(), false))))
	looked := j.Or(s.neighbour(j, target), probe)
	add("no neighbour solicitation for a denied host", j.Implies(ns, looked))
}

// message gives whether a datagram is a message of ICMP or ICMPv6 of some types, and no shorter
// than receivers take.
func (f *Frame) message(l4 byte, size int, types ...byte) Bit {
	return f.And(f.icmp(l4, types...), f.HasTransport(size))
}

// ownLink gives whether a message of so many bytes has no option, or one alone, of the VM's own
// MAC address.
func (s Spec) ownLink(j *Judgement, size, at int, kind uint64) Bit {
	length := j.Network(4, 2)
	option := j.And(j.Is(j.Network(at, 1), kind), j.Is(j.Network(at+1, 1), 1), j.Equal(j.Network(at+2, 6), Bytes(s.MAC)))
	return j.Or(j.Is(length, uint64(size)), j.And(j.Is(length, uint64(size+ownLinkMAC)), option))
}

// toAll gives whether a datagram is for a group, in a frame to it (RFC 2464, 7).
func (s Spec) toAll(j *Judgement, group string) Bit {
	a := prefixes(group + "/128")
	bytes := a[0].From().AsSlice()
	return j.And(j.in(j.Network(24, 16), a), j.Equal(j.Destination(), Bytes(append([]byte{0x33, 0x33}, bytes[12:]...))))
}

// neighbour gives whether an address is of a peer that the VM may look for: one that is not
// denied, that allow names in whatever way, or, of who is served, one that a host may have.
func (s Spec) neighbour(j *Judgement, a Word) Bit {
	peer := func(e config.Entry) bool { return e.Word != config.Broadcast }
	out := j.Or(s.denied(j.Frame, a).Not(), s.allowed(j.Frame, a, peer))
	if len(s.Policy.Serve) > 0 || s.Policy.PassDHCPServer {
		out = j.Or(out, j.in(a, nobodys6).Not())
	}
	return out
}

// toNeighbour gives whether a message is for one such peer, in a frame for one host.
func (s Spec) toNeighbour(j *Judgement, a Word) Bit {
	return j.And(j.Group().Not(), s.neighbour(j, a))
}

// identified gives whether an address is the VM's own, or has the interface identifier that is
// made of its MAC address (RFC 4291, appendix A).
func (s Spec) identified(j *Judgement, a Word) Bit {
	m := s.MAC
	made := []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}
	out := j.Equal(a[64:], Bytes(made))
	if s.knowsOwn(false) {
		out = j.Or(out, s.own(j, a))
	}
	return out
}

// discoveryToVM gives which messages of neighbour discovery pass to the VM from whom else is
// denied: of routers, of whom it serves, of peers by a service, and what tells of addresses of its own.
func (s Spec) discoveryToVM(j *Judgement, src Word) Bit {
	direct := j.And(j.Is(j.Network(6, 1), 58), j.Is(j.Network(7, 1), 255))
	target := j.Network(ndTarget, 16)
	from := j.Or(s.router(j, j.Source(), false), s.allowed(j.Frame, src, func(e config.Entry) bool { return e.Word != config.Broadcast }))
	if len(s.Policy.Serve) > 0 || s.Policy.PassDHCPServer || s.Policy.PassNeighbours {
		from = True
	}
	probe := j.And(j.icmp(58, 135), j.Is(src, 0), j.in(j.Network(24, 16), prefixes("ff02::1:ff00:0/104")), direct)
	if s.knowsOwn(false) {
		probe = j.And(probe, s.identified(j, target))
	}
	defence := j.And(j.icmp(58, 136), direct, s.identified(j, target))
	probed := s.held(j, "nic-tentative-ipv6", target) // while the VM probes for it
	defence = j.Or(defence, j.And(j.icmp(58, 135, 136), direct, probed))
	out := j.Or(probe, defence, j.And(j.icmp(58, 135, 136), from))
	if s.Policy.PassRouters || s.Policy.PassNeighbours {
		out = j.Or(out, j.And(j.icmp(58, 133), direct))
	}
	return out
}

// groupReports is what the VM tells of the groups that it listens to, and asks others (RFC 3376;
// RFC 3810): of IPv4's groups those alone that are allowed.
func (s Spec) groupReports(j *Judgement, v4, v6 Bit, add func(string, Bit)) {
	dst := j.Network(16, 4)
	igmp := j.And(v4, j.Is(j.L4, 2), s.continues(j, dst).Not(), s.denied(j.Frame, dst), s.allowed(j.Frame, dst, whole).Not())
	if s.Policy.PassMulticast {
		igmp = False
	}
	anyGroup := slices.ContainsFunc(s.Policy.Allow, func(e config.Entry) bool {
		return slices.ContainsFunc(s.peers(e), func(r netipx.IPRange) bool { return r.Overlaps(prefixes("224.0.0.0/4")[0]) })
	})
	report := False
	if anyGroup {
		v2 := j.And(j.Among(j.Transport(0), 0x12, 0x16), s.allowed(j.Frame, dst, func(config.Entry) bool { return true }))
		leave := j.And(j.Is(j.Transport(0), 0x17), j.in(dst, prefixes("224.0.0.2/32")))
		v3 := j.And(j.Is(j.Transport(0), 0x22), j.in(dst, prefixes("224.0.0.22/32")))
		report = j.And(j.reads(1), j.Is(j.Network(8, 1), 1), j.Or(v2, leave, v3))
		if s.Policy.PassRouters {
			report = j.Or(report, j.And(j.reads(1), j.Is(j.Transport(0), 0x11)))
		}
	}
	add("IGMP reports of allowed groups alone", j.Implies(igmp, report))
	if !s.Policy.PassRouters && !s.Policy.PassMulticast {
		group4, alert := j.And(j.in(dst, prefixes("224.0.0.0/4")), s.allowed(j.Frame, dst, whole).Not()), j.Is(j.Network(6, 1), hopByHop)
		query := j.Or(j.And(v4, group4, j.Is(j.L4, 2), j.reads(1), j.Is(j.Transport(0), 0x11)), j.And(v6, alert, j.message(58, 24, 130)))
		add("no query for groups", j.And(query, j.Is(j.hops(), 1)).Not())
	}
}

// hops is how many routers a datagram may still pass.
func (f *Frame) hops() Word {
	return f.IfWord(f.is(0x0800), f.Network(8, 1), f.Network(7, 1))
}

// held gives whether a set that there is had a NIC's value at first.
func (s Spec) held(j *Judgement, set string, value Word) Bit {
	for _, known := range j.table.Sets {
		if known.Name == set {
			return j.sets.has(j.Circuit, known, append(Bytes(j.device), value...))
		}
	}
	return False
}
