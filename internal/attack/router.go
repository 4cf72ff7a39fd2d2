package attack

import "net/netip"

// OfRouter lists what a VM and its router can send each other that is not passing on its
// traffic: that router's own services, with the reason under which a policy counts them that
// allows it as a router alone, and, without a reason, what a router needs beside Ordinary.
func OfRouter(s Site) ([]Case, error) {
	l := &list{Site: s}
	for _, f := range []struct {
		name, reason string
		vm, router   netip.Addr
		errors       []byte
		other        byte // neither echo nor error: timestamp, node information
	}{
		{"IPv4", "denied-ipv4", s.VM.IPv4, s.Gateway.IPv4, []byte{3, 11, 12}, 13},
		{"IPv6", "denied-ipv6", s.VM.Link, s.Gateway.Link, []byte{1, 2, 3, 4}, 139},
	} {
		both := func(name, source, reason string, packet func(from, to netip.Addr) []byte) {
			l.fromVM(name+", "+f.name, source, reason, l.out(s.Gateway.MAC, packet(f.vm, f.router)))
			l.toVM(name+", "+f.name, source, reason, l.in(s.Gateway.MAC, packet(f.router, f.vm)))
		}
		for _, service := range []struct {
			name, source string
			port         uint16
		}{{"web page", "RFC 9110", 80}, {"file shares", "MS-SMB2", 445}, {"shell", "RFC 4253", 22}, {"name server over TCP", "RFC 7766", 53}} {
			both("router's "+service.name, service.source, f.reason, func(from, to netip.Addr) []byte {
				if from == f.vm {
					return l.tcp(from, to, 40000, service.port, false)
				}
				return l.tcp(from, to, service.port, 40000, true)
			})
		}
		for _, service := range []struct {
			name, source string
			port         uint16
		}{{"SSDP", "UPnP Device Architecture, 1.3", 1900}, {"NAT-PMP and PCP", "RFC 6887", 5351}, {"SNMP", "RFC 3411", 161}, {"name server", "RFC 1035", 53}} {
			both("router's "+service.name, service.source, f.reason, func(from, to netip.Addr) []byte {
				if from == f.vm {
					return l.udp(from, to, 40000, service.port, "a question")
				}
				return l.udp(from, to, service.port, 40000, "an answer")
			})
		}
		both("a connection that the other opens", "RFC 9293", f.reason, func(from, to netip.Addr) []byte { return l.tcp(from, to, 67, 22, false) })
		both("IPsec with the router", "RFC 4303", f.reason, func(from, to netip.Addr) []byte { return l.ip(from, to, 50, make([]byte, 64)) })
		both("ICMP that asks the other for more", "RFC 792; RFC 4620", f.reason, func(from, to netip.Addr) []byte { return l.icmp(from, to, f.other, make([]byte, 16)) })
		for _, kind := range f.errors {
			both("ICMP error", "RFC 1122, 3.2.2; RFC 4443, 3", "", func(from, to netip.Addr) []byte {
				return l.icmp(from, to, kind, quote(1280, l.udp(to, from, 40000, 9, "quoted")))
			})
		}
	}
	later := fragment(l.udp(s.VM.IPv4, s.Gateway.IPv4, 40000, 80, "sixteen bytes .."), 8, false)
	l.fromVM("later fragment to the router", "RFC 791", "fragment", l.out(s.Gateway.MAC, later))
	return l.cases, l.err
}
