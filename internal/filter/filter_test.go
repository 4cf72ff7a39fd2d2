package filter

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

const uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"

var (
	web = &domain.Domain{Name: "web", UUID: uuid}
	nic = domain.Interface{Number: 1, Target: "macvtap0", Parent: "eth0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}}
)

func mustTable(t *testing.T, d *domain.Domain, i domain.Interface, p policy.Policy) ruleset.Table {
	t.Helper()
	table, err := Table(d, i, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	return table
}

// prefixes gives n prefixes, none within or beside another.
func prefixes(n int) (out []netip.Prefix) {
	for i := range n {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 128, 0}), 17))
	}
	return out
}

func TestTableErrors(t *testing.T) {
	tests := []struct {
		about  string
		domain domain.Domain
		nic    domain.Interface
		want   string
	}{
		{"no UUID", domain.Domain{Name: "web"}, nic, "no <uuid>"},
		{"no MAC address", *web, domain.Interface{Target: "macvtap0"}, "no <mac"},
		{"no device", *web, domain.Interface{}, `nft cannot write the device name ""`},
		{"device with a quote", *web, domain.Interface{Target: `a"b`}, `nft cannot write the device name "a\"b"`},
		{"device that is a glob", *web, domain.Interface{Target: "a*"}, `"a*"`},
		{"device with a long name", *web, domain.Interface{Target: "macvtap123456789"}, `"macvtap123456789"; give the interface a <target dev='…'> of at most 15 letters and digits`},
	}
	for _, test := range tests {
		if _, err := Table(&test.domain, test.nic, policy.Policy{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.about, err, test.want)
		}
	}
}

// Each base chain drops what no rule decides, and stands on the device alone.
func TestBaseChains(t *testing.T) {
	table := mustTable(t, web, nic, policy.Policy{Deny: prefixes(1)})
	var hooks []ruleset.Hook
	for _, c := range table.Chains {
		if c.Hook != nil {
			hooks = append(hooks, *c.Hook)
		}
	}
	want := []ruleset.Hook{{Type: ruleset.Egress, Device: "macvtap0"}, {Type: ruleset.Ingress, Device: "macvtap0"}}
	if diff := cmp.Diff(want, hooks, cmpopts.EquateComparable(ruleset.Verdict{})); diff != "" {
		t.Error(diff)
	}
}

// The rules do not grow with the allow list, and the first rule that lets pass
// looks up nothing that does, nor does one before it: the internet never pays for
// it.
func TestFastPath(t *testing.T) {
	few := policy.Policy{Deny: prefixes(1), OnLink: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}
	many := few
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		many.Hosts = append(many.Hosts, a)
		if i < 1 {
			few.Hosts = append(few.Hosts, a)
		}
	}
	short, long := mustTable(t, web, nic, few), mustTable(t, web, nic, many)
	if diff := cmp.Diff(rules(short), rules(long)); diff != "" {
		t.Errorf("the rules differ for a long allow list:\n%s", diff)
	}
	for _, c := range long.Chains {
		if !strings.HasSuffix(c.Name, "-ipv4") && !strings.HasSuffix(c.Name, "-ipv6") {
			continue
		}
		accepts := 0
		for _, r := range c.Rules {
			if strings.Contains(r.String(), "@allow") {
				break
			}
			if r.Verdict == ruleset.Accept {
				accepts++
			}
		}
		if accepts < 1 {
			t.Errorf("chain %q looks at the allow list before it lets the internet pass", c.Name)
		}
	}
}

// rules gives a table's rules, without their comments.
func rules(t ruleset.Table) (out []string) {
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			r.Comment = ""
			out = append(out, c.Name+": "+r.String())
		}
	}
	return out
}

// The fast path compares up to maxCompares denied prefixes; more are looked up.
func TestManyDenied(t *testing.T) {
	special := len(family4.special)
	for _, test := range []struct {
		n      int
		lookup bool
	}{{1, false}, {maxCompares - special, false}, {maxCompares - special + 1, true}, {200, true}} {
		table := mustTable(t, web, nic, policy.Policy{Deny: prefixes(test.n)})
		for _, c := range table.Chains {
			if strings.HasSuffix(c.Name, "-vm-ipv4") && strings.Contains(c.Rules[0].String(), "@open-ipv4") != test.lookup {
				t.Errorf("%d denied prefixes, looked up: %t, want %t: %s", test.n, !test.lookup, test.lookup, c.Rules[0])
			}
		}
	}
}

// A set of routers has the same room whatever the policy is: those of all interfaces share it.
func TestRoomForRouters(t *testing.T) {
	for _, allowed := range []string{"192.0.2.0/24", "192.0.0.0/16"} {
		p := policy.Policy{
			Deny:   append(prefixes(1), netip.MustParsePrefix("fe80::/10")),
			Hosts:  []netip.Addr{netip.MustParseAddr("fe80::1")},
			Ranges: []netipx.IPRange{netipx.RangeOfPrefix(netip.MustParsePrefix(allowed).Masked())},
		}
		got := map[string]int{}
		for _, s := range mustTable(t, web, nic, p).Sets {
			if s.Dynamic > 0 {
				got[s.Name] = s.Dynamic
			}
		}
		if diff := cmp.Diff(map[string]int{"nic-routers-ipv4": 65535, "nic-routers-ipv6": 65535}, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", allowed, diff)
		}
	}
}

// With everything denied, no rule passes an address that no set holds.
func TestEverythingDenied(t *testing.T) {
	p := policy.Policy{Deny: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
	p.Ranges = []netipx.IPRange{netipx.MustParseIPRange("10.0.0.0-10.0.0.7")}
	p.OnLink = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	var passes []string
	for _, r := range rules(mustTable(t, web, nic, p)) {
		if strings.Contains(r, "ipv4: ") && strings.HasSuffix(r, "accept") {
			passes = append(passes, r)
		}
	}
	want := []string{
		"from-vm-ipv4: ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 @nh,0,8 0x45 ip daddr 255.255.255.255 ip frag-off & 8191 == 0 meta l4proto 17 th sport 68 th dport 67 accept",
		"from-vm-ipv4: ip daddr @allow-ranges-ipv4 accept", "to-vm-ipv4: ip saddr @allow-ranges-ipv4 accept",
		"to-vm-ipv4: ip ttl 1 ip frag-off & 8191 == 0 meta l4proto 2 @th,0,8 0x11 ip daddr 224.0.0.0/4 accept", // a question of groups
	}
	if diff := cmp.Diff(want, passes); diff != "" {
		t.Error(diff)
	}
}

// Where ICMPv6 stands directly behind IPv6, no rule counts from ICMPv6's header what nft
// 1.1 would list as one of its addresses, and load as a rule of other types, too.
func TestDiscoveryCountsFromIPv6(t *testing.T) {
	var own policy.Policy
	own.Addresses = []netip.Addr{netip.MustParseAddr("2001:db8:5::7")}
	asAddress := regexp.MustCompile(`@th,(64|192),`)
	for _, p := range []policy.Policy{{}, own} {
		direct := 0
		for _, r := range rules(mustTable(t, web, nic, p)) {
			if !strings.Contains(r, "ip6 nexthdr 58 ") || strings.Contains(r, "icmpv6 type") {
				continue
			}
			direct++
			if asAddress.MatchString(r) {
				t.Error(r)
			}
		}
		if direct == 0 {
			t.Error("no rule asks whether ICMPv6 stands directly behind IPv6")
		}
	}
}

// Whatever a VM is called, the table is one that nft reads.
func TestOddNames(t *testing.T) {
	for _, name := range []string{`a"; }`, "a\nb", strings.Repeat("x", 255), strings.Repeat("é", 100), "\xff", " vm=", "web*"} {
		table := mustTable(t, &domain.Domain{Name: name, UUID: uuid}, nic, policy.Policy{Deny: prefixes(1)})
		if got := ParseOwner(table.Comment); got.UUID != uuid {
			t.Errorf("%q: the owner's UUID is %q", name, got.UUID)
		}
		if got := ParseOwner(table.Comment); !got.Is(name) || !got.Is(strings.ToUpper(uuid)) {
			t.Errorf("%q: the owner %+v is not found by name or UUID", name, got)
		}
	}
}

func TestOwner(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, test := range []struct {
		owner, name string
		want        bool
	}{
		{"web", "web", true}, {"web", "web-1", false}, {"web-1", "web", false}, {"web", "", false}, {"", "", true},
		{"web", uuid, true}, {"web", "6695eb01-f6a4-8304-79aa-97f2502e1930", false}, {"web", "6695eb01", false},
		{"a vm=b", "a vm=b", true}, {"a vm=b", "b", false}, {long, long, true}, {long, long[:50], false},
	} {
		o := ParseOwner(Owner{UUID: uuid, Name: test.owner}.Comment())
		if got := o.Is(test.name); got != test.want {
			t.Errorf("the owner %q is %q: %t, want %t", test.owner, test.name, got, test.want)
		}
	}
	for _, comment := range []string{"", "uuid=" + uuid, "vm=web", "web", "id=1 vm=web"} {
		if o := ParseOwner(comment); o != (Owner{}) || o.Is("web") || o.Is("") {
			t.Errorf("%q is the comment of %+v", comment, o)
		}
	}
}

// The same interface and policy give the same table.
func TestDeterministic(t *testing.T) {
	p := policy.Policy{Deny: prefixes(20), Hosts: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	first := fmt.Sprint(mustTable(t, web, nic, p))
	for range 20 {
		if got := fmt.Sprint(mustTable(t, web, nic, p)); got != first {
			t.Fatal(cmp.Diff(first, got))
		}
	}
}

// Each rule that lets pass says what opened it.
func TestAcceptsSayWhy(t *testing.T) {
	p := policy.Policy{Deny: prefixes(1), Hosts: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	p.Serve = []config.Service{{Proto: ruleset.TCP, From: 443, To: 443}}
	loose := p
	loose.PassSpoofing, loose.PassNeighbours, loose.PassRouters, loose.PassMulticast, loose.PassDHCPServer, loose.PassTunnels = true, true, true, true, true, true
	loose.EtherTypes = []uint16{0x88cc}
	for _, p := range []policy.Policy{{}, p, loose} {
		accepts := 0
		for _, c := range mustTable(t, web, nic, p).Chains {
			for _, r := range c.Rules {
				if r.Verdict != ruleset.Accept {
					continue
				}
				if accepts++; r.Comment == "" {
					t.Errorf("%s: %s", c.Name, r)
				}
			}
		}
		if accepts == 0 {
			t.Error("no rule lets pass")
		}
	}
}

// Rules that are made of another interface's are those that would be made anew: of addresses,
// one is made of the MAC address.
func TestLike(t *testing.T) {
	own := policy.Policy{Deny: prefixes(1)}
	own.Addresses = []netip.Addr{netip.MustParseAddr("2001:db8:5::7")}
	second := nic
	second.Target, second.MAC = "macvtap1", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}
	for _, p := range []policy.Policy{{Deny: prefixes(1)}, own} {
		like, err := Like(mustTable(t, web, nic, p), web, second, p)
		if err != nil {
			t.Fatal(err)
		}
		if diff := ruleset.Diff("anew", mustTable(t, web, second, p), "like", like); diff != "" {
			t.Error(diff)
		}
	}
}
