//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"

	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/lab"
)

// roguePrefix is one that only the hidden host advertises.
const roguePrefix = "2001:db8:bad::"

// advertise has a host say, again and again, that it is a router and this /64 prefix is on its link, until the function
// that is returned is called. Each of its frames carries the text that is returned.
func advertise(t *testing.T, host *lab.Host, link, prefix string) (text string, stop func()) {
	t.Helper()
	var conn *icmp.PacketConn
	err := host.Do(func() (err error) {
		conn, err = icmp.ListenPacket("ip6:ipv6-icmp", link+"%eth0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Whoever hears one checks that no router has passed it on (RFC 4861, 6.1.2).
	if err := conn.IPv6PacketConn().SetMulticastHopLimit(255); err != nil {
		t.Fatal(err)
	}
	text = token()
	message := icmp.Message{Type: ipv6.ICMPTypeRouterAdvertisement,
		Body: &icmp.RawBody{Data: advertisement(host.MAC, netip.MustParseAddr(prefix), text)}}
	bytes, err := message.Marshal(nil) // the kernel fills in the checksum
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = conn.Close() }()
		for ctx.Err() == nil {
			_, _ = conn.WriteTo(bytes, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: "eth0"}) // the next one may do better
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond): // meant to be over
			}
		}
	}()
	return text, func() {
		cancel()
		<-done
	}
}

// advertisement is a router advertisement behind its checksum: a router for half an hour, its MAC address, and a prefix
// to make addresses of (RFC 4861, 4.2, 4.6.1, 4.6.2). A token is just long enough for an option of its own, of a type for
// experiments (RFC 4727, 6.1.3).
func advertisement(mac net.HardwareAddr, prefix netip.Addr, token string) []byte {
	b := []byte{64, 0}
	b = binary.BigEndian.AppendUint16(b, 1800)
	b = append(b, make([]byte, 8)...)
	b = append(append(b, 1, 1), mac...)
	b = append(b, 3, 4, 64, 0xc0) // on the link, and for addresses
	b = binary.BigEndian.AppendUint32(b, 3600)
	b = binary.BigEndian.AppendUint32(b, 1800)
	b = append(append(b, make([]byte, 4)...), prefix.AsSlice()...)
	return append(append(b, 253, 3), token...)
}

// awaitAddress waits until a guest's NIC has an address, and tells whether it has in time.
func awaitAddress(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, want netip.Prefix, limit time.Duration) bool {
	t.Helper()
	var got []string
	for end := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		got = nil
		if err := vm.Call(t.Context(), "Addresses", nic.Name, &got); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(got, want.String()) {
			return true
		}
		if time.Now().After(end) {
			t.Logf("%s %s has %v, and not %s", vm.Name, nic.Name, got, want)
			return false
		}
	}
}

// rogueAddress is what a NIC would make of the hidden host's prefix.
func rogueAddress(nic hypervisor.NIC) netip.Prefix {
	a := slaac(nic.MAC).As16()
	head := netip.MustParseAddr(roguePrefix).As16()
	copy(a[:8], head[:8])
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// expectAutoconfigured has a guest's kernel make its NIC's address of what the gateway advertises, while the hidden host
// advertises another prefix, of which no frame arrives.
func (s *site) expectAutoconfigured(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	rogue, stop := advertise(t, s.hidden, "fe80::77", roguePrefix)
	defer stop()
	s.expectOnWire(t, rogue)
	gateway, stop := advertise(t, s.peers[0].host, "fe80::1", lan6)
	defer stop()
	if !awaitAddress(t, vm, nic, nic.Addr6, answerTime) {
		t.Error("the gateway's router advertisements have given no address")
	}
	// What came before the gateway's advertisement has come by now: both are for all nodes.
	sight := guestrpc.Sight{NIC: nic.Name, Token: rogue, Until: gateway}
	var seen int
	if err := vm.Call(t.Context(), "Seen", sight, &seen); err != nil {
		t.Fatal(err)
	}
	if seen > 0 {
		t.Errorf("%s %s: %d of the hidden host's router advertisements arrived", vm.Name, nic.Name, seen)
	}
	if awaitAddress(t, vm, nic, rogueAddress(nic), 0) {
		t.Errorf("%s %s has an address by the hidden host's router advertisement", vm.Name, nic.Name)
	}
}

// expectRogueAddress has a guest's kernel make an address of what the hidden host advertises.
func (s *site) expectRogueAddress(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	_, stop := advertise(t, s.hidden, "fe80::77", roguePrefix)
	defer stop()
	if !awaitAddress(t, vm, nic, rogueAddress(nic), answerTime) {
		t.Error("the hidden host's router advertisements have given no address")
	}
}
