package prove

import (
	"strings"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/ruleset"
)

// answers are what the VM sends to denied peers from services that it serves: of TCP what opens
// nothing (RFC 9293, 3.5), of SCTP neither INIT nor COOKIE ECHO (RFC 9260, 3), of UDP what goes
// to who asked.
func (s Spec) answers(j *Judgement, dst Word) Bit {
	host := j.Or(j.in(dst, nobodys4), j.in(dst, nobodys6)).Not()
	set := "nic-flows-udp-ipv4"
	if len(dst) == 128 {
		set = "nic-flows-udp-ipv6"
	}
	asked := s.held(j, set, join(dst, j.destinationPort(), j.sourcePort()))
	flags := j.Transport(13)
	ack, rst, syn := flags[3], flags[5], flags[6]
	out := False
	for _, service := range s.Policy.Serve {
		var answer Bit
		switch service.Proto {
		case 6:
			answer = j.And(j.HasTransport(14), j.Or(ack, j.And(rst, syn.Not())))
		case 17:
			answer = asked
		default:
			answer = j.And(j.HasTransport(13), j.Among(j.Transport(12), 1, 10).Not())
		}
		out = j.Or(out, j.And(j.ofService([]config.Service{service}, j.sourcePort()), answer))
	}
	return j.And(host, j.reads(2), out)
}

// A quotation is what an ICMP error says of the datagram that it is about.
type quotation struct{ protocol, source, destination, from, to Word }

func (j *Judgement) quoted(ipv4 bool) (q quotation, header Bit) {
	at := func(i, size int) Word { return j.bytes(8+i, size) }
	if ipv4 {
		return quotation{at(9, 1), at(12, 4), at(16, 4), at(20, 2), at(22, 2)}, j.Is(at(0, 1), 0x45)
	}
	return quotation{at(6, 1), at(8, 16), at(24, 16), at(40, 2), at(42, 2)}, j.Is(at(0, 1)[:4], 6)
}

// errors are those of ICMP that pass from whoever is denied: about what the VM may send, from
// its own addresses. Where flows are tracked, they are about these.
func (s Spec) errors(j *Judgement, ipv4 bool) Bit {
	message := j.icmp(58, 1, 2, 3, 4)
	if ipv4 {
		message = j.icmp(1, 3, 11, 12)
	}
	if s.Policy.Inbound.Listed || s.Policy.Outbound.Listed {
		return message
	}
	q, header := j.quoted(ipv4)
	length := 8 + ipv4Header
	if !ipv4 {
		length = 8 + ipv6Header
	}
	of := func(all []config.Service, port Word) Bit {
		out := False
		for _, v := range all {
			out = j.Or(out, j.And(j.Is(q.protocol, uint64(v.Proto)), j.Within(port, Constant(uint64(v.From), 16), Constant(uint64(v.To), 16))))
		}
		return out
	}
	about := j.Or(s.denied(j.Frame, q.destination).Not(), s.allowed(j.Frame, q.destination, whole))
	if !ipv4 {
		about = j.Or(about, s.stands(j, q.destination))
	}
	for _, e := range s.Policy.Allow {
		services := e.Services
		if isRouter(e) {
			services = append([]config.Service{{Proto: 17, From: 67, To: 67}, {Proto: 17, From: 547, To: 547}}, services...)
		}
		about = j.Or(about, j.And(j.HasTransport(length+4), j.in(q.destination, s.peers(e)), of(services, q.to)))
	}
	host := j.Or(j.in(q.destination, nobodys4), j.in(q.destination, nobodys6)).Not()
	about = j.Or(about, j.And(j.HasTransport(length+2), host, of(s.Policy.Serve, q.from)))
	own := True
	if s.knowsOwn(ipv4) {
		own = s.own(j, q.source)
	}
	none := j.HasTransport(length).Not() // whoever gets it knows no datagram by it
	return j.And(message, j.Or(none, j.And(header, own, about)))
}

// flows gives that each new flow that rules note is with the peer of the frame that they note it
// by, and that this one passes, or is the first fragment, to or from whom it may be, of more than a
// share has.
func (s Spec) flows(j *Judgement) []Property {
	broken := False
	for _, ipv4 := range []bool{true, false} {
		_, peer, _ := j.flow(ipv4)
		version, may := "ipv6", s.mayGo6
		switch {
		case ipv4 && j.Hook == ruleset.Egress:
			version, may = "ipv4", s.mayGo4
		case ipv4:
			version, may = "ipv4", s.mayCome4
		case j.Hook == ruleset.Ingress:
			may = s.mayCome6
		}
		first := j.And(j.first(ipv4), may(j, peer))
		for _, set := range j.table.Sets {
			if !strings.HasPrefix(set.Name, "nic-flows-") || !strings.HasSuffix(set.Name, version) {
				continue
			}
			for _, e := range j.events[set.Name] {
				if e.is {
					stood := j.sets.has(j.Circuit, set, e.key)
					fine := j.And(j.Equal(e.key[32:32+len(peer)], peer), j.Or(j.Passes, first))
					broken = j.Or(broken, j.And(e.when, stood.Not(), fine.Not()))
				}
			}
		}
	}
	return []Property{{"flows that rules note are of frames that pass", broken}}
}

// first gives whether a datagram is a fragment that is not a later one.
func (f *Frame) first(ipv4 bool) Bit {
	if ipv4 {
		return f.And(f.Network(6, 2)[2], f.Later.Not())
	}
	return f.And(f.Is(f.Network(6, 1), fragmentHeader), f.Later.Not())
}
