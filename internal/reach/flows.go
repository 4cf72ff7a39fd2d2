package reach

import (
	"net/netip"
	"slices"

	"go4.org/netipx"

	"macvtap-filter/internal/ruleset"
)

// Flows are those that the VM opens on some services of some peers, or they on its own.
type Flows struct {
	Protos   []byte // by IANA's numbers; none for all
	From, To uint16 // the services' ports, where the protocol has some
	Peers    []netipx.IPRange
}

// A Flow is one of them.
type Flow struct {
	Proto           byte
	Client, Service uint16 // ports: of who opens it, and of whom it is opened on
	Peer            netip.Addr
}

// Closed gives one of some flows that can not be opened from an ordinary port, ok whether there
// is one: by the VM, or, unless out, on it.
func (r Reach) Closed(out bool, all Flows) (one Flow, ok bool) {
	for _, k := range r.kinds(out) {
		for _, p := range k.protos {
			if wanted := minus.combine(k.family.flows(all, p, ordinary, ordinary), k.whole); len(wanted) > 0 {
				return k.family.flow(p, wanted), true
			}
		}
	}
	return Flow{}, false
}

// Passes gives one of some flows, of none that is among the exceptions, whose first frame the VM
// can send, from whatever port and to whatever MAC address, or, unless out, that can be opened on
// it from whatever port; ok says whether there is one. DHCP does not count.
func (r Reach) Passes(out bool, all, exceptions []Flows) (one Flow, ok bool) {
	for _, k := range r.kinds(out) {
		passes := k.whole
		if out {
			passes = or.combine(k.whole, k.sent)
		}
		for _, p := range k.protos {
			wanted := and.combine(passes, k.family.anyOf(all, p))
			wanted = minus.combine(wanted, k.family.anyOf(exceptions, p))
			if p == ruleset.UDP {
				wanted = minus.combine(wanted, k.family.dhcp())
			}
			if len(wanted) > 0 {
				return k.family.flow(p, wanted), true
			}
		}
	}
	return Flow{}, false
}

func (r Reach) kinds(out bool) []Kind {
	if out {
		return r.Out
	}
	return r.In
}

// anyOf gives the frames of some flows of a protocol, from any port.
func (f family) anyOf(all []Flows, proto byte) space {
	var out []space
	for _, one := range all {
		out = append(out, f.flows(one, proto, f.all[client].from, f.all[client].to))
	}
	return union(out)
}

// flows gives the frames of some flows of a protocol, from ports in a range.
func (f family) flows(all Flows, proto byte, from, to point) space {
	if all.Protos != nil && !slices.Contains(all.Protos, proto) || len(all.Peers) == 0 {
		return nil
	}
	b := f.all
	b[client].from, b[client].to = from, to
	if hasPorts(proto) {
		b[service].from, b[service].to = point{lo: uint64(all.From)}, point{lo: uint64(all.To)}
	}
	var out []space
	for _, r := range all.Peers {
		if r.From().BitLen() != 8*f.bytes {
			continue
		}
		b[peer].from, b[peer].to = number(r.From().AsSlice()), number(r.To().AsSlice())
		out = append(out, b.space())
	}
	return union(out)
}

// dhcp gives the datagrams of DHCP (RFC 2131, 4.1; RFC 8415, 7.2).
func (f family) dhcp() space {
	b := f.all
	from, to := point{lo: 67}, point{lo: 68}
	if f.bytes == 16 {
		from, to = point{lo: 546}, point{lo: 547}
	}
	b[client].from, b[client].to = from, to
	b[service].from, b[service].to = from, to
	return b.space()
}

// flow gives one of a space: from an ordinary port, if there is such a one, and to what looks
// like a host's address and a port that is used.
func (f family) flow(proto byte, s space) Flow {
	one, from := s.at(ordinary), ordinary
	if len(one) == 0 {
		one, from = *s[0].in, s[0].from
	}
	out := Flow{Proto: proto, Peer: f.address((*one[0].in)[0].second())}
	if hasPorts(proto) {
		out.Client, out.Service = uint16(from.lo), uint16(one[0].from.lo)
		if out.Service == 0 {
			out.Service = uint16(one[0].second().lo)
		}
	}
	return out
}

// second gives the second value of a range, or the only one.
func (s span) second() point {
	if s.from == s.to {
		return s.from
	}
	return s.from.next()
}

// An Exchange is what opens a flow: its frames in the order in which they are sent.
type Exchange []Step

// A Step is a frame of an exchange, and which way it goes.
type Step struct {
	Hook  ruleset.HookType
	Frame []byte
	What  string // in words
	Opens bool   // it is the flow's first one
}

// Exchanges gives how a flow is opened, from each address of the VM's: with the MAC address that
// the far end has by its address, and with others.
func (e Ends) Exchanges(out bool, flow Flow) (usual, others []Exchange) {
	hook, f := ruleset.Ingress, family4
	if out {
		hook = ruleset.Egress
	}
	if flow.Peer.Is6() {
		f = family6
	}
	there := f.addresses(netip.PrefixFrom(flow.Peer, flow.Peer.BitLen()))
	for _, own := range e.own(f) {
		for _, far := range e.ends(f, hook) {
			switch {
			case len(and.combine(far.usual, there)) > 0:
				usual = append(usual, e.exchange(f, hook, own, far, flow))
			case len(and.combine(far.peers, there)) > 0:
				others = append(others, e.exchange(f, hook, own, far, flow))
			}
		}
	}
	return usual, others
}

func (e Ends) exchange(f family, hook ruleset.HookType, own netip.Addr, far end, flow Flow) Exchange {
	at := [dimensions]point{client: {lo: uint64(flow.Client)}, service: {lo: uint64(flow.Service)}, peer: number(flow.Peer.AsSlice())}
	var out Exchange
	if far.link {
		question, reply := e.asking(f, hook, own)
		out = append(out, Step{hook, question.filled(f, at), "the question for its MAC address", false},
			Step{other(hook), reply.filled(f, at), "the reply with its MAC address", false})
	}
	out = append(out, Step{hook, f.datagram(hook, flow.Proto, own, e.VM, far.mac, false).filled(f, at), "the first frame", true})
	if !far.group {
		out = append(out, Step{other(hook), f.datagram(other(hook), flow.Proto, own, e.VM, far.mac, true).filled(f, at), "the answer", false})
	}
	return out
}
