//go:build e2e

package servers

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A guest makes itself addresses of what a router daemon advertises, temporary ones among them, which come and go (RFC
// 8981). Each is known by its probe, and what the guest sends from it passes.
func TestTemporaryAddresses(t *testing.T) {
	for _, daemon := range []server{
		{"radvd", func(t *testing.T, s *site) *daemon {
			return s.radvd(t, "", "AdvPreferredLifetime 600; AdvValidLifetime 1200;")
		}},
		{"dnsmasq", func(t *testing.T, s *site) *daemon {
			return s.dnsmasq(t, "--enable-ra", "--ra-param=eth0,10,600", "--dhcp-range=2001:db8:2::,ra-only,64,20m")
		}},
	} {
		for _, learn := range []string{"first", "dhcp"} {
			t.Run(daemon.name+"/"+learn, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, learn)
				g := newGuest(t, s)
				g.expectPoses(t, "before there is an address", false)
				// The kernel makes the next one some seconds before the one before is deprecated. Not sooner: a NIC may claim 16 addresses at once.
				if err := g.Do(func() error {
					return g.sysctl("use_tempaddr=2", "temp_prefered_lft=30", "temp_valid_lft=45", "max_desync_factor=0")
				}); err != nil {
					t.Fatal(err)
				}
				daemon.start(t, s)

				var first []netip.Addr
				await(t, "a temporary address", func() bool { first = g.temporary(t); return len(first) > 0 })
				g.expectUsed(t, first[0])
				g.expectUsed(t, g.permanent(t))
				var next []netip.Addr
				await(t, "another in its place", func() bool {
					next = g.temporary(t)
					return len(next) > 0 && !slices.Contains(next, first[0])
				})
				g.expectUsed(t, next[0])
				g.expectUsed(t, g.permanent(t))
				g.expectPoses(t, "with addresses", false)
			})
		}
	}
}

// expectUsed fails unless an address is known by its probe and the internet answers it.
func (g *guest) expectUsed(t *testing.T, a netip.Addr) {
	t.Helper()
	g.expectKnown(t, a, "probe")
	g.expectInternet(t, a)
}

// temporary gives the temporary addresses that the guest uses, the last made first.
func (g *guest) temporary(t *testing.T) []netip.Addr {
	return g.autoconfigured(t, unix.IFA_F_TEMPORARY)
}

// permanent gives the one that it made of its MAC address.
func (g *guest) permanent(t *testing.T) netip.Addr {
	t.Helper()
	var all []netip.Addr
	await(t, "an address made of the MAC address", func() bool { all = g.autoconfigured(t, 0); return len(all) > 0 })
	return all[0]
}

func (g *guest) autoconfigured(t *testing.T, temporary int) []netip.Addr {
	t.Helper()
	list, err := g.Links().AddrList(g.nic, unix.AF_INET6)
	if err != nil {
		t.Fatal(err)
	}
	used := g.addresses(t, lan6)
	var out []netip.Addr
	for _, a := range list {
		if addr, _ := netip.AddrFromSlice(a.IP); slices.Contains(used, addr) && a.Flags&unix.IFA_F_TEMPORARY == temporary {
			out = append(out, addr)
		}
	}
	return out
}
