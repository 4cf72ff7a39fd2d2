package reach

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"macvtap-filter/internal/ruleset"
)

// Ends are what the frames have at both ends.
type Ends struct {
	VM        net.HardwareAddr
	Own       []netip.Addr     // the VM's addresses, at least one of each family
	Router    net.HardwareAddr // the gateways'
	Host      net.HardwareAddr // of any other host on the link
	Gateways  []netip.Addr
	OnLink    []netip.Prefix // what is reached without a router
	Broadcast []netip.Addr   // addresses of all on the link
}

// A Reach is all that a VM can open, and all that peers can open on it.
type Reach struct {
	Out, In []Kind
}

// A Kind is one of the two directions, for one family and the protocols that are judged alike.
type Kind struct {
	hook   ruleset.HookType
	family family
	protos []byte

	whole space // what can be opened: the first frame passes and its answer, and the peer is found on the link
	sent  space // the first frame passes, whatever MAC address it has; but answers of what the other can open
	bare  space // as sent, answers too
}

// Of gives the reach under the rules of one interface.
func Of(t ruleset.Table, e Ends) (Reach, error) {
	r := newRules(t)
	out, err := r.kinds(ruleset.Egress, e)
	if err != nil {
		return Reach{}, fmt.Errorf("what the VM can reach: %w", err)
	}
	in, err := r.kinds(ruleset.Ingress, e)
	if err != nil {
		return Reach{}, fmt.Errorf("what can reach the VM: %w", err)
	}
	for i := range out {
		out[i].answers(&in[i])
	}
	return Reach{out, in}, nil
}

// answers takes what may be an answer out of what is sent: a UDP datagram from a service
// that the other end can open. Whether it is one, only rules that keep flows know.
func (k *Kind) answers(other *Kind) {
	k.sent, other.sent = k.bare, other.bare
	if k.protos[0] != ruleset.UDP {
		return
	}
	k.sent = minus.combine(k.bare, k.family.turned(other.whole))
	other.sent = minus.combine(other.bare, k.family.turned(k.whole))
}

// turned gives the frames from a service to any port of whom it can be opened by.
func (f family) turned(opened space) space {
	every := f.all.space()
	var out space
	for _, s := range opened.at(ordinary) {
		in := space{{every[0].in0().from, every[0].in0().to, s.in}}
		out = append(out, span{s.from, s.to, &in})
	}
	return out
}

func (s span) in0() span { return (*s.in)[0] }

// ordinary is a port that clients open flows from (RFC 6056, 3.2).
var ordinary = point{lo: 40000}

func (r *rules) kinds(hook ruleset.HookType, e Ends) ([]Kind, error) {
	var out []Kind
	six := family6
	six.own = binary.BigEndian.Uint64([]byte{e.VM[0] ^ 2, e.VM[1], e.VM[2], 0xff, 0xfe, e.VM[3], e.VM[4], e.VM[5]})
	for _, f := range []family{family4, six} {
		resolved, err := r.resolved(f, hook, e)
		if err != nil {
			return nil, err
		}
		for _, protos := range r.protocols(f) {
			k := Kind{hook: hook, family: f, protos: protos}
			if err := r.judgeKind(&k, e, resolved); err != nil {
				return nil, err
			}
			out = append(out, k)
		}
	}
	return out, nil
}

// judgeKind finds out what passes of one kind.
func (r *rules) judgeKind(k *Kind, e Ends, resolved space) error {
	f := k.family
	for _, own := range e.own(f) {
		for _, far := range e.ends(f, k.hook) {
			requests, err := r.pass(f.datagram(k.hook, k.protos[0], own, e.VM, far.mac, false), f, state{frames: far.peers})
			if err != nil {
				return err
			}
			for _, s := range requests {
				k.bare = or.combine(k.bare, s.frames)
				s.frames = and.combine(s.frames, far.usual)
				if far.link {
					s.frames = and.combine(s.frames, resolved)
				}
				if !far.group && len(s.frames) > 0 {
					answers, err := r.pass(f.datagram(other(k.hook), k.protos[0], own, e.VM, far.mac, true), f, s)
					if err != nil {
						return err
					}
					s.frames = nil
					for _, a := range answers {
						s.frames = or.combine(s.frames, a.frames)
					}
				}
				k.whole = or.combine(k.whole, s.frames)
			}
		}
	}
	return nil
}

// datagram is the first frame of a flow, or its answer; the hook says which way it goes.
func (f family) datagram(hook ruleset.HookType, proto byte, own netip.Addr, vm net.HardwareAddr, far value, answer bool) *template {
	d := draft{hook: hook, proto: proto, hops: 64, from: mac(vm), to: far, source: known(own.AsSlice()), target: f.openValue(peer), body: f.transport(proto, answer)}
	if hook == ruleset.Ingress {
		d.from, d.to, d.source, d.target = d.to, d.from, d.target, d.source
	}
	return f.template(d)
}

func other(hook ruleset.HookType) ruleset.HookType {
	if hook == ruleset.Egress {
		return ruleset.Ingress
	}
	return ruleset.Egress
}

// An end is a MAC address at the far end, and the peers that frames with it are judged for:
// all, and those that have it as hosts usually send.
type end struct {
	mac          value
	peers, usual space
	link         bool // which are found by ARP or neighbour discovery
	group        bool // more than one host
}

func (e Ends) own(f family) []netip.Addr {
	var out []netip.Addr
	for _, a := range e.Own {
		if len(a.AsSlice()) == f.bytes {
			out = append(out, a)
		}
	}
	return out
}

// ends gives the ends of a family's peers.
func (e Ends) ends(f family, hook ruleset.HookType) []end {
	groups := f.addresses(netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("ff00::/8"))
	all := f.addresses(netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 32))
	for _, a := range e.Broadcast {
		all = or.combine(all, f.addresses(netip.PrefixFrom(a, a.BitLen())))
	}
	hosts := minus.combine(minus.combine(f.all.space(), groups), all)
	link := f.addresses(e.OnLink...)
	if f.bytes == 16 {
		link = or.combine(link, f.addresses(netip.MustParsePrefix("fe80::/10")))
	}
	var gateways space
	for _, a := range e.Gateways {
		gateways = or.combine(gateways, f.addresses(netip.PrefixFrom(a, a.BitLen())))
	}
	beyond := or.combine(minus.combine(hosts, link), gateways)
	out := []end{
		{mac: mac(e.Router), peers: hosts, usual: beyond},
		{mac: mac(e.Host), peers: hosts, usual: minus.combine(and.combine(hosts, link), gateways), link: true},
	}
	if hook == ruleset.Ingress {
		return out
	}
	to := text([]byte{0x33, 0x33}).join(f.openValue(peer).part(f.bytes-4, f.bytes)) // RFC 2464, 7
	if f.bytes == 4 {
		to = text([]byte{1, 0, 0x5e}).join(f.openValue(peer).part(1, 4)) // RFC 1112, 6.4
		to.tags[3] = unknown
	}
	out = append(out, end{mac: to, peers: groups, usual: groups, group: true})
	if len(all) > 0 {
		out = append(out, end{mac: known(full(6)), peers: all, usual: all, group: true})
	}
	return out
}

// addresses gives the frames whose peer is in one of some prefixes of the family.
func (f family) addresses(prefixes ...netip.Prefix) space {
	var all []space
	for _, p := range prefixes {
		if p.Addr().BitLen() == 8*f.bytes {
			from := number(p.Masked().Addr().AsSlice())
			all = append(all, f.within(peer, from, from.with(ones(8*f.bytes-p.Bits()))).frames)
		}
	}
	return union(all)
}

// resolved gives the peers that the VM finds on the link, or, towards it, that find the VM.
func (r *rules) resolved(f family, hook ruleset.HookType, e Ends) (space, error) {
	var out space
	for _, own := range e.own(f) {
		question, reply := e.asking(f, hook, own)
		asked, err := r.pass(question, f, state{frames: f.all.space()})
		if err != nil {
			return nil, err
		}
		for _, s := range asked {
			found, err := r.pass(reply, f, s)
			if err != nil {
				return nil, err
			}
			for _, s := range found {
				out = or.combine(out, s.frames)
			}
		}
	}
	return out, nil
}

// asking is how the VM asks for a peer's MAC address and is told, or, towards it, a peer.
func (e Ends) asking(f family, hook ruleset.HookType, own netip.Addr) (question, reply *template) {
	asks, has, from, about := e.VM, e.Host, known(own.AsSlice()), f.openValue(peer)
	if hook == ruleset.Ingress {
		asks, has, from, about = has, asks, about, from
	}
	return f.question(hook, asks, from, about), f.reply(other(hook), has, asks, about, from)
}
