package watch_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"macvtap-filter/internal/lab"
)

// isolated has a VM reach the router's own MAC address alone.
const isolated = "parents = [\"enp88s0\"]\n[policy.default]\nisolate = true\n"

// TestFollowsARouterThatTakesOver shows a host that has not spoken to its router, then a
// second router that takes the address over (RFC 5798, 8.2.1, and RFC 4861, 7.2.6): the
// host hears of it, and sends nothing itself.
func TestFollowsARouterThatTakesOver(t *testing.T) {
	for _, test := range []struct {
		name, gateway string
		announcement  func(mac net.HardwareAddr) []byte
	}{
		{"gratuitous ARP", "192.168.2.1", gratuitousARP},
		{"unsolicited neighbour advertisement", "fe80::1", unsolicitedNA},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, err := lab.New(lab.Options{
				Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.2/24"), netip.MustParsePrefix("fe80::2/64")},
				Gateways:  []netip.Addr{netip.MustParseAddr(test.gateway)},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = n.Close() })
			first, second := net.HardwareAddr{2, 0, 0, 0, 2, 1}, net.HardwareAddr{2, 0, 0, 0, 2, 2}
			if _, err := n.AddHost("first", first, netip.MustParsePrefix("192.168.2.1/24"), netip.MustParsePrefix("fe80::1/64")); err != nil {
				t.Fatal(err)
			}
			tap := plug(t, n, "macvtap0", webMAC)
			w := start(t, n, isolated)
			w.until("the first router is reached, and it alone", func() bool {
				return passesBy(t, n, tap, first) && !passesBy(t, n, tap, second)
			})
			wire, err := n.Wire()
			if err == nil {
				err = wire.Send(test.announcement(second))
			}
			if err != nil {
				t.Fatal(err)
			}
			w.until("the second router is reached, and it alone", func() bool {
				return passesBy(t, n, tap, second) && !passesBy(t, n, tap, first)
			})
		})
	}
}

// TestAsksForTheRouterOfAGuestThatRuns shows a VM that runs, and a host that has not spoken to
// its router: new rules, which know no router either, keep the VM's network.
func TestAsksForTheRouterOfAGuestThatRuns(t *testing.T) {
	n, err := lab.New(lab.Options{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.2/24")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.168.2.1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	router := net.HardwareAddr{2, 0, 0, 0, 2, 1}
	if _, err := n.AddHost("router", router, netip.MustParsePrefix("192.168.2.1/24")); err != nil {
		t.Fatal(err)
	}
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, "parents = [\"enp88s0\"]\n")
	w.until("it has rules", func() bool { return !passesBy(t, n, tap, net.HardwareAddr{2, 0, 0, 0, 2, 2}) })
	w.until("its router is reached", func() bool { return passesBy(t, n, tap, router) })
}

// passesBy reports whether a datagram to the internet arrives on the wire in a frame for
// a MAC address.
func passesBy(t *testing.T, n *lab.Network, tap *lab.Tap, mac net.HardwareAddr) bool {
	t.Helper()
	frame := datagram(tap.MAC, netip.MustParseAddr("192.0.2.1"))
	copy(frame, mac)
	arrived, err := n.FromVM(tap, frame)
	if err != nil {
		t.Fatal(err)
	}
	return arrived
}

// gratuitousARP says that 192.168.2.1 has a MAC address (RFC 5227, 3).
func gratuitousARP(mac net.HardwareAddr) []byte {
	address := []byte{192, 168, 2, 1}
	return bytes.Join([][]byte{
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, {8, 6},
		{0, 1, 8, 0, 6, 4, 0, 1}, mac, address, make([]byte, 6), address, make([]byte, 18),
	}, nil)
}

// unsolicitedNA says that fe80::1 has a MAC address (RFC 4861, 4.4): a router's, to
// override another one.
func unsolicitedNA(mac net.HardwareAddr) []byte {
	router := netip.MustParseAddr("fe80::1").AsSlice()
	all := netip.MustParseAddr("ff02::1").AsSlice()
	body := bytes.Join([][]byte{{136, 0, 0, 0, 0xa0, 0, 0, 0}, router, {2, 1}, mac}, nil)
	pseudo := bytes.Join([][]byte{router, all, {0, 0, 0, byte(len(body)), 0, 0, 0, 58}, body}, nil)
	sum := checksum(pseudo)
	body[2], body[3] = byte(sum>>8), byte(sum)
	return bytes.Join([][]byte{
		{0x33, 0x33, 0, 0, 0, 1}, mac, {0x86, 0xdd},
		{0x60, 0, 0, 0, 0, byte(len(body)), 58, 255}, router, all, body,
	}, nil)
}
