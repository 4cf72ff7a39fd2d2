package config

import (
	"fmt"
	"slices"
	"strings"

	"macvtap-filter/internal/near"
)

// Openings are what may be opened in one direction: by peers on the VM, or by the VM. The
// zero value stands for anything.
type Openings struct {
	Listed bool // only what Entries say
	List   []Opening
}

// An Opening is an entry of inbound or outbound: services, of some peers or of all of them.
type Opening struct {
	Peers    []Entry // none for all; their services count for nothing
	Any      bool    // whatever protocol
	Ping     bool    // ICMP echo
	Services []Service
	text     string
}

// String gives the entry as it is written, with one blank between its words.
func (o Opening) String() string { return o.text }

// The words of inbound and outbound, beside services.
const (
	anyService  = "any"
	pingService = "icmp"
)

// opening appends an entry such as "tcp/443", "icmp", "any", "203.0.113.0/24 tcp/22" or
// "@admins tcp/22".
func (g groups) opening(out []Opening, text string) ([]Opening, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return out, fmt.Errorf("%q: want services, as in \"tcp/443\", \"icmp\" or \"any\", and before them the peers, if not all", text)
	}
	o := Opening{text: strings.Join(fields, " ")}
	if !isOpening(fields[0]) {
		peers, err := g.entries(nil, fields[0])
		if err != nil {
			return out, fmt.Errorf("%w; nor is it a service: of these, there are tcp/PORT, udp/PORT, sctp/PORT, %q and %q%s", err, pingService, anyService, meant(near.Name(fields[0], []string{anyService, pingService})))
		}
		o.Peers, fields = peers, fields[1:]
		o.Any = len(fields) == 0
	}
	for _, f := range fields {
		switch f {
		case anyService:
			o.Any = true
		case pingService:
			o.Ping = true
		default:
			service, err := parseService(f)
			if err != nil {
				return out, fmt.Errorf("%w; or %q, or %q", err, pingService, anyService)
			}
			o.Services = append(o.Services, service)
		}
	}
	return append(out, o), nil
}

// isOpening reports whether a field of an entry says a service, rather than whose. No peer has letters
// before the '/'.
func isOpening(field string) bool {
	proto, _, isService := strings.Cut(field, "/")
	return field == anyService || field == pingService || isService && wordlike(proto)
}

func checkOpenings(check checker, at, key string, texts *[]string, base Openings, g groups) Openings {
	if texts == nil {
		return base
	}
	from := base.List
	if !base.Listed {
		from = []Opening{{Any: true, text: anyService}}
	}
	all := list(check, at, key, texts, from, g.opening)
	if slices.ContainsFunc(all, func(o Opening) bool { return o.Any && o.Peers == nil }) {
		return Openings{} // whatever else is listed with it
	}
	return Openings{Listed: true, List: all}
}

// Rates bound what one NIC sends, and what others open on it, each in a second; 0 for no bound.
type Rates struct {
	Packets      int // frames of whatever kind
	NewFlows     int // TCP connections, and what UDP and ICMP echo have in their place
	InboundFlows int // such that peers open
	Broadcasts   int // frames to many: multicast and broadcast
}

// maxRate is more than any NIC sends.
const maxRate = 100_000_000

func checkRate(check checker, at, key string, written *int, base int) int {
	if written == nil {
		return base
	}
	if *written < 0 || *written > maxRate {
		check.add(at+"."+key, "%s = %d: want how many a second, at most %d, or 0 for no bound", key, *written, maxRate)
	}
	return *written
}
