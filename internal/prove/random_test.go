package prove_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/prove"
)

// TestRandomPolicies proves the same of policies that nobody wrote: any keys with any of their
// values. "make soak" makes hundreds; the seed of the first makes the others.
func TestRandomPolicies(t *testing.T) {
	seed := number(t, "MACVTAP_FILTER_SEED", 1)
	t.Logf("MACVTAP_FILTER_SEED=%d", seed)
	for n := range number(t, "MACVTAP_FILTER_POLICIES", 3) {
		text := randomPolicy(rand.New(rand.NewPCG(uint64(seed), uint64(n))))
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s := written(t, text)
			for _, hook := range directions {
				c := prove.NewCircuit()
				sets := prove.NewSets(c)
				j := prove.Judge(prove.NewFrame(c, hook), s.table, sets)
				spec := prove.Spec{Policy: s.policy, Facts: s.facts, MAC: s.mac}
				holds(t, j, sets, spec.Kept(j), slices.Concat(spec.Properties(j), spec.Filled(j), spec.Live(j)))
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

// randomPolicy writes a configuration; most keys are left out.
func randomPolicy(r *rand.Rand) string {
	some := func(of ...string) string {
		var out []string
		for _, i := range r.Perm(len(of))[:r.IntN(min(len(of), 4)+1)] {
			out = append(out, fmt.Sprintf("%q", of[i]))
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	var b strings.Builder
	b.WriteString("parents = [\"*\"]\n[policy.default]\n")
	key := func(odds int, name, value string) {
		if r.IntN(odds) == 0 {
			fmt.Fprintf(&b, "%s = %s\n", name, value)
		}
	}
	key(2, "deny", some("private", "onlink", "gateway", "10.0.0.0/8", "192.168.0.0/16", "192.168.2.64-192.168.2.99", "203.0.113.0/24", "2001:db8::/32", "fe80::/10", "0.0.0.0/0", "::/0"))
	key(2, "allow", some("gateway", "router", "router udp/53 tcp/53", "dns", "dns udp/53", "broadcast", "192.168.2.9 tcp/8000-8099", "192.168.2.10-192.168.2.19", "192.168.2.77", "10.1.0.0/16",
		"224.0.0.251 udp/5353", "ff02::fb udp/5353", "239.1.2.3", "2001:db8:2::77 tcp/443", "2001:db8:2::/96", "broadcast udp/9", "192.168.2.20 sctp/9"))
	key(3, "serve", some("tcp/443", "udp/4500", "tcp/8000-8010", "sctp/36412"))
	key(5, "inbound", some("tcp/443", "icmp", "203.0.113.0/24 tcp/22", "udp/443", "gateway icmp"))
	key(5, "outbound", some("dns udp/53 tcp/53", "tcp/443", "icmp", "udp/123"))
	for _, loose := range []string{"spoofing pass", "neighbours pass", "routers pass", "multicast pass", "dhcp server", "tunnels pass", "ipv6 drop", "next_hop any"} {
		name, value, _ := strings.Cut(loose, " ")
		key(7, name, fmt.Sprintf("%q", value))
	}
	key(3, "learn", []string{`"off"`, `"dhcp"`, `"first"`}[r.IntN(3)])
	key(8, "isolate", "true\ngateway_macs = [\"02:00:00:00:02:01\"]")
	key(8, "ethertypes", some("lldp", "0x88b5"))
	key(6, "max_packets", "1000")
	key(6, "max_new_flows", "100")
	if r.IntN(3) == 0 {
		b.WriteString("[[vm]]\nname = \"*\"\naddresses = " + some("192.168.2.100", "203.0.113.7", "2001:db8:5::7", "2001:db8:2::/64", "dhcp", "slaac") + "\n")
	}
	return b.String()
}

// written gives the interface of the VM "guarded" under a configuration.
func written(t *testing.T, text string) story {
	t.Helper()
	s := load(t, filepath.Join("..", "..", "testdata", "cases", "guarded"))[0]
	c, err := config.Parse("config.toml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	i := domain.Interface{Number: 1, Target: "macvtap0", Parent: s.facts.Parent, MAC: s.mac}
	d := &domain.Domain{Name: "web-1", Direct: []domain.Interface{i}}
	d.Complete()
	made, err := plan.Make(d, c, plan.Recorded([]facts.Facts{s.facts}))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	s.table = made.Tables[0]
	if s.policy, err = plan.Configured(d, i, append([]string{s.facts.Parent}, s.facts.Names...), c); err != nil {
		t.Fatal(err)
	}
	return s
}
