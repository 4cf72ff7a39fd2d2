package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go4.org/netipx"

	"macvtap-filter/internal/near"
)

// A Word stands for addresses that are read off the host when the rules are
// made.
type Word string

// The words of deny and allow entries.
const (
	Gateway   Word = "gateway"
	Router    Word = "router" // the gateways as routers, in allow alone
	DNS       Word = "dns"
	Broadcast Word = "broadcast"
	OnLink    Word = "onlink"
	Private   Word = "private"
)

var words = []string{string(Gateway), string(Router), string(DNS), string(Broadcast), string(OnLink), string(Private)}

// PrivatePrefixes are what the word Private stands for, on any host: the addresses of
// private networks (RFC 1918, RFC 4193), of a provider's NAT (RFC 6598), and link-local
// ones of IPv6 (RFC 4291).
var PrivatePrefixes = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

// An Entry of a deny or allow list: addresses or a word, all of their traffic or
// only some services.
type Entry struct {
	Word     Word           // "" when Range says the addresses
	Range    netipx.IPRange // one address, a prefix or a range
	Services []Service      // empty: everything
	Group    string         // the entry as it is written, where a group's member makes this one; else ""
	text     string
}

// String gives the entry as it is written, with one blank between its words, and which
// member of the group it is: "@admins tcp/22: 192.168.2.10".
func (e Entry) String() string {
	if e.Group != "" {
		return e.Group + ": " + e.text
	}
	return e.text
}

// A Service is a protocol and the ports From to To at the peer.
type Service struct {
	Proto    byte // IANA's protocol number
	From, To uint16
	name     string // of the port, where that is what is written
}

// String gives the service as it is written in an entry: "tcp/8000-8099".
func (s Service) String() string {
	if s.name != "" {
		return s.name
	}
	for name, proto := range protos {
		if proto == s.Proto && s.From == s.To {
			return fmt.Sprintf("%s/%d", name, s.From)
		} else if proto == s.Proto {
			return fmt.Sprintf("%s/%d-%d", name, s.From, s.To)
		}
	}
	return fmt.Sprintf("protocol %d/%d-%d", s.Proto, s.From, s.To)
}

var protos = map[string]byte{"tcp": 6, "udp": 17, "sctp": 132}

// ParseEntry reads an entry such as "192.168.2.1", "10.0.0.0/8",
// "192.168.2.10-192.168.2.19", "gateway" or "192.168.2.53 udp/53 tcp/53".
func ParseEntry(s string) (Entry, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return Entry{}, fmt.Errorf("%q: want an address, a prefix, a range or a word", s)
	}
	e := Entry{text: strings.Join(fields, " ")}
	if slices.Contains(words, fields[0]) {
		e.Word = Word(fields[0])
	} else if r, err := parseRange(fields[0]); err != nil {
		return Entry{}, err
	} else {
		e.Range = r
	}
	var err error
	if e.Services, err = parseServices(fields[1:]); err != nil {
		return Entry{}, fmt.Errorf("%q: %w", s, err)
	}
	return e, nil
}

func parseServices(all []string) ([]Service, error) {
	var out []Service
	for _, text := range all {
		service, err := parseService(text)
		if err != nil {
			return nil, err
		}
		out = append(out, service)
	}
	return out, nil
}

// wordlike reports whether an entry is letters and hyphens alone, as no range is.
func wordlike(s string) bool {
	return strings.ContainsFunc(s, unicode.IsLetter) && !strings.ContainsAny(s, ".:")
}

// likely gives the word that was most likely meant, "" for none: a word misspelt, or with
// something before or behind it. A host's full name is none.
func likely(s string) string {
	if s == inherit {
		return "" // where it is no word
	}
	word := near.Name(s, append(slices.Clip(words), inherit))
	if word != "" || strings.Contains(s, ".") {
		return word
	}
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) }) {
		if word == "" {
			word = near.Name(part, words)
		}
	}
	return word
}

func parseRange(s string) (netipx.IPRange, error) {
	if strings.Contains(s, "/") {
		return parsePrefix(s)
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	if _, err := netip.ParseAddr(s); err != nil && !isRange || wordlike(s) {
		return netipx.IPRange{}, fmt.Errorf("%q is no address, and no word (%s)%s", s, strings.Join(words, ", "), meant(likely(s)))
	}
	from, err := parseAddr(first)
	if err != nil {
		return netipx.IPRange{}, fmt.Errorf("%q: %w", s, err)
	}
	to, err := parseAddr(last)
	if err != nil {
		return netipx.IPRange{}, fmt.Errorf("%q: %w", s, err)
	}
	if from.Is4() != to.Is4() {
		return netipx.IPRange{}, fmt.Errorf("%q: one end is IPv4, the other IPv6", s)
	}
	if to.Less(from) {
		return netipx.IPRange{}, fmt.Errorf("%q: the range ends before it begins", s)
	}
	return netipx.IPRangeFrom(from, to), nil
}

func parsePrefix(s string) (netipx.IPRange, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netipx.IPRange{}, fmt.Errorf("%q is no prefix such as 192.168.0.0/16 or fc00::/7", s)
	}
	if p.Addr().Is4In6() {
		return netipx.IPRange{}, fmt.Errorf("%q: write IPv4 addresses as such", s)
	}
	if p != p.Masked() {
		return netipx.IPRange{}, fmt.Errorf("%q has host bits: write %s, or %s for the one address", s, p.Masked(), p.Addr())
	}
	return netipx.RangeOfPrefix(p), nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, fmt.Errorf("%q is no address", s)
	case a.Zone() != "":
		return a, fmt.Errorf("%q: leave out the zone", s)
	case a.Is4In6():
		return a, fmt.Errorf("%q: write IPv4 addresses as such", s)
	}
	return a, nil
}

// parseService reads a service, as "tcp/443", "udp/5000-5010" or "tcp/https".
func parseService(s string) (Service, error) {
	name, ports, ok := strings.Cut(s, "/")
	proto, known := protos[name]
	if !ok || !known {
		likely := near.Name(strings.ToLower(name), slices.Sorted(maps.Keys(protos)))
		if likely != "" {
			likely += "/" + ports
		}
		return Service{}, fmt.Errorf("%q is no service: want tcp, udp or sctp, '/' and a port or a range of ports, as in tcp/443 or udp/5000-5010%s", s, meant(likely))
	}
	if strings.ContainsFunc(ports, unicode.IsLetter) {
		return namedService(proto, s)
	}
	first, last, isRange := strings.Cut(ports, "-")
	if !isRange {
		last = first
	}
	from, errFrom := strconv.ParseUint(first, 10, 16)
	to, errTo := strconv.ParseUint(last, 10, 16)
	if errFrom != nil || errTo != nil || from == 0 || to < from {
		return Service{}, fmt.Errorf("%q: want a port from 1 to 65535, or a range of them", s)
	}
	return Service{Proto: proto, From: uint16(from), To: uint16(to)}, nil
}
