package judge_test

import (
	"net"
	"net/netip"
	"testing"

	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/ruleset"
)

// TestCost bounds how many expressions an ordinary frame costs under the default policy,
// and how many of them are lookups, which cost more: counts that do not depend on the
// machine. The rules are bound to their device, as they stand. Who lowers one lowers its
// bound; who must raise one says why.
func TestCost(t *testing.T) {
	j := judge.New(table(t, "").Bind(1))
	gateway := net.HardwareAddr{2, 0, 0, 0, 2, 1}
	for _, test := range []struct {
		name, near, far string
		hook            ruleset.HookType
		most, lookups   int
	}{
		// All: the base chain asks for the device, the MAC address and the kind of frame, for
		// IPv6 after IPv4, so that the rest is several interfaces'.
		// To the internet: a router's MAC address is looked up, sources that nobody or
		// another has are compared, and the default policy denies three more prefixes.
		{"to the internet, IPv4", "192.168.2.201", "192.0.2.1", ruleset.Egress, 60, 1},
		{"to the internet, IPv6", "2001:db8:2::201", "3fff:fff::1", ruleset.Egress, 45, 1},
		// Two compares in the place of a second lookup: two expressions more, and 50 ns less.
		{"to an allowed host", "192.168.2.201", "192.168.2.53", ruleset.Egress, 50, 1},
		{"from the internet, IPv4", "192.168.2.201", "192.0.2.1", ruleset.Ingress, 39, 0}, // the same prefixes, and the VM's own MAC address
		{"from the internet, IPv6", "2001:db8:2::201", "3fff:fff::1", ruleset.Ingress, 33, 0},
		{"from an allowed host", "192.168.2.201", "192.168.2.53", ruleset.Ingress, 28, 1},
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
			if !isFast(decision.Rule) || len(decision.Path) != 2 {
				t.Errorf("%s, protocol %d: not by the fast path, but %v %q", test.name, proto, decision.Path, decision.Rule)
			}
			cost := decision.Cost
			t.Logf("%s, protocol %d: %+v", test.name, proto, cost)
			if cost.Expressions > test.most || cost.Lookups > test.lookups {
				t.Errorf("%s, protocol %d: %+v, want at most %d expressions and %d lookups", test.name, proto, cost, test.most, test.lookups)
			}
		}
	}
}
