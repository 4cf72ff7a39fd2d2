package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
)

// TestWarnings shows what is hardly meant, and what is.
func TestWarnings(t *testing.T) {
	known := facts.Facts{
		Parent: "eth0", Gateway: []netip.Addr{netip.MustParseAddr("192.168.2.1")},
		Broadcast: []netip.Addr{netip.MustParseAddr("192.168.2.255")},
		OnLink:    []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")},
	}
	for entry, want := range map[string]string{
		"gateway":              "",
		"192.168.2.9":          "",
		"192.168.2.9 tcp/22":   "",
		"192.168.0.0/16":       `allow "192.168.0.0/16" opens the whole LAN, 192.168.2.0/24, which deny holds`,
		"192.168.0.0/16 udp/9": "",
		"192.168.2.0/25":       "",
		"onlink":               `allow "onlink" opens the whole LAN, 192.168.2.0/24, 2001:db8:2::/64`,
		"2001:db8::/32":        `allow "2001:db8::/32" opens the whole LAN, 2001:db8:2::/64`,
		"198.51.100.7":         `allow "198.51.100.7" opens nothing: deny does not hold it`,
		"198.51.100.7 tcp/443": `allow "198.51.100.7 tcp/443" opens nothing`,
		"2001:db9::1":          `allow "2001:db9::1" opens nothing`,
		"224.0.0.251 udp/5353": "",
		"ff02::fb":             "",
		"255.255.255.255":      "",
		"64:ff9b::c000:201":    "",
		"169.254.0.0/16":       "",
		"127.0.0.1":            "",
		"fe80::/10":            `allow "fe80::/10" opens the whole LAN, fe80::/64`,
		"fe80::1":              "",
	} {
		c, err := config.Parse("c", []byte("parents = ['eth0']\n[policy.default]\ndeny = ['192.168.0.0/16', 'onlink', 'fe80::/10', 'fc00::/7']\nallow = ['192.168.2.1', '"+entry+"']\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, warnings, err := Resolve(c.Default(), known)
		if err != nil {
			t.Fatal(err)
		}
		said := strings.Join(warnings, "\n")
		if want == "" && said != "" || !strings.Contains(said, want) {
			t.Errorf("allow %q: says %q, want %q", entry, said, want)
		}
	}
}

// TestRouterWarnings shows what opens a router's services beside "router", and what keeps a VM from
// hearing router advertisements.
func TestRouterWarnings(t *testing.T) {
	known := facts.Facts{
		Parent: "eth0", Gateway: []netip.Addr{netip.MustParseAddr("192.168.2.1"), netip.MustParseAddr("fe80::1")}, DNS: []netip.Addr{netip.MustParseAddr("192.168.2.1")},
		OnLink: []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")},
	}
	const whole, unheard = `opens all services of the router, which "router" would leave closed`, `the VM hears no router advertisement: of [fe80::1]`
	for rules, want := range map[string]string{
		`allow = ['router', 'dns udp/53 tcp/53']`:                                       "",
		`allow = ['router udp/53']`:                                                     "",
		`allow = ['gateway']`:                                                           "",
		`allow = ['router', 'dns']`:                                                     `allow "dns" ` + whole,
		`allow = ['router', 'gateway']`:                                                 `allow "gateway" ` + whole,
		`allow = ['router', '192.168.2.0/28']`:                                          `allow "192.168.2.0/28" ` + whole,
		`allow = ['gateway udp/53']`:                                                    unheard,
		"allow = ['gateway udp/53']\nipv6 = 'drop'":                                     "",
		"allow = ['gateway udp/53', 'router']":                                          "",
		`allow = ['gateway udp/53', 'fe80::1']`:                                         "",
		"allow = ['router']\ndeny = ['192.168.2.64/26', 'fc00::/7', '2001:db8:2::/64']": `"router" in allow closes no service of [192.168.2.1 fe80::1], which deny does not hold`,
	} {
		c, err := config.Parse("c", []byte("parents = ['eth0']\n[policy.default]\n"+rules+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, warnings, err := Resolve(c.Default(), known)
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Join(warnings, "\n"); want == "" && said != "" || !strings.Contains(said, want) {
			t.Errorf("%s: says %q, want %q", rules, said, want)
		}
	}
}

// TestUnlearned shows that learning beside spoofing = "pass" is told of, which learns nothing.
func TestUnlearned(t *testing.T) {
	known := facts.Facts{Parent: "eth0", Gateway: []netip.Addr{netip.MustParseAddr("192.168.2.1")}}
	const want = `spoofing = "pass": no address is learned, the VM may use any`
	for written, warned := range map[string]bool{
		"spoofing = 'pass'\nlearn = 'first'\n":                                   true,
		"spoofing = 'pass'\nlearn = 'off'\n":                                     false,
		"spoofing = 'drop'\nlearn = 'first'\n":                                   false,
		"spoofing = 'pass'\n[[vm]]\nname = 'web-1'\naddresses = ['dhcp']\n":      true,
		"spoofing = 'pass'\n[[vm]]\nname = 'web-1'\naddresses = ['slaac']\n":     true,
		"spoofing = 'pass'\n[[vm]]\nname = 'web-1'\naddresses = ['192.0.2.7']\n": false,
	} {
		c, err := config.Parse("c", []byte("parents = ['eth0']\n[policy.default]\ndeny = ['192.168.0.0/16']\nallow = ['192.168.2.1']\n"+written))
		if err != nil {
			t.Fatal(err)
		}
		_, warnings, err := Resolve(c.Policy(config.NIC{VM: "web-1"}), known)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(warnings, want) != warned {
			t.Errorf("%q: says %q", written, warnings)
		}
	}
}
