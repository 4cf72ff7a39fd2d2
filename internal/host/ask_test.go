package host_test

import (
	"net"
	"testing"
	"time"

	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/lab"
)

// A host that has sent nothing yet knows no router's MAC address until it asks, and a
// router that does not answer is no error.
func TestAskGateways(t *testing.T) {
	for _, gateway := range []string{"192.168.2.1", "2001:db8:2::1", "fe80::1"} {
		t.Run(gateway, func(t *testing.T) {
			n := network(t, lab.Options{Addresses: prefixes("192.168.2.10/24", "2001:db8:2::10/64", "fe80::10/64"), Gateways: addrs(gateway)})
			ask := func(wait, again time.Duration) (f facts.Facts) {
				t.Helper()
				err := on(t, n.Hypervisor, func(h *host.Host) error {
					nic, err := h.NIC(n.Parent)
					if err == nil {
						f, err = h.AskGateways(nic, wait, again)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			if f := ask(10*time.Millisecond, bound); len(f.GatewayMACs) > 0 || len(f.Gateway) != 1 {
				t.Errorf("gateways %v with the MAC addresses %v, where nobody answers", f.Gateway, f.GatewayMACs)
			}
			if begun := time.Now(); len(ask(time.Hour, 10*time.Millisecond).GatewayMACs) > 0 || time.Since(begun) > time.Hour/2 {
				t.Error("who comes after somebody that asked in vain waits again")
			}
			router := net.HardwareAddr{2, 0, 0, 0, 2, 1}
			if _, err := n.AddHost("router", router, prefixes("192.168.2.1/24", "2001:db8:2::1/64", "fe80::1/64")...); err != nil {
				t.Fatal(err)
			}
			f := ask(bound, bound)
			if len(f.GatewayMACs) != 1 || net.HardwareAddr(f.GatewayMACs[0]).String() != router.String() {
				t.Errorf("the MAC addresses %v, want %s", f.GatewayMACs, router)
			}
		})
	}
}

// bound ends what hangs, and decides nothing else.
const bound = 5 * time.Minute

// An entry counts in whatever state, unless its address cannot be a router's.
func TestGatewayMACsOfEveryState(t *testing.T) {
	for _, test := range []struct{ mac, state, want string }{
		{"02:00:00:00:02:01", "permanent", "02:00:00:00:02:01"},
		{"02:00:00:00:02:01", "noarp", "02:00:00:00:02:01"},
		{"02:00:00:00:02:01", "reachable", "02:00:00:00:02:01"},
		{"02:00:00:00:02:01", "stale", "02:00:00:00:02:01"},
		{"02:00:00:00:02:01", "delay", "02:00:00:00:02:01"},
		{"02:00:00:00:02:01", "probe", "02:00:00:00:02:01"},
		{"01:00:5e:00:00:12", "permanent", ""},
		{"ff:ff:ff:ff:ff:ff", "permanent", ""},
		{"00:00:00:00:00:00", "noarp", ""},
	} {
		n := network(t, lab.Options{Addresses: prefixes("192.168.2.10/24"), Gateways: addrs("192.168.2.1")})
		ip(t, n, "neigh add 192.168.2.1 lladdr "+test.mac+" dev PARENT nud "+test.state)
		got := ""
		for _, mac := range factsOf(t, n.Hypervisor, n.Parent).GatewayMACs {
			got += net.HardwareAddr(mac).String()
		}
		if got != test.want {
			t.Errorf("%s, %s: MAC addresses %q, want %q", test.mac, test.state, got, test.want)
		}
	}
}
