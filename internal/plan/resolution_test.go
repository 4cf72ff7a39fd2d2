package plan

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/ruleset"
)

// The rules of a policy's second interface, made of the first one's, are those that would be
// made of nothing.
func TestRemembered(t *testing.T) {
	known := facts.Facts{
		Parent: "lan0", Gateway: []netip.Addr{netip.MustParseAddr("192.168.2.1")}, DNS: []netip.Addr{netip.MustParseAddr("192.168.2.53")},
		OnLink: []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24")}, GatewayMACs: []facts.MAC{{2, 0, 0, 0, 0, 1}},
	}
	for _, text := range []string{
		"",
		"[policy.default]\nisolate = true\ngateway_macs = [\"02:00:00:00:00:01\"]\n",
		"[policy.default]\nlog = true\n",
		"[policy.default]\nspoofing = \"pass\"\nipv6 = \"drop\"\n",
		"[[vm]]\nname = \"web-2\"\naddresses = [\"192.168.2.9\"]\n",
	} {
		c, err := config.Parse("config.toml", []byte("parents = [\"lan0\"]\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		network := Remember(Recorded{known})
		for n := range 3 {
			nic := domain.Interface{Number: 1, Target: fmt.Sprintf("macvtap%d", n), Parent: "lan0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(n)}}
			d := &domain.Domain{Name: fmt.Sprintf("web-%d", n+1), UUID: fmt.Sprintf("4b1d2f6a-6c1d-4c5e-9d3b-%012d", n), Direct: []domain.Interface{nic}}
			once, err := Make(d, c, network)
			if err != nil {
				t.Fatal(err)
			}
			alone, err := Make(d, c, Recorded{known})
			if err != nil {
				t.Fatal(err)
			}
			if diff := ruleset.Diff("alone", alone.Tables[0], "remembered", once.Tables[0]); diff != "" {
				t.Errorf("%s%s", text, diff)
			}
		}
	}
}
