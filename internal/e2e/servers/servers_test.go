//go:build e2e

package servers

import (
	"bytes"
	"testing"

	"macvtap-filter/internal/e2e/frames"
)

// Without rules all that a guest sends in another host's name arrives.
func TestPosesArriveWithoutRules(t *testing.T) {
	s := newSite(t, "first")
	tap, err := s.AddMacvtap(vmDevice, guestMAC)
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.Open(); err != nil {
		t.Fatal(err)
	}
	if err := tap.Up(); err != nil {
		t.Fatal(err)
	}
	(&guest{site: s, tap: tap}).expectPoses(t, "without rules", true)
}

// A guest gets a lease of each server by each client, renews it, gives it back and gets one again. Each address is known
// as DHCP's, what the guest sends from it passes, and nothing in another's name, neither before nor after.
func TestLeases(t *testing.T) {
	eachPair(t, servers4, clients4, func(t *testing.T, s *site, g *guest, c client) {
		running := c.start(t, g)
		g.expectLeased(t)
		g.expectRenewal(t, c, running)
		g.expectLeased(t)
		c.release(t, g, running)
		await(t, "the lease given back", func() bool { return s.wire.Count(isMessage4(7, nil)) > 0 })

		before := g.acks()
		c.start(t, g)
		await(t, "another lease", func() bool { return g.acks() > before })
		g.expectLeased(t)
		g.expectPoses(t, "after it has a lease again", false)
	})
}

// eachPair has a guest meet each server by each client, where rules learn in one way or the other. Before, it can pose as
// nobody.
func eachPair(t *testing.T, servers []server, clients []client, test func(*testing.T, *site, *guest, client)) {
	for i, sv := range servers {
		for j, c := range clients {
			learn := []string{"first", "dhcp"}[(i+j)%2]
			t.Run(sv.name+"/"+c.name+"/"+learn, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, learn)
				g := newGuest(t, s)
				g.expectPoses(t, "before there is a lease", false)
				sv.start(t, s)
				test(t, s, g, c)
			})
		}
	}
}

// expectLeased waits until the guest uses an address of the server's, and fails unless that is known, and the internet
// hears of the guest by it.
func (g *guest) expectLeased(t *testing.T) {
	t.Helper()
	a := g.awaitAddress(t, pool4)
	g.expectKnown(t, a, "dhcp")
	g.expectInternet(t, a)
	g.expectPoses(t, "with a lease", false)
}

// expectRenewal waits until a lease is renewed: the guest asks with its address inside, and is answered.
func (g *guest) expectRenewal(t *testing.T, c client, running *daemon) {
	t.Helper()
	a, before := g.awaitAddress(t, pool4), g.acks()
	if c.renew != nil {
		c.renew(t, g, running)
	}
	await(t, "the lease renewed", func() bool {
		return g.site.wire.Count(isMessage4(3, a.AsSlice())) > 0 && g.acks() > before
	})
}

// acks counts DHCP's acknowledgments that came to the guest.
func (g *guest) acks() int {
	return g.seen.Count(func(f frames.Frame) bool { return !f.Sent && isMessage4(5, nil)(f) })
}

// isMessage4 matches DHCP messages of a type, from the client's address if there is one: the type is an option, the
// address the field ciaddr (RFC 2131, 2).
func isMessage4(kind byte, from []byte) func(frames.Frame) bool {
	const dhcp, ciaddr, cookie = 14 + 20 + 8, 12, 236
	return func(f frames.Frame) bool {
		if len(f.Data) < dhcp+cookie+4 || !bytes.Equal(f.Data[dhcp+cookie:dhcp+cookie+4], []byte{0x63, 0x82, 0x53, 0x63}) {
			return false
		}
		message := f.Data[dhcp:]
		return (from == nil || bytes.Equal(message[ciaddr:ciaddr+4], from)) && bytes.Contains(message[cookie+4:], []byte{53, 1, kind})
	}
}

// A guest gets an IPv6 address of each DHCP server by each client, and keeps it by renewals.
func TestLeases6(t *testing.T) {
	eachPair(t, servers6, clients6, func(t *testing.T, s *site, g *guest, c client) {
		running := c.start(t, g)
		g.expectLeased6(t)
		replies := g.replies6()
		await(t, "the lease renewed", func() bool { return s.wire.Count(isMessage6(5)) > 0 && g.replies6() > replies })
		g.expectLeased6(t)

		c.release(t, g, running)
		replies = g.replies6()
		c.start(t, g)
		await(t, "another lease", func() bool { return g.replies6() > replies })
		g.expectLeased6(t)
	})
}

func (g *guest) expectLeased6(t *testing.T) {
	t.Helper()
	a := g.awaitAddress(t, pool6)
	g.expectKnown(t, a, "probe")
	g.expectInternet(t, a)
	g.expectPoses(t, "with a lease", false)
}

// replies6 counts DHCPv6's replies that came to the guest.
func (g *guest) replies6() int {
	return g.seen.Count(func(f frames.Frame) bool { return !f.Sent && isMessage6(7)(f) })
}

// isMessage6 matches DHCPv6 messages of a type (RFC 8415, 7.3).
func isMessage6(kind byte) func(frames.Frame) bool {
	const udp = 14 + 40
	return func(f frames.Frame) bool {
		if len(f.Data) < udp+9 || f.Data[12] != 0x86 || f.Data[20] != 17 {
			return false
		}
		from, to := int(f.Data[udp])<<8|int(f.Data[udp+1]), int(f.Data[udp+2])<<8|int(f.Data[udp+3])
		return (from == 547 || to == 547) && f.Data[udp+8] == kind
	}
}
