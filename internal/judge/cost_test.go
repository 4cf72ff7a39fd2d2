package judge_test

import (
	"net"
	"net/netip"
	"testing"

	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/ruleset"
)

// TestCost bounds how many comparisons an ordinary frame costs under the default
// policy, a count that does not depend on the machine. Who lowers one lowers its
// bound; who must raise one says why.
func TestCost(t *testing.T) {
	made := table(t, "")
	j := judge.New(made)
	gateway := net.HardwareAddr{2, 0, 0, 0, 2, 1}
	for _, test := range []struct {
		name, near, far string
		hook            ruleset.HookType
		most            int
	}{
		{"to the internet, IPv4", "192.168.2.201", "192.0.2.1", ruleset.Egress, 10},
		{"to the internet, IPv6", "2001:db8:2::201", "3fff:fff::1", ruleset.Egress, 9},
		// Two compares in the place of a lookup: one more, and 50 ns less.
		{"to an allowed host", "192.168.2.201", "192.168.2.53", ruleset.Egress, 13},
		{"from the internet, IPv4", "192.168.2.201", "192.0.2.1", ruleset.Ingress, 10},
		{"from the internet, IPv6", "2001:db8:2::201", "3fff:fff::1", ruleset.Ingress, 9},
		{"from an allowed host", "192.168.2.201", "192.168.2.53", ruleset.Ingress, 10},
	} {
		for _, proto := range []byte{ruleset.TCP, ruleset.UDP} {
			d := frame.Description{
				Source: netip.MustParseAddr(test.near), Destination: netip.MustParseAddr(test.far),
				SourceMAC: vmMAC, DestinationMAC: gateway, Proto: proto, SourcePort: 40000, Port: 443,
			}
			if test.hook == ruleset.Ingress {
				d.Source, d.Destination = d.Destination, d.Source
				d.SourceMAC, d.DestinationMAC = d.DestinationMAC, d.SourceMAC
				d.SourcePort, d.Port = d.Port, d.SourcePort
			}
			f, err := d.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			decision, err := j.Frame(test.hook, f)
			if err != nil {
				t.Fatal(err)
			}
			if !isFast(decision.Rule) || len(decision.Path) != 1 {
				t.Errorf("%s, protocol %d: not by the fast path, but %v %q", test.name, proto, decision.Path, decision.Rule)
			}
			t.Logf("%s, protocol %d: %d comparisons", test.name, proto, decision.Compared)
			if decision.Compared > test.most {
				t.Errorf("%s, protocol %d: %d comparisons, want at most %d", test.name, proto, decision.Compared, test.most)
			}
		}
	}
}
