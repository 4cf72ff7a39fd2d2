package facts

import (
	"net/netip"
	"testing"
)

func TestBeyond(t *testing.T) {
	f := Facts{
		OnLink:    []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("2001:db8:2::10/128")},
		Broadcast: []netip.Addr{netip.MustParseAddr("203.0.113.255")},
	}
	for address, want := range map[string]bool{
		"192.0.2.1": true, "2001:db8:9::1": true, "fd00::1": true, "10.0.0.1": true, "2001:db8:3::10": true,
		"192.168.2.77": false, "2001:db8:2::77": false, "fe80::77": false, "ff02::1": false, "224.0.0.1": false,
		"255.255.255.255": false, "203.0.113.255": false, "169.254.1.1": false, "0.0.0.0": false,
	} {
		if got := f.Beyond(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}
