package watch

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"macvtap-filter/internal/domain"
)

// What metadata say is written again where an address came or went, or is bound for a day longer:
// a guest that uses an address, or releases it and takes it again, has nothing written.
func TestSameBound(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	of := func(bound ...domain.Bound) *domain.Addresses {
		return &domain.Addresses{NICs: []domain.NICAddresses{{MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, Bound: bound}}}
	}
	a := netip.MustParseAddr("192.168.2.30")
	lease := func(left time.Duration) domain.Bound {
		return domain.Bound{Addr: a, Known: "dhcp", Until: now.Add(left)}
	}
	other := domain.Bound{Addr: a.Next(), Known: "by hand"}
	for name, c := range map[string]struct {
		said, learned *domain.Addresses
		want          bool
	}{
		"nothing":             {nil, nil, true},
		"the first":           {nil, of(lease(time.Hour)), false},
		"nothing any more":    {of(lease(time.Hour)), nil, false},
		"used":                {of(lease(time.Hour)), of(lease(2 * time.Hour)), true},
		"released":            {of(lease(100 * time.Hour)), of(lease(time.Hour)), true},
		"used a day later":    {of(lease(time.Hour)), of(lease(26 * time.Hour)), false},
		"another one":         {of(lease(time.Hour)), of(lease(time.Hour), other), false},
		"known otherwise":     {of(lease(time.Hour)), of(domain.Bound{Addr: a, Known: "by hand"}), false},
		"what is not written": {&domain.Addresses{Err: net.ErrClosed}, of(lease(time.Hour)), false},
	} {
		if got := sameBound(c.said, c.learned); got != c.want {
			t.Errorf("%s: the same: %t, want %t", name, got, c.want)
		}
	}
	before, after, choice := &domain.Domain{Name: "web-1"}, &domain.Domain{Name: "web-1", Addresses: of(other)}, &domain.Domain{Name: "web-1", Addresses: of(other), Choice: &domain.Choice{}}
	for name, c := range map[string]struct {
		before, now *domain.Domain
		want        bool
	}{
		"what watch wrote": {before, after, true}, "no change": {after, after, false}, "a choice, too": {before, choice, false},
		"a new VM": {nil, after, false}, "a VM that is gone": {after, nil, false},
	} {
		if got := onlyBound(c.before, c.now); got != c.want {
			t.Errorf("%s: only what watch writes: %t, want %t", name, got, c.want)
		}
	}
}
