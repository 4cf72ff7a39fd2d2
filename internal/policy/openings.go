package policy

import (
	"fmt"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
)

// Openings are what may be opened in one direction. The zero value stands for anything.
type Openings struct {
	Listed bool // only what List says
	List   []Opening
}

// An Opening is an entry of inbound or outbound, with the peers that it stands for.
type Opening struct {
	config.Opening
	Everybody bool             // whoever is not denied
	Peers     []netipx.IPRange // else
}

// Tracks reports whether rules have to know which flows stand.
func (p Policy) Tracks() bool {
	return p.Inbound.Listed || p.Outbound.Listed || p.Max.NewFlows > 0 || p.Max.InboundFlows > 0
}

// openings gives what a policy's inbound and outbound stand for, and warns of entries that open
// nothing: they stand for nobody, or for peers that deny holds and allow does not.
func openings(p config.Policy, denied *netipx.IPSet, allow []peers, f facts.Facts) (in, out Openings, warnings []string) {
	closed := func(ranges []netipx.IPRange) bool {
		var b netipx.IPSetBuilder
		for _, r := range ranges {
			b.AddRange(r)
		}
		b.RemoveSet(denied)
		for _, a := range allow {
			for _, r := range ranges {
				if r.Overlaps(a.IPRange) {
					return false
				}
			}
		}
		left, err := b.IPSet()
		return err == nil && len(left.Ranges()) == 0
	}
	resolve := func(key string, all config.Openings) Openings {
		o := Openings{Listed: all.Listed}
		for _, entry := range all.List {
			opening := Opening{Opening: entry, Everybody: entry.Peers == nil}
			for _, e := range entry.Peers {
				opening.Peers = append(opening.Peers, Expand(e, f)...)
				if len(Expand(e, f)) == 0 {
					warnings = append(warnings, fmt.Sprintf("policy %q: %s %q stands for nobody and opens nothing: %s", p.Name, key, entry, remedy(e.Word, f.Parent)))
				}
			}
			if len(opening.Peers) > 0 && closed(opening.Peers) {
				also := ""
				if key == "inbound" {
					also = "; what denied peers may open, serve says"
				}
				warnings = append(warnings, fmt.Sprintf("policy %q: %s %q opens nothing: deny holds these peers, and allow does not%s", p.Name, key, entry, also))
			}
			o.List = append(o.List, opening)
		}
		return o
	}
	return resolve("inbound", p.Inbound), resolve("outbound", p.Outbound), warnings
}
