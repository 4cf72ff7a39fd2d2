//go:build e2e

package servers

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/lab"
)

// Who is on the LAN. hidden is the host that the default policy closes.
var (
	gateway4  = netip.MustParsePrefix("192.168.2.1/24")
	gateway6  = netip.MustParsePrefix("2001:db8:2::1/64")
	router6   = netip.MustParsePrefix("fe80::1/64")
	hidden4   = netip.MustParsePrefix("192.168.2.77/24")
	hidden6   = netip.MustParsePrefix("2001:db8:2::77/64")
	internet4 = netip.MustParseAddr("192.0.2.1")
	internet6 = netip.MustParseAddr("2001:db8:ffff::1")

	pool4 = netip.MustParsePrefix("192.168.2.128/25")
	pool6 = netip.MustParsePrefix("2001:db8:2::1:0/112")
	lan6  = netip.MustParsePrefix("2001:db8:2::/64")
)

var (
	gatewayMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	guestMAC   = net.HardwareAddr{0x52, 0x54, 0, 0xe2, 2, 1}
)

// echoPort is where the internet's host says back what it hears.
const echoPort = 7

// A site is a hypervisor on a LAN whose gateway is a namespace, and will have servers.
type site struct {
	*lab.Network
	learn   string
	gateway *lab.Host
	hidden  *lab.Host
	wire    *frames.Capture // the LAN's end of the hypervisor's cable
}

// newSite makes a site that ends with the test, whose rules learn as it is said.
func newSite(t *testing.T, learn string) *site {
	t.Helper()
	n, err := lab.New(lab.Options{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.10/24"), netip.MustParsePrefix("2001:db8:2::10/64")},
		Gateways:  []netip.Addr{gateway4.Addr(), router6.Addr()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{Network: n, learn: learn}
	s.gateway, err = n.AddHost("gateway", gatewayMAC, gateway4, router6, gateway6)
	if err != nil {
		t.Fatal(err)
	}
	internet, err := n.AddBehind(s.gateway, "internet", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0x99}, netip.PrefixFrom(internet4, 32), netip.PrefixFrom(internet6, 128))
	if err != nil {
		t.Fatal(err)
	}
	s.hidden, err = n.AddHost("hidden", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0x77}, hidden4, hidden6)
	config := fmt.Sprintf("parents = [%q]\n\n[policy.default]\nlearn = %q\n", n.Parent, learn)
	err = errors.Join(err, internet.EchoUDP(echoPort),
		n.Hypervisor.SetNeighbour(n.Parent, gateway4.Addr(), gatewayMAC), n.Hypervisor.SetNeighbour(n.Parent, router6.Addr(), gatewayMAC),
		n.Hypervisor.Hide("/run"), n.Hypervisor.Overlay("/run/macvtap-filter.toml", []byte(config)), n.Hypervisor.Overlay("/etc/resolv.conf", nil),
		n.LAN.Do(func() (err error) {
			s.wire, err = frames.Listen("uplink")
			return err
		}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
