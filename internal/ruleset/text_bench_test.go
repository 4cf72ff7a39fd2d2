package ruleset_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

func BenchmarkText(b *testing.B) {
	for _, hosts := range []int{1, 10_000} {
		tables := []ruleset.Table{usualTable(b, hosts)}
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			for b.Loop() {
				if ruleset.Text(tables) == "" {
					b.Fatal("no text")
				}
			}
		})
	}
}

// usualTable is a table of a policy that allows so many hosts of a denied LAN.
func usualTable(b *testing.B, hosts int) ruleset.Table {
	p := policy.Policy{
		Name: "default",
		Deny: []netip.Prefix{
			netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("2001:db8:2::/64"),
			netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
		},
	}
	for i := range hosts {
		p.Hosts = append(p.Hosts, netip.AddrFrom4([4]byte{192, 168, byte(100 + i/250), byte(1 + i%250)}))
	}
	d := &domain.Domain{Name: "web", UUID: "4b1d2f6a-6c1d-4c5e-9d3b-7a0f3f2e9c11"}
	i := domain.Interface{Number: 1, Target: "macvtap0", Parent: "enp88s0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0x6a, 0x10, 1}}
	table, err := filter.Table(d, i, p)
	if err != nil {
		b.Fatal(err)
	}
	return table
}
