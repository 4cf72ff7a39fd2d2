package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"macvtap-filter/internal/facts"
)

// "onlink" is the LAN's prefixes, and what is not known of its public IPv6 is said.
func TestOnLink(t *testing.T) {
	const none, likely = "holds no public IPv6 prefix", "takes 2001:db8:2::/64 for the LAN's"
	for _, test := range []struct{ deny, onlink, denied, warning string }{
		{"onlink", "2001:db8:2::/64", "2001:db8:2::/64", ""},
		{"onlink", "2001:db8:2::/127", "2001:db8:2::/127", ""}, // RFC 6164
		{"onlink", "2001:db8:2::10/128", "2001:db8:2::/64", likely},
		{"onlink", "2001:db8:2::/64,2001:db8:2::10/128", "2001:db8:2::/64", ""}, // with a router's advertisement
		{"onlink", "2001:db8:2::/56,2001:db8:2::10/128", "2001:db8:2::/56", ""},
		{"onlink", "fd00:1::/64", "fd00:1::/64", none},
		{"onlink", "fd00:1::/64,2001:db8:2::10/128", "2001:db8:2::/64,fd00:1::/64", likely},
		{"onlink", "192.168.2.0/24", "192.168.2.0/24", none},
		{"onlink", "192.168.2.7/32", "192.168.2.7/32", none},
		{"onlink,2001:db8:2::/56", "192.168.2.0/24,2001:db8:2::10/128", "192.168.2.0/24,2001:db8:2::/56", ""},
		{"onlink,::/0", "192.168.2.0/24", "192.168.2.0/24,::/0", ""},
		{"10.0.0.0/8", "2001:db8:2::10/128", "10.0.0.0/8", ""},
	} {
		f := facts.Facts{Parent: "eth0"}
		for _, p := range strings.Split(test.onlink, ",") {
			f.OnLink = append(f.OnLink, netip.MustParsePrefix(p))
		}
		got, warnings, err := Resolve(configured(t, test.deny, ""), f)
		if err != nil {
			t.Errorf("deny %s, on link %s: %v", test.deny, test.onlink, err)
			continue
		}
		if denied := strings.Join(lines(got.Deny), ","); denied != test.denied {
			t.Errorf("deny %s, on link %s: denied %s, want %s", test.deny, test.onlink, denied, test.denied)
		}
		for _, text := range []string{none, likely} {
			if warned := slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, text) }); warned != (text == test.warning) {
				t.Errorf("deny %s, on link %s: warnings %q, want %q", test.deny, test.onlink, warnings, test.warning)
			}
		}
	}
}
