package reach

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go4.org/netipx"

	"macvtap-filter/internal/ruleset"
)

// A Line is peers for which the same holds: what can be opened on them, or by them.
type Line struct {
	Family    string   `json:"family"` // "ipv4" or "ipv6"
	Peers     []string `json:"peers"`  // addresses, and ranges of them
	TCP       []string `json:"tcp"`    // ports, and ranges of them, as the other lists
	UDP       []string `json:"udp"`
	SCTP      []string `json:"sctp"`
	ICMP      bool     `json:"icmp"`      // echo requests
	Protocols []string `json:"protocols"` // others, by number

	ranges  []netipx.IPRange
	what    string
	missing string // what it has not, where that is shorter
}

// Lines says in as few lines as can be what can be opened.
func Lines(kinds []Kind) []Line { return lines(kinds, Kind.opened) }

// Others says what passes beside that: one way alone, or from some ports alone.
func Others(kinds []Kind) []Line { return lines(kinds, Kind.others) }

// opened gives what can be opened, by services and peers.
func (k Kind) opened() space { return k.whole.at(ordinary) }

// others gives what passes from any port, and can not be opened.
func (k Kind) others() space {
	var all []space
	for _, s := range k.sent {
		all = append(all, *s.in)
	}
	return minus.combine(union(all), k.opened())
}

// A label is a range of the ports of some protocols, or the protocols.
type label struct {
	protos   []byte
	from, to point
}

// An edge is where, among the addresses, a label begins to hold or ends.
type edge struct {
	at     point
	label  int
	begins bool
}

func lines(kinds []Kind, of func(Kind) space) []Line {
	out := []Line{}
	for _, f := range []family{family4, family6} {
		var own []Kind
		for _, k := range kinds {
			if k.family.bytes == f.bytes {
				own = append(own, k)
			}
		}
		out = append(out, f.lines(own, of)...)
	}
	return out
}

func (f family) lines(kinds []Kind, of func(Kind) space) []Line {
	labels, edges := f.edges(kinds, of)
	slices.SortStableFunc(edges, func(a, b edge) int { return compare(a.at, b.at) })
	groups := map[string]int{}
	var out []Line
	held := make([]byte, len(labels))
	for i := 0; i < len(edges); {
		at := edges[i].at
		for ; i < len(edges) && edges[i].at == at; i++ {
			if edges[i].begins {
				held[edges[i].label]++
			} else {
				held[edges[i].label]--
			}
		}
		if !slices.ContainsFunc(held, func(n byte) bool { return n > 0 }) {
			continue
		}
		to := ones(8 * f.bytes)
		if i < len(edges) && edges[i].at != (point{}) {
			to = edges[i].at.prev()
		}
		n, there := groups[string(held)]
		if !there {
			n = len(out)
			groups[string(held)] = n
			out = append(out, f.line(labels, held))
		}
		out[n].ranges = append(out[n].ranges, netipx.IPRangeFrom(f.address(at), f.address(to)))
	}
	for i := range out {
		for _, r := range joined(out[i].ranges) {
			out[i].Peers = append(out[i].Peers, rangeText(r))
		}
	}
	// What most is open on comes first.
	slices.SortStableFunc(out, func(a, b Line) int { return cmp.Compare(len(a.missing), len(b.missing)) })
	return out
}

func compare(a, b point) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
}

// edges cuts ports where any peer's end, and gives where each range of them begins to be open.
func (f family) edges(kinds []Kind, of func(Kind) space) (labels []label, edges []edge) {
	for _, k := range kinds {
		opened := of(k)
		if !hasPorts(k.protos[0]) && len(opened) > 0 {
			opened = opened[:1] // nothing was asked of ports
		}
		for _, s := range opened {
			n := len(labels)
			labels = append(labels, label{k.protos, s.from, s.to})
			for _, a := range *s.in {
				edges = append(edges, edge{a.from, n, true})
				if end := a.to.next(); a.to != ones(8*f.bytes) {
					edges = append(edges, edge{end, n, false})
				}
			}
		}
	}
	return labels, edges
}

func (f family) address(p point) netip.Addr {
	a, _ := netip.AddrFromSlice(f.octets(peer, p))
	return a
}

// joined joins ranges that touch.
func joined(all []netipx.IPRange) []netipx.IPRange {
	var out []netipx.IPRange
	for _, r := range all {
		if n := len(out) - 1; n >= 0 && out[n].To().Next() == r.From() {
			out[n] = netipx.IPRangeFrom(out[n].From(), r.To())
			continue
		}
		out = append(out, r)
	}
	return out
}

func rangeText(r netipx.IPRange) string {
	if r.From() == r.To() {
		return r.From().String()
	}
	return r.String()
}

// line says what labels that hold open.
func (f family) line(labels []label, held []byte) Line {
	l := Line{Family: "ipv4", TCP: []string{}, UDP: []string{}, SCTP: []string{}, Protocols: []string{}}
	if f.bytes == 16 {
		l.Family = "ipv6"
	}
	var protocols [256]bool
	ports := map[byte]*[1 << 16]bool{ruleset.TCP: {}, ruleset.UDP: {}, ruleset.SCTP: {}}
	for i, one := range labels {
		if held[i] == 0 {
			continue
		}
		for _, p := range one.protos {
			if !hasPorts(p) {
				protocols[p] = true
				continue
			}
			for n := one.from.lo; n <= one.to.lo; n++ {
				ports[p][n] = true
			}
		}
	}
	var has, not []string
	for _, p := range []struct {
		name  string
		proto byte
		list  *[]string
	}{{"tcp", ruleset.TCP, &l.TCP}, {"udp", ruleset.UDP, &l.UDP}, {"sctp", ruleset.SCTP, &l.SCTP}} {
		open, closed := runs(ports[p.proto][:], nil)
		*p.list = append(*p.list, open...)
		has, not = append(has, named(p.name, open)...), append(not, named(p.name, closed)...)
	}
	if l.ICMP = protocols[f.icmp()]; l.ICMP {
		has = append(has, "icmp")
	} else {
		not = append(not, "icmp")
	}
	open, closed := runs(protocols[:], func(n int) bool { return f.isOther(byte(n)) })
	l.Protocols = append(l.Protocols, open...)
	for _, list := range []struct {
		to    *[]string
		which []string
	}{{&has, open}, {&not, closed}} {
		if len(list.which) > 0 {
			*list.to = append(*list.to, "protocols "+strings.Join(list.which, " "))
		}
	}
	l.what, l.missing = strings.Join(has, ", "), strings.Join(not, ", ")
	return l
}

// named gives ports as services; all of them as the protocol.
func named(proto string, ports []string) []string {
	if len(ports) == 1 && ports[0] == "0-65535" {
		return []string{proto}
	}
	var out []string
	for _, p := range ports {
		out = append(out, proto+"/"+p)
	}
	return out
}

// runs gives the ranges of numbers for which something is so, and for which it is not, of
// those that count. A range may go over others.
func runs(is []bool, counts func(int) bool) (open, closed []string) {
	first, last := -1, -1
	end := func() {
		if first < 0 {
			return
		}
		text := strconv.Itoa(first)
		if last > first {
			text = fmt.Sprintf("%d-%d", first, last)
		}
		if is[first] {
			open = append(open, text)
		} else {
			closed = append(closed, text)
		}
	}
	for n := range is {
		if counts != nil && !counts(n) {
			continue
		}
		if first >= 0 && is[n] != is[first] {
			end()
			first = -1
		}
		if last = n; first < 0 {
			first = n
		}
	}
	end()
	return open, closed
}

// String gives the line for people.
func (l Line) String() string {
	what := l.what
	switch but := "anything but " + l.missing; {
	case l.missing == "":
		what = "anything"
	case len(but) < len(what):
		what = but
	}
	return l.peers() + ": " + what
}

// peers gives the peers as prefixes, or all but some.
func (l Line) peers() string {
	is := prefixes(l.ranges)
	all := "0.0.0.0/0"
	if l.Family == "ipv6" {
		all = "::/0"
	}
	var b netipx.IPSetBuilder
	b.AddPrefix(netip.MustParsePrefix(all))
	for _, r := range l.ranges {
		b.RemoveRange(r)
	}
	rest, _ := b.IPSet()
	not := prefixes(rest.Ranges())
	if text := all + " but " + strings.Join(not, ", "); len(not) > 0 && len(text) < len(strings.Join(is, ", ")) {
		return text
	}
	return strings.Join(is, ", ")
}

// prefixes writes ranges as prefixes where that is shorter.
func prefixes(ranges []netipx.IPRange) []string {
	var out []string
	for _, r := range joined(ranges) {
		var all []string
		for _, p := range r.Prefixes() {
			if p.IsSingleIP() {
				all = append(all, p.Addr().String())
			} else {
				all = append(all, p.String())
			}
		}
		if text := rangeText(r); len(text) < len(strings.Join(all, ", ")) {
			all = []string{text}
		}
		out = append(out, all...)
	}
	return out
}
