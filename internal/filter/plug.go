package filter

import (
	"bytes"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"macvtap-filter/internal/ruleset"
)

// A Plug is a NIC that is about to be plugged into a running VM. Its device has no name yet.
type Plug struct {
	MAC   net.HardwareAddr
	Owner Owner
	Since time.Time // in whole seconds
}

// comment names the NIC's VM, and since when.
func (p Plug) comment() string {
	return ruleset.Comment(sinceWord + strconv.FormatInt(p.Since.Unix(), 10) + " " + p.Owner.Comment())
}

const sinceWord = "since="

func parsePlug(mac net.HardwareAddr, comment string) Plug {
	since, owner, _ := strings.Cut(strings.TrimPrefix(comment, sinceWord), " ")
	seconds, _ := strconv.ParseInt(since, 10, 64) // 0, long ago, for what nobody wrote
	return Plug{MAC: mac, Owner: ParseOwner(owner), Since: time.Unix(seconds, 0)}
}

// Plugs gives the table that keeps NICs closed which are about to be plugged, by the MAC
// address that each will have: from the first frame on that is from it or to it alone. It stands
// until rules of their own do, so what is allowed waits, too.
func Plugs(prefixes []string, all []Plug) ruleset.Table {
	t := ruleset.Table{Name: ruleset.PlugTable, Comment: plugsComment + strings.Join(prefixes, " ")}
	for _, v := range []view{fromVM, toVM} {
		counter := v.prefix + "-plugs"
		c := ruleset.Chain{
			Name:  v.prefix,
			Hook:  &ruleset.Hook{Type: v.hook, Prefixes: slices.Clone(prefixes), Priority: guardPriority},
			Rules: []ruleset.Rule{{Matches: []ruleset.Match{ruleset.Kind(v.deviceKind(), ruleset.NotEqual, "macvtap")}, Verdict: ruleset.Accept, Comment: "not a VM's"}},
		}
		for _, p := range all {
			match := ruleset.Compare{Field: v.ownMAC, Op: ruleset.Equal, Value: p.MAC}
			c.Rules = append(c.Rules, ruleset.Rule{Matches: []ruleset.Match{match}, Counter: counter, Verdict: ruleset.Drop, Comment: p.comment()})
		}
		c.Rules = append(c.Rules, ruleset.Rule{Verdict: ruleset.Accept, Comment: "any other NIC"})
		t.Counters = append(t.Counters, counter)
		t.Chains = append(t.Chains, c)
	}
	return t
}

// plugsComment begins the table's comment, and the prefixes follow it.
const plugsComment = "closes NICs about to be plugged: "

// ParsePlugs reads them from the table, whose devices' names may be spelled out in several
// chains, and the prefixes of these from its comment.
func ParsePlugs(t ruleset.Table) (prefixes []string, all []Plug) {
	written, _, _ := strings.Cut(strings.TrimPrefix(t.Comment, plugsComment), ",")
	for _, c := range t.Chains {
		if c.Hook == nil || c.Hook.Type != fromVM.hook {
			continue
		}
		for _, r := range c.Rules {
			m, ok := soleCompare(r)
			known := slices.ContainsFunc(all, func(p Plug) bool { return bytes.Equal(p.MAC, m.Value) })
			if ok && !known && m.Field == fromVM.ownMAC && r.Verdict == ruleset.Drop {
				all = append(all, parsePlug(m.Value, r.Comment))
			}
		}
	}
	return strings.Fields(written), all
}

func soleCompare(r ruleset.Rule) (m ruleset.Compare, ok bool) {
	if len(r.Matches) == 1 {
		m, ok = r.Matches[0].(ruleset.Compare)
	}
	return m, ok
}

// MACs gives the MAC addresses of the VM's that rules are for.
func MACs(t ruleset.Table) []net.HardwareAddr {
	var out []net.HardwareAddr
	for _, s := range t.Sets {
		if s.Name != ownMACSet {
			continue
		}
		for _, e := range s.Elements {
			out = append(out, e.From[1])
		}
	}
	return out
}
