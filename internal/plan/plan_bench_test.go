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

// TestCost bounds what a plan of the default policy allocates, whatever the machine.
// Who lowers the count lowers the bound; who must raise it says why.
func TestCost(t *testing.T) {
	const most = 4_540 // a third more rules than in the first version, against side doors, routers by family, sets of what is a NIC's own, and comments on what passes; and what learns addresses
	d, known := vmAndFacts()
	c, err := config.Parse("config.toml", []byte("parents = [\"enp88s0\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	allocations := int(testing.AllocsPerRun(20, func() {
		if made, err := Make(d, c, known); err != nil || len(made.Tables) != 1 {
			t.Fatal(made, err)
		}
	}))
	t.Logf("%d allocations of at most %d", allocations, most)
	if allocations > most || allocations == 0 {
		t.Errorf("%d allocations, want at most %d (what allocates: go test -run '^$' -bench Make -memprofile)", allocations, most)
	}
}

func BenchmarkMake(b *testing.B) {
	d, known := vmAndFacts()
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

func vmAndFacts() (*domain.Domain, Network) {
	d := vm(domain.Interface{Number: 1, Target: "macvtap0", Parent: "enp88s0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0x6a, 0x10, 1}})
	return d, Recorded{facts.Facts{
		Parent:    "enp88s0",
		Gateway:   []netip.Addr{netip.MustParseAddr("192.168.2.1"), netip.MustParseAddr("fe80::1")},
		DNS:       []netip.Addr{netip.MustParseAddr("192.168.2.53")},
		Broadcast: []netip.Addr{netip.MustParseAddr("192.168.2.255")},
		OnLink:    []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")},
	}}
}
