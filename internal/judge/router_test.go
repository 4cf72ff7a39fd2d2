package judge_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/ruleset"
)

// lanMAC is a denied host's.
var lanMAC = net.HardwareAddr{2, 0, 0, 0, 2, 0x4d}

// arpOf is ARP of the denied host: what it says of its address, or a probe.
func arpOf(operation byte, sender string) []byte {
	f := append(append(append([]byte{}, vmMAC...), lanMAC...), 8, 6, 0, 1, 8, 0, 6, 4, 0, operation)
	f = append(append(f, lanMAC...), netip.MustParseAddr(sender).AsSlice()...)
	return append(append(f, vmMAC...), 192, 168, 2, 100)
}

// discoveryOf is a message of neighbour discovery of the denied host.
func discoveryOf(from, to string, kind byte, target string) []byte {
	f := append(append(append([]byte{}, vmMAC...), lanMAC...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255)
	f = append(append(f, netip.MustParseAddr(from).AsSlice()...), netip.MustParseAddr(to).AsSlice()...)
	return append(append(f, kind, 0, 0, 0, 0, 0, 0, 0), netip.MustParseAddr(target).AsSlice()...)
}

// door is a datagram of the VM's to another address of that host, in a frame to it.
func door() []byte {
	f := append(append(append([]byte{}, lanMAC...), vmMAC...), 8, 0, 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0)
	f = append(append(f, 192, 168, 2, 100), 172, 17, 0, 1)
	return append(f, 0x9c, 0x40, 0, 53, 0, 8, 0, 0)
}

// door6 is the same to a public IPv6 address.
func door6() []byte {
	f := append(append(append([]byte{}, lanMAC...), vmMAC...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64)
	f = append(append(f, netip.MustParseAddr("2001:db8:2::100").AsSlice()...), netip.MustParseAddr("2001:db8:ffff::1").AsSlice()...)
	return append(f, 0x9c, 0x40, 0, 53, 0, 8, 0, 0)
}

// TestOneFamilyMakesNoRouterOfTheOther has a host of the LAN be heard by an address that
// is not denied, of a family of which the host knows no prefix of the link: its addresses
// of the other family stay closed.
func TestOneFamilyMakesNoRouterOfTheOther(t *testing.T) {
	const policy = notLearned + "deny = [\"192.168.0.0/16\", \"fe80::/10\", \"2001:db8:2::/64\"]\n"
	for _, test := range []struct {
		about        string
		knows        func(netip.Addr) bool // the family of which the host knows the link
		says         []byte
		own, another []byte
	}{
		{"a public IPv6 address", netip.Addr.Is4, discoveryOf("2001:db8:9::77", "fe80::5054:ff:fe00:1", 136, "2001:db8:9::77"), door6(), door()},
		{"a public IPv4 address", netip.Addr.Is6, arpOf(2, "203.0.113.77"), door(), door6()},
	} {
		t.Run(test.about, func(t *testing.T) {
			known := lan()
			known.Gateway = slices.DeleteFunc(known.Gateway, func(a netip.Addr) bool { return !test.knows(a) })
			known.OnLink = slices.DeleteFunc(known.OnLink, func(p netip.Prefix) bool { return !test.knows(p.Addr()) })
			made := tableOf(t, policy+"allow = [\"gateway\"]\n", known)
			n, tap := network(t)
			create(t, n, made)
			send(t, n, tap, ruleset.Ingress, [][]byte{test.says})
			arrived := send(t, n, tap, ruleset.Egress, [][]byte{test.own, test.another})
			if !arrived[string(test.own)] {
				t.Error("of the family by which it was heard it is no router, and the test shows nothing")
			}
			if arrived[string(test.another)] {
				t.Error("a datagram of the other family to another address of the host arrived")
			}
		})
	}
}

// TestDeniedHostIsNoRouter has a denied host say what an innocent one says, and tries its
// other door: of whom the policy allows some services, or the other family, no MAC
// address becomes a router's.
func TestDeniedHostIsNoRouter(t *testing.T) {
	const lan = notLearned + "deny = [\"192.168.0.0/16\", \"fe80::/10\", \"2001:db8:2::/64\"]\n"
	for _, test := range []struct {
		about, policy string
		says          []byte
	}{
		{"a service of a range that holds the link", lan + "allow = [\"gateway\", \"192.168.0.0/16 tcp/443\"]\n", arpOf(2, "192.168.2.77")},
		{"a service of all, and its other address", lan + "allow = [\"gateway\", \"0.0.0.0/0 tcp/443\"]\n", arpOf(2, "172.17.0.1")},
		{"a service of a network that holds its other address", lan + "allow = [\"gateway\", \"172.16.0.0/12 tcp/443\"]\n", arpOf(2, "172.17.0.1")},
		{"a network allowed whole that holds its other address", lan + "allow = [\"gateway\", \"172.16.0.0/12\"]\n", arpOf(2, "172.17.0.1")},
		{"a service of all, and a probe", lan + "allow = [\"gateway\", \"0.0.0.0/0 tcp/443\"]\n", arpOf(1, "0.0.0.0")},
		{"a service of a range of IPv6 that holds the link", lan + "allow = [\"gateway\", \"2001:db8::/32 tcp/443\"]\n", discoveryOf("2001:db8:2::77", "fe80::5054:ff:fe00:1", 136, "2001:db8:2::77")},
		{"a service of all IPv6, and a probe", lan + "allow = [\"gateway\", \"::/0 tcp/443\"]\n", discoveryOf("::", "ff02::1:ff00:1", 135, "fe80::5054:ff:fe00:1")},
		{"a link-local address, where IPv6 is open", notLearned + "deny = [\"192.168.0.0/16\"]\n", discoveryOf("fe80::77", "fe80::5054:ff:fe00:1", 136, "fe80::77")},
		{"an allowed link-local range, where IPv6 is open", notLearned + "deny = [\"192.168.0.0/16\"]\nallow = [\"gateway\", \"fe80::/64\"]\n", discoveryOf("fe80::77", "fe80::5054:ff:fe00:1", 136, "fe80::77")},
	} {
		t.Run(test.about, func(t *testing.T) {
			made := table(t, test.policy)
			n, tap := network(t)
			create(t, n, made)
			j := judge.New(made)
			if _, err := j.Frame(ruleset.Ingress, test.says); err != nil {
				t.Fatal(err)
			}
			if d, err := j.Frame(ruleset.Egress, door()); err != nil || d.Passes {
				t.Errorf("judged: passes %v by %s, %v", d.Passes, d.Rule, err)
			}
			send(t, n, tap, ruleset.Ingress, [][]byte{test.says})
			if send(t, n, tap, ruleset.Egress, [][]byte{door()})[string(door())] {
				t.Error("a datagram to another address of a denied host arrived")
			}
		})
	}
}
