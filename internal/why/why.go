// Package why says of a verdict which entry or key of the configuration it is the work of, on
// which line that stands, and what would make it another. It is for people who ask: it looks
// for places in the files, which no hook call waits for.
package why

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// A Verdict is what became of a frame, and by which rule.
type Verdict struct {
	Out    bool // the frame is from the VM
	Frame  []byte
	Passes bool
	Rule   ruleset.Rule // as it stands in the interface's own table (see filter.Table)
}

// Deciding gives the rule that decided, or, of one that lets whatever flow be opened, the one that
// said that this may, unless anything may.
func Deciding(d judge.Decision) ruleset.Rule {
	if d.Rule.Comment == filter.NewFlow && !strings.HasSuffix(d.Came.Comment, ": any") {
		return d.Came
	}
	return d.Rule
}

// An Asker asks about the rules of one interface.
type Asker struct {
	config   *config.Config
	policy   config.Policy // the interface's
	facts    facts.Facts
	metadata []string // what the VM's own definition allows
	written  config.Written
}

// New asks about an interface with a policy; metadata is what the VM's own definition adds to
// what it allows.
func New(c *config.Config, p config.Policy, f facts.Facts, metadata []string) Asker {
	return Asker{c, p, f, metadata, c.Written()}
}

// Reason names what decided, with its file and line, "" where no configuration does: what
// every VM may, or what no VM may.
func (a Asker) Reason(v Verdict) string {
	if v.Passes {
		return a.passed(v)
	}
	return a.dropped(v)
}

// passed goes by the words of the rule, which say what opened it (see internal/filter).
func (a Asker) passed(v Verdict) string {
	words := strings.TrimPrefix(v.Rule.Comment, "fast path: ")
	for _, key := range []string{"inbound", "outbound", "serve"} {
		if _, entry, ok := strings.Cut(words, key+": "); ok {
			return key + ": " + a.entry(key, entry)
		}
	}
	for _, key := range []string{"neighbours", "routers", "multicast", "dhcp"} {
		if strings.Contains(words, key+": ") {
			return a.key(key)
		}
	}
	switch {
	case strings.HasPrefix(words, "ethertypes: "):
		return a.key("ethertypes")
	case strings.Contains(words, "allow"):
		return a.allowed(v, words)
	case strings.Contains(words, "not in deny"), words == filter.NewFlow && len(a.denying(v)) == 0:
		return fmt.Sprintf("no entry of deny holds %v (%s)", v.Peer(), a.where("deny"))
	case words == filter.NewFlow: // of which the kernel's trace does not say more
		return a.allowed(v, words)
	}
	return ""
}

// denying gives the entries of deny that hold the peer.
func (a Asker) denying(v Verdict) []config.Line {
	return a.holding(a.written.List(a.policy.Name, "deny"), v.Peer(), v)
}

// allowed names the entries of allow that hold the peer, or else those that the rule names.
func (a Asker) allowed(v Verdict, words string) string {
	peer, lines := v.Peer(), a.allow()
	found := a.holding(lines, peer, v)
	if len(found) == 0 {
		found = slices.DeleteFunc(lines, func(l config.Line) bool { return !strings.Contains(words, l.Text) })
	}
	if len(found) == 0 {
		return a.key("allow")
	}
	return "allow: " + list(found)
}

// allow gives the entries of allow, those of the VM's definition included.
func (a Asker) allow() []config.Line {
	lines := a.written.List(a.policy.Name, "allow")
	for _, text := range a.metadata {
		lines = append(lines, config.Line{Text: text, Where: "the VM's <metadata>"})
	}
	return lines
}

// holding gives those of some entries that hold an address, and, where they are narrowed to
// services and the frame has ports, have the frame's. A group's member is told, too.
func (a Asker) holding(lines []config.Line, peer netip.Addr, v Verdict) []config.Line {
	var out []config.Line
	for _, l := range lines {
		entries, err := a.config.Entries(l.Text)
		if err != nil {
			continue // found right before
		}
		for _, e := range entries {
			if !a.holds(e, peer) || v.Passes && !opens(e, v) {
				continue
			}
			if e.Group != "" {
				l = a.member(l, e)
			}
			out = append(out, l)
			break
		}
	}
	return out
}

func (a Asker) holds(e config.Entry, peer netip.Addr) bool {
	for _, r := range policy.Expand(e, a.facts) {
		if r.Contains(peer) {
			return true
		}
	}
	return false
}

// opens reports whether an entry opens the service that a frame is of, as far as the frame
// has ports.
func opens(e config.Entry, v Verdict) bool {
	proto, from, to, ok := frame.Ports(v.Frame)
	port := from
	if v.Out {
		port = to
	}
	return !ok || len(e.Services) == 0 || slices.ContainsFunc(e.Services, func(s config.Service) bool {
		return s.Proto == proto && s.From <= port && port <= s.To
	})
}

// member gives an entry that names a group with the member that counts.
func (a Asker) member(l config.Line, e config.Entry) config.Line {
	group := strings.TrimPrefix(strings.Fields(e.Group)[0], "@")
	text := strings.TrimPrefix(e.String(), e.Group+": ")
	for _, m := range a.written.Group(group, text) {
		return config.Line{Text: l.Text, Where: l.Where + ", " + m.Text + " at " + m.Where}
	}
	return l
}

// dropped goes by the reason under which the drop is counted (see internal/filter).
func (a Asker) dropped(v Verdict) string {
	_, reason, _ := strings.Cut(v.Rule.Counter, "-vm-")
	switch reason {
	case "denied-ipv4", "denied-ipv6", "arp-target", "arp-sender", "nd":
		return a.denied(v)
	case "inbound":
		return a.notIn(reason, "an answer to what the VM opened passes")
	case "outbound":
		return a.notIn(reason, "an answer to what a peer opened passes")
	case "fragment":
		return "an entry with ports opens no fragment without: in allow, " + a.where("allow") + ", an entry for all of the peer does"
	case "spoofed-ip", "arp-claim", "nd-claim":
		return a.spoofed()
	case "max-new-flows":
		if strings.HasPrefix(v.Rule.Counter, "to-") {
			return a.key("max_inbound_flows")
		}
		return a.key("max_new_flows")
	case "max-packets", "max-broadcasts":
		return a.key(strings.ReplaceAll(reason, "-", "_"))
	}
	for _, k := range switches {
		if slices.Contains(k.reasons, reason) {
			return a.key(k.key) + "; " + k.open + " opens it"
		}
	}
	return ""
}

// switches are keys that open what is dropped for a reason.
var switches = []struct {
	key, open string
	reasons   []string
}{
	{"ethertypes", "an entry of ethertypes", []string{"vlan", "ethertype"}},
	{"ipv6", `ipv6 = "filter"`, []string{"ipv6"}},
	{"spoofing", `spoofing = "pass"`, []string{"spoofed-mac", "other-host"}},
	{"isolate", "isolate = false", []string{"isolated"}},
	{"dhcp", `dhcp = "server"`, []string{"dhcp-server", "dhcpv6-server"}},
	{"tunnels", `tunnels = "pass"`, []string{"tunnel", "source-route"}},
	{"routers", `routers = "pass"`, []string{"redirect", "router-advertisement"}},
	{"multicast", `an entry of allow, or multicast = "pass",`, []string{"multicast", "broadcast"}},
	{"next_hop", `next_hop = "any"`, []string{"next-hop"}},
}

// denied names the entries of deny that hold the peer, and what would open it.
func (a Asker) denied(v Verdict) string {
	peer := v.Peer()
	found := a.denying(v)
	if len(found) == 0 {
		return ""
	}
	proto, from, to, ported := frame.Ports(v.Frame)
	entry := peer.String()
	opener := fmt.Sprintf("%q in allow opens it", entry)
	if ported {
		port := from
		if v.Out {
			port = to
		}
		entry += fmt.Sprintf(" %s", config.Service{Proto: proto, From: port, To: port})
		if opener = fmt.Sprintf("%q in allow opens it", entry); !v.Out {
			opener = fmt.Sprintf("%q in serve, or %q in allow, opens it", config.Service{Proto: proto, From: to, To: to}.String(), peer.String())
		}
	}
	return "deny: " + list(found) + "; " + opener
}

// notIn gives a list that does not open what was to be opened.
func (a Asker) notIn(key, also string) string {
	return fmt.Sprintf("%s; %s", a.key(key), also)
}

// spoofed names what says which addresses are the VM's own.
func (a Asker) spoofed() string {
	if n := a.policy.Section; n > 0 && (len(a.policy.Addresses)+len(a.policy.Prefixes) > 0 || a.policy.DHCP || a.policy.SLAAC) {
		return fmt.Sprintf("addresses (%s); another one there opens it", a.written.VM(n, "addresses"))
	}
	return a.key("learn") + "; an entry in addresses of the VM's [[vm]] section opens it"
}

// key gives a key with its value and place.
func (a Asker) key(key string) string {
	l := a.written.Key(a.policy.Name, key)
	l.Text = cmp.Or(l.Text, key)
	return l.String()
}

func (a Asker) where(key string) string { return a.written.Key(a.policy.Name, key).Where }

// entry gives the place of an entry of a list by how it is written.
func (a Asker) entry(key, text string) string {
	for _, l := range a.written.List(a.policy.Name, key) {
		if strings.Join(strings.Fields(l.Text), " ") == text {
			return l.String()
		}
	}
	return config.Line{Text: text, Where: a.where(key)}.String()
}

// Peer is the address at the other end: of neighbour discovery that looks for or tells of one,
// that.
func (v Verdict) Peer() netip.Addr {
	from, to := frame.Addresses(v.Frame)
	if target := frame.Target(v.Frame); target.IsValid() && v.Out {
		return target
	}
	if v.Out {
		return to
	}
	return from
}

func list(lines []config.Line) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.String())
	}
	return strings.Join(out, ", ")
}
