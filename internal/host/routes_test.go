package host_test

import (
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go4.org/netipx"

	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/lab"
)

// ip runs commands of ip(8) in a namespace, one a line, in which PARENT is the parent.
func ip(t *testing.T, n *lab.Network, commands string) {
	t.Helper()
	for line := range strings.Lines(commands) {
		args := strings.Fields(strings.ReplaceAll(line, "PARENT", n.Parent))
		if len(args) == 0 {
			continue
		}
		cmd := exec.Command("ip", args...)
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := n.Hypervisor.Run(cmd); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, said.String())
		}
	}
}

// A parent's routers and prefixes count in whatever table and form their routes are.
func TestFactsOfEveryRoute(t *testing.T) {
	own := prefixes("192.168.2.10/24", "2001:db8:2::10/128")
	for _, test := range []struct {
		name, commands, gateways, onlink string
		sysctl                           string // set to 0
	}{
		{name: "another table", gateways: "192.168.2.1,2001:db8:2::1", onlink: "10.5.0.0/16,2001:db8:2::/64", commands: `
			route add default via 192.168.2.1 dev PARENT onlink table 100
			route add default via 2001:db8:2::1 dev PARENT onlink table 1000
			route add 10.5.0.0/16 dev PARENT table 100
			route add 10.6.0.0/16 via 192.168.2.9 dev PARENT table 100
			route add blackhole default table 101
			-6 route add 2001:db8:2::/64 dev PARENT proto ra table 1000`},
		// Of a VRF's NICs the kernel keeps all routes in the VRF's table
		// (Documentation/networking/vrf.rst): not every kernel can make one.
		{name: "a VRF", gateways: "192.168.2.1,2001:db8:2::1", onlink: "192.168.2.0/24,2001:db8:2::/64", commands: `
			route flush dev PARENT
			-6 route flush dev PARENT table main
			route add 192.168.2.0/24 dev PARENT proto kernel scope link table 10
			-6 route add 2001:db8:2::/64 dev PARENT proto kernel table 10
			route add default via 192.168.2.1 dev PARENT onlink table 10
			route add default via 2001:db8:2::1 dev PARENT onlink table 10`},
		{name: "several routers of one route", gateways: "192.168.2.3,192.168.2.4,2001:db8:2::3,2001:db8:2::4", commands: `
			link add other up type bridge
			addr add 10.9.0.1/24 dev other
			route add default nexthop via 192.168.2.3 dev PARENT nexthop via 192.168.2.4 dev PARENT nexthop via 10.9.0.2 dev other
			-6 route add default nexthop via 2001:db8:2::3 dev PARENT onlink nexthop via 2001:db8:2::4 dev PARENT onlink`},
		{name: "IPv4 by an IPv6 router", gateways: "2001:db8:2::1,fe80::1,fe80::2", commands: `
			route add default via inet6 fe80::1 dev PARENT
			route add default table 9 nexthop via inet6 2001:db8:2::1 dev PARENT onlink nexthop via inet6 fe80::2 dev PARENT`},
		{name: "nexthop objects", gateways: "192.168.2.3,192.168.2.4,fe80::5", onlink: "10.5.0.0/16", commands: nexthopObjects},
		{name: "nexthop objects that routes do not show", gateways: "192.168.2.3,192.168.2.4,fe80::5", onlink: "10.5.0.0/16", commands: nexthopObjects, sysctl: "/proc/sys/net/ipv4/nexthop_compat_mode"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := network(t, lab.Options{Addresses: own})
			if test.sysctl != "" {
				if err := n.Hypervisor.Do(func() error { return os.WriteFile(test.sysctl, []byte("0\n"), 0) }); err != nil {
					t.Fatal(err)
				}
			}
			ip(t, n, test.commands)
			onlink := prefixes("192.168.2.0/24", "2001:db8:2::10/128")
			if test.onlink != "" {
				onlink = append(onlink, prefixes(strings.Split(test.onlink, ",")...)...)
			}
			got := factsOf(t, n.Hypervisor, n.Parent)
			same(t, sorted(got), sorted(facts.Facts{
				Parent: n.Parent, Gateway: addrs(strings.Split(test.gateways, ",")...),
				Broadcast: addrs("192.168.2.255", "255.255.255.255"), OnLink: onlink, Host: addrs("192.168.2.10", "2001:db8:2::10"),
			}))
		})
	}
}

const nexthopObjects = `
	link add other up type bridge
	addr add 10.9.0.1/24 dev other
	nexthop add id 1 via 192.168.2.3 dev PARENT
	nexthop add id 2 via 192.168.2.4 dev PARENT
	nexthop add id 3 via 10.9.0.2 dev other
	nexthop add id 4 dev PARENT
	nexthop add id 5 via fe80::5 dev PARENT
	nexthop add id 6 via 192.168.2.9 dev PARENT
	nexthop add id 9 group 1/2/3
	route add default nhid 9 table 100
	-6 route add default nhid 5
	route add 10.5.0.0/16 nhid 4
	route add 10.6.0.0/16 nhid 6`

// sorted gives the facts with what they list in one order.
func sorted(f facts.Facts) facts.Facts {
	slices.SortFunc(f.Gateway, netip.Addr.Compare)
	slices.SortFunc(f.OnLink, netipx.ComparePrefix)
	f.OnLink = slices.Compact(f.OnLink)
	return f
}
