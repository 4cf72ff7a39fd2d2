package reach

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/plan"
)

// BenchmarkOf finds out what a VM reaches that may reach many hosts, each by a service.
func BenchmarkOf(b *testing.B) {
	for _, hosts := range []int{0, 10_000} {
		b.Run(fmt.Sprint(hosts), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			allow := []string{`"gateway"`, `"dns"`}
			for range hosts {
				allow = append(allow, fmt.Sprintf(`"10.%d.%d.%d tcp/%d"`, r.IntN(256), r.IntN(256), r.IntN(256), []int{22, 80, 443, 445, 873, 8080}[r.IntN(6)]))
			}
			c, err := config.Parse("c", []byte("parents = [\"enp88s0\"]\n[policy.default]\nallow = ["+strings.Join(allow, ", ")+"]\n"))
			if err != nil {
				b.Fatal(err)
			}
			f := facts.Facts{
				Parent: "enp88s0", Gateway: []netip.Addr{netip.MustParseAddr("192.168.2.1")}, DNS: []netip.Addr{netip.MustParseAddr("192.168.2.53")},
				Broadcast: []netip.Addr{netip.MustParseAddr("192.168.2.255")}, OnLink: []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24")},
				GatewayMACs: []facts.MAC{{2, 0, 0, 0, 2, 1}},
			}
			d := &domain.Domain{Name: "web", UUID: "6695eb01-f6a4-8304-79aa-97f2502e193f", Direct: []domain.Interface{{Number: 1, Parent: "enp88s0", Target: "macvtap0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}}}}
			d.Complete()
			made, err := plan.Make(d, c, plan.Recorded{f})
			if err != nil {
				b.Fatal(err)
			}
			s := subjectOf("", made.Tables[0], d.Direct[0].MAC, f)
			for b.Loop() {
				reach, err := Of(s.table, s.ends)
				if err != nil {
					b.Fatal(err)
				}
				if len(Lines(reach.Out)) == 0 {
					b.Fatal("nothing")
				}
			}
		})
	}
}
