//go:build e2e

package e2e

import (
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
)

const dnsPort = 53

// The one name that the name server knows, and its addresses.
const (
	knownName = "internet.example."
	knownIPv4 = "192.0.2.1"
	knownIPv6 = "2001:db8:ffff::1"
)

// answerDNS is the name server: it answers questions, and sends what is none back as the other hosts do.
func answerDNS(query []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return query
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
	switch {
	case q.Name.String() != knownName:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		body := &dnsmessage.AResource{A: netip.MustParseAddr(knownIPv4).As4()}
		m.Answers = []dnsmessage.Resource{{Header: header, Body: body}}
	case q.Type == dnsmessage.TypeAAAA:
		body := &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(knownIPv6).As16()}
		m.Answers = []dnsmessage.Resource{{Header: header, Body: body}}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// expectNames fails unless a guest learns addresses of the name server, by each of its addresses.
func (s *site) expectNames(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	for _, p := range s.peers {
		if p.host.Name != "dns" {
			continue
		}
		var got []netip.Addr
		question := guestrpc.Question{NIC: nic.Name, Server: netip.AddrPortFrom(p.addr, p.port), Name: knownName, Wait: answerTime}
		if err := vm.Call(t.Context(), "Resolve", question, &got); err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		want := map[netip.Addr]bool{netip.MustParseAddr(knownIPv4): true, netip.MustParseAddr(knownIPv6): true}
		for _, a := range got {
			delete(want, a)
		}
		if len(want) > 0 {
			t.Errorf("%s says that %s is %v", p, knownName, got)
		}
	}
}
