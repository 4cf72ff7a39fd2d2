package lab

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"
)

var (
	gatewayMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	internetMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0xff}
)

func prefixes(t *testing.T, list ...string) []netip.Prefix {
	t.Helper()
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// The hypervisor reaches a host on the LAN, and one behind the gateway, by
// every service, in both families.
func TestHostsAnswer(t *testing.T) {
	n := newNetwork(t, Options{
		Addresses: prefixes(t, "192.168.2.10/24", "2001:db8:2::10/64"),
		Gateways:  []netip.Addr{netip.MustParseAddr("192.168.2.1"), netip.MustParseAddr("2001:db8:2::1")},
	})
	gateway, err := n.AddHost("gateway", gatewayMAC, prefixes(t, "192.168.2.1/24", "2001:db8:2::1/64", "fe80::1/64")...)
	if err != nil {
		t.Fatal(err)
	}
	neighbour, err := n.AddHost("neighbour", lanMAC, prefixes(t, "192.168.2.77/24", "2001:db8:2::77/64")...)
	if err != nil {
		t.Fatal(err)
	}
	internet, err := n.AddBehind(gateway, "internet", internetMAC, prefixes(t, "192.0.2.1/32", "2001:db8:ffff::1/128")...)
	if err != nil {
		t.Fatal(err)
	}
	hypervisor := &Host{Namespace: n.Hypervisor, Name: "hypervisor"}
	for _, host := range []*Host{neighbour, internet} {
		if err := host.EchoTCP(7); err != nil {
			t.Fatal(err)
		}
		if err := host.EchoUDP(7); err != nil {
			t.Fatal(err)
		}
		for _, family := range []int{4, 6} {
			t.Run("ping "+host.Addr(family).String(), func(t *testing.T) {
				got, err := hypervisor.Ping(host.Addr(family), bound)
				check(t, "ping", got, err, true)
			})
			for _, network := range []string{"tcp", "udp"} {
				to := netip.AddrPortFrom(host.Addr(family), 7)
				t.Run(network+" "+to.String(), func(t *testing.T) { echo(t, hypervisor, network, to) })
			}
		}
	}
}

func echo(t *testing.T, from *Host, network string, to netip.AddrPort) {
	conn, err := from.Dial(network, to, bound)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(bound)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	k, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf[:k], []byte("hello")) {
		t.Errorf("echo is %q", buf[:k])
	}
}
