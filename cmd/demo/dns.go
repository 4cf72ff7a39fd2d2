package main

import (
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// internetName is the name that the demonstration looks up.
const internetName = "internet.example"

// queryDNS gives the question for internetName's IPv4 address.
func queryDNS(id uint16) gopacket.SerializableLayer {
	return &layers.DNS{ID: id, RD: true, Questions: []layers.DNSQuestion{
		{Name: []byte(internetName), Type: layers.DNSTypeA, Class: layers.DNSClassIN},
	}}
}

// answerDNS is the DNS server: it knows one address, whatever the question.
func answerDNS(query []byte) []byte {
	dns := new(layers.DNS)
	if dns.DecodeFromBytes(query, gopacket.NilDecodeFeedback) != nil || dns.QR || len(dns.Questions) != 1 {
		return nil
	}
	answer, err := serialize(&layers.DNS{
		ID: dns.ID, QR: true, RD: dns.RD, RA: true, Questions: dns.Questions,
		Answers: []layers.DNSResourceRecord{{
			Name: dns.Questions[0].Name, Type: layers.DNSTypeA, Class: layers.DNSClassIN,
			TTL: 60, IP: internet4.AsSlice(),
		}},
	})
	if err != nil {
		return nil
	}
	return answer
}

// isAnswerDNS reports whether a datagram answers queryDNS.
func isAnswerDNS(datagram []byte, id uint16) bool {
	dns := new(layers.DNS)
	if dns.DecodeFromBytes(datagram, gopacket.NilDecodeFeedback) != nil {
		return false
	}
	return dns.QR && dns.ID == id && len(dns.Answers) == 1 && addrOf(dns.Answers[0].IP) == internet4
}
