package kernel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// defaultTable is what the default policy makes, with so many more allowed hosts.
func defaultTable(tb testing.TB, hosts int) ruleset.Table {
	tb.Helper()
	d := &domain.Domain{Name: "web", UUID: "4b1d2f6a-6c1d-4c5e-9d3b-7a0f3f2e9c11", Direct: []domain.Interface{
		{Number: 1, Target: "macvtap0", Parent: "enp88s0", MAC: []byte{0x52, 0x54, 0, 0x6a, 0x10, 1}},
	}}
	known := plan.Recorded{facts.Facts{
		Parent:    "enp88s0",
		Gateway:   []netip.Addr{netip.MustParseAddr("192.168.2.1"), netip.MustParseAddr("fe80::1")},
		DNS:       []netip.Addr{netip.MustParseAddr("192.168.2.53")},
		Broadcast: []netip.Addr{netip.MustParseAddr("192.168.2.255")},
		OnLink:    []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("2001:db8:2::/64")},

		GatewayMACs: []facts.MAC{{0x02, 0, 0, 0, 0, 0x01}},
	}}
	allow := []string{"gateway", "dns", "broadcast"}
	for i := range hosts {
		allow = append(allow, fmt.Sprintf("192.168.%d.%d", 100+i/250, 1+i%250))
	}
	text := "parents = [\"enp88s0\"]\n[policy.default]\nallow = [\"" + strings.Join(allow, "\", \"") + "\"]\n"
	c, err := config.Parse("config.toml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	made, err := plan.Make(d, c, known)
	if err != nil {
		tb.Fatal(err)
	}
	return made.Tables[0]
}

func BenchmarkCompile(b *testing.B) {
	for _, hosts := range []int{0, 10_000} {
		table := defaultTable(b, hosts)
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			messages, bytes := 0, 0
			for b.Loop() {
				compiled, err := compile(table)
				if err != nil {
					b.Fatal(err)
				}
				messages, bytes = len(compiled), 0
				for _, m := range compiled {
					bytes += len(m.Data)
				}
			}
			b.ReportMetric(float64(messages), "messages/op")
			b.ReportMetric(float64(bytes), "payload-B/op")
		})
	}
}
