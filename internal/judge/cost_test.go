package judge_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/ruleset"
)

// TestCost bounds how many expressions an ordinary frame costs under the default policy, and
// where addresses are not learned, and how many of them are lookups, which cost more: counts that
// do not depend on the machine. The rules are bound to their device, as they stand, and have
// learned the VM's addresses. Who lowers one lowers its bound; who must raise one says why.
func TestCost(t *testing.T) {
	type bound struct{ most, lookups int }
	learned := judge.New(owning(table(t, "").Bind(1), "192.168.2.201", "2001:db8:2::201"))
	off := judge.New(table(t, notLearned).Bind(1))
	for _, test := range []struct {
		name, near, far string
		hook            ruleset.HookType
		learned, off    bound
	}{
		// All: the base chain asks for the device, the MAC address and the kind of frame, for
		// IPv6 after IPv4, so that the rest is several interfaces'.
		// To the internet: a router's MAC address is looked up, sources that nobody or
		// another has are compared, and the default policy denies three more prefixes.
		// Where the source is the VM's own, a second lookup is in the place of these compares.
		{"to the internet, IPv4", "192.168.2.201", "192.0.2.1", ruleset.Egress, bound{51, 2}, bound{60, 1}},
		{"to the internet, IPv6", "2001:db8:2::201", "3fff:fff::1", ruleset.Egress, bound{40, 2}, bound{45, 1}},
		// Two compares in the place of a second lookup: two expressions more, and 50 ns less.
		{"to an allowed host", "192.168.2.201", "192.168.2.53", ruleset.Egress, bound{38, 2}, bound{50, 1}},
		// The same prefixes, and the VM's own MAC address; where leases are learned, by IPv4, one
		// more compare: a datagram may be one.
		{"from the internet, IPv4", "192.168.2.201", "192.0.2.1", ruleset.Ingress, bound{40, 0}, bound{39, 0}},
		{"from the internet, IPv6", "2001:db8:2::201", "3fff:fff::1", ruleset.Ingress, bound{33, 0}, bound{33, 0}},
		{"from an allowed host", "192.168.2.201", "192.168.2.53", ruleset.Ingress, bound{29, 1}, bound{28, 1}},
	} {
		for _, proto := range []byte{ruleset.TCP, ruleset.UDP} {
			d := frame.Description{
				Source: netip.MustParseAddr(test.near), Destination: netip.MustParseAddr(test.far),
				SourceMAC: vmMAC, DestinationMAC: net.HardwareAddr{2, 0, 0, 0, 2, 1}, Proto: proto, SourcePort: 40000, Port: 443,
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
			name := fmt.Sprintf("%s, protocol %d", test.name, proto)
			costs(t, name, learned, test.hook, f, test.learned.most, test.learned.lookups)
			costs(t, name+", not learned", off, test.hook, f, test.off.most, test.off.lookups)
		}
	}
}

// costs has a frame judged, which takes the fast path within the bounds.
func costs(t *testing.T, name string, j *judge.Judge, hook ruleset.HookType, f []byte, most, lookups int) {
	t.Helper()
	decision, err := j.Frame(hook, f)
	if err != nil {
		t.Fatal(err)
	}
	if !isFast(decision.Rule) || len(decision.Path) != 2 {
		t.Errorf("%s: not by the fast path, but %v %q", name, decision.Path, decision.Rule)
	}
	cost := decision.Cost
	t.Logf("%s: %+v", name, cost)
	if cost.Expressions > most || cost.Lookups > lookups {
		t.Errorf("%s: %+v, want at most %d expressions and %d lookups", name, cost, most, lookups)
	}
}

// owning gives rules, bound to the interface 1, that have learned addresses.
func owning(made ruleset.Table, addresses ...string) ruleset.Table {
	for _, address := range addresses {
		a := netip.MustParseAddr(address)
		name := "nic-addresses-ipv6"
		if a.Is4() {
			name = "nic-addresses-ipv4"
		}
		key := [][]byte{binary.NativeEndian.AppendUint32(nil, 1), a.AsSlice()}
		i := slices.IndexFunc(made.Sets, func(s ruleset.Set) bool { return s.Name == name })
		made.Sets[i].Elements = append(made.Sets[i].Elements, ruleset.Element{From: key, To: key})
	}
	return made
}
