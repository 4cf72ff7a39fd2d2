package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// A VM that comes has the addresses that it had, as far as these rules would bind them; the
// gate of the first address is shut as where it ran.
func TestArriving(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	bound := func(a, known string, left time.Duration) domain.Bound {
		b := domain.Bound{Addr: netip.MustParseAddr(a), Known: known}
		if left != 0 {
			b.Until = now.Add(left)
		}
		return b
	}
	base := policy.Policy{
		Claimed: []netip.Addr{netip.MustParseAddr("192.168.2.1"), netip.MustParseAddr("2001:db8:2::1")}, Host: []netip.Addr{netip.MustParseAddr("192.168.2.2")},
		OnLink: []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")},
	}
	const none = -1 // no gate
	for name, c := range map[string]struct {
		learn   config.Learn
		bound   []domain.Bound
		want    string // address, source, seconds left
		refused string
		gate    time.Duration
	}{
		"a lease":                        {config.LearnFirst, []domain.Bound{bound("192.168.2.30", "dhcp", time.Hour)}, "192.168.2.30 dhcp 3600", "", time.Hour},
		"two leases":                     {config.LearnDHCP, []domain.Bound{bound("192.168.2.30", "dhcp", time.Hour), bound("192.168.2.31", "dhcp", 2*time.Hour)}, "192.168.2.30 dhcp 3600, 192.168.2.31 dhcp 7200", "", 2 * time.Hour},
		"a first one":                    {config.LearnFirst, []domain.Bound{bound("192.168.2.30", "first", 0)}, "192.168.2.30 first 0", "", 0},
		"a first one where leases count": {config.LearnDHCP, []domain.Bound{bound("192.168.2.30", "first", 0)}, "192.168.2.30 dhcp 2592000", "", leaseFor},
		"by hand":                        {config.LearnFirst, []domain.Bound{bound("192.168.2.30", "by hand", 0)}, "192.168.2.30 by hand 0", "", none},
		"by hand, where leases count":    {config.LearnDHCP, []domain.Bound{bound("192.168.2.30", "by hand", 0)}, "192.168.2.30 by hand 0", "", none},
		"a probe":                        {config.LearnFirst, []domain.Bound{bound("2001:db8:2::30", "probe", time.Hour), bound("fe80::30", "probe", time.Hour)}, "2001:db8:2::30 probe 3600, fe80::30 probe 3600", "", none},
		"too long":                       {config.LearnFirst, []domain.Bound{bound("2001:db8:2::30", "probe", 1000*ruleset.Day)}, "2001:db8:2::30 probe 2592000", "", none},
		"lapsed":                         {config.LearnFirst, []domain.Bound{bound("192.168.2.30", "dhcp", -time.Second)}, "", "", none},
		"the gateway's, the host's, a group's, a broadcast, another link's": {config.LearnFirst, []domain.Bound{
			bound("192.168.2.1", "dhcp", time.Hour), bound("192.168.2.2", "by hand", 0), bound("224.0.0.5", "first", 0), bound("0.0.0.0", "first", 0), bound("2001:db8:2::1", "probe", time.Hour), bound("2001:db8:3::30", "probe", time.Hour), bound("ff02::1", "probe", time.Hour),
		}, "", "192.168.2.1 192.168.2.2 224.0.0.5 0.0.0.0 2001:db8:2::1 2001:db8:3::30 ff02::1", none},
		"nothing is learned": {config.LearnOff, []domain.Bound{bound("192.168.2.30", "dhcp", time.Hour)}, "", "", none},
	} {
		t.Run(name, func(t *testing.T) {
			p := base
			p.Learn = c.learn
			table, refused := Arriving(mustTable(t, web, nic, p).Bind(7), c.bound, now)
			if err := table.Validate(); err != nil {
				t.Fatal(err)
			}
			own, _, _ := Addresses(table)
			var got []string
			for _, a := range own {
				got = append(got, fmt.Sprintf("%s %s %d", a.Addr, a.Source, a.Left/time.Second))
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("bound: %q, want %q", got, c.want)
			}
			var not []string
			for _, b := range refused {
				not = append(not, b.String())
			}
			if strings.Join(not, " ") != c.refused {
				t.Errorf("refused: %q, want %q", not, c.refused)
			}
			gate, grace := time.Duration(none), 0
			for _, s := range table.Sets {
				for _, e := range s.Elements {
					switch {
					case s.Own() && !e.ElementOf(7):
						t.Errorf("%s has an element of another interface", s.Name)
					case s.Name == boundSet:
						gate = e.Left
					case s.Name == runningSet:
						grace++
					}
				}
			}
			if gate != c.gate {
				t.Errorf("the gate: %s, want %s", gate, c.gate)
			}
			if want := c.learn != config.LearnOff; (grace == 1) != want {
				t.Errorf("time to use what it has: %d elements, want %t", grace, want)
			}
		})
	}
}

// What rules learned is kept as it arrives; too many are cut to those that last longest.
func TestLearned(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	a := netip.MustParseAddr("192.168.2.30")
	set, hand := BoundByHand(7, netip.MustParseAddr("192.168.2.31"))
	configured := ownElement(7, netip.MustParseAddr("192.168.2.32"))
	configured.Comment = "192.168.2.32"
	lease := ownElement(7, a)
	lease.Left = time.Hour + time.Millisecond
	got := Learned(map[string][]ruleset.Element{set: {lease, hand, configured}, boundSet: {nicElement(7)}}, now)
	want := []domain.Bound{{Addr: a, Known: "dhcp", Until: now.Add(time.Hour)}, {Addr: netip.MustParseAddr("192.168.2.31"), Known: "by hand"}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	var many []ruleset.Element
	for i := range 2 * domain.MaxAddresses {
		e := ownElement(7, netip.AddrFrom16([16]byte{0: 0x20, 15: byte(i)}))
		e.Left = time.Duration(i+1) * time.Hour
		many = append(many, e)
	}
	got = Learned(map[string][]ruleset.Element{set: {hand}, family6.ownAddresses(): many}, now)
	if len(got) != domain.MaxAddresses || got[0].Known != "by hand" || !got[1].Until.Equal(now.Add((domain.MaxAddresses+2)*time.Hour)) {
		t.Errorf("%d are kept: %v", len(got), got)
	}
}
