package plan

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
)

func BenchmarkMake(b *testing.B) {
	d := vm(domain.Interface{Number: 1, Target: "macvtap0", Parent: "enp88s0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0x6a, 0x10, 1}})
	known := Recorded{facts.Facts{
		Parent:    "enp88s0",
		Gateway:   []netip.Addr{netip.MustParseAddr("192.168.2.1"), netip.MustParseAddr("fe80::1")},
		DNS:       []netip.Addr{netip.MustParseAddr("192.168.2.53")},
		Broadcast: []netip.Addr{netip.MustParseAddr("192.168.2.255")},
		OnLink:    []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")},
	}}
	for _, hosts := range []int{0, 10_000} {
		allow := []string{"gateway", "dns", "broadcast"}
		for i := range hosts {
			allow = append(allow, fmt.Sprintf("192.168.%d.%d", 100+i/250, 1+i%250))
		}
		text := "parents = [\"enp88s0\"]\n[policy.default]\nallow = [\"" + strings.Join(allow, "\", \"") + "\"]\n"
		c, err := config.Parse("config.toml", []byte(text))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			for b.Loop() {
				made, err := Make(d, c, known)
				if err != nil || len(made.Tables) != 1 {
					b.Fatal(made, err)
				}
			}
		})
	}
}
