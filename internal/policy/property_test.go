package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
)

// The properties are tried in a world small enough to ask about all of it: 24
// addresses of each family, and ports at both ends of what there is.
var (
	worldAddrs = slices.Concat(addrsFrom("10.0.0.0", 24), addrsFrom("2001:db8::", 24))
	worldPorts = []uint16{1, 2, 3, 4, 5, 6, 7, 8, 65533, 65534, 65535}
	protos     = []struct {
		name   string
		number byte
	}{{"tcp", 6}, {"udp", 17}}
)

func addrsFrom(first string, n int) []netip.Addr {
	out := []netip.Addr{netip.MustParseAddr(first)}
	for len(out) < n {
		out = append(out, out[len(out)-1].Next())
	}
	return out
}

// randomEntry makes an entry of the small world.
func randomEntry(r *rand.Rand, ported bool) string {
	half := len(worldAddrs) / 2
	from := r.IntN(half)
	to := min(from+r.IntN(6), half-1)
	if r.IntN(2) == 0 {
		from, to = from+half, to+half
	}
	text := worldAddrs[from].String() + "-" + worldAddrs[to].String()
	if !ported {
		return text
	}
	for range 1 + r.IntN(3) {
		first := r.IntN(len(worldPorts))
		last := first + r.IntN(len(worldPorts)-first)
		text += fmt.Sprintf(" %s/%d-%d", protos[r.IntN(len(protos))].name, worldPorts[first], worldPorts[last])
	}
	return text
}

// holds reports whether entries hold a peer's service.
func holds(all []config.Entry, a netip.Addr, proto byte, port uint16) bool {
	return slices.ContainsFunc(all, func(e config.Entry) bool {
		return e.Range.Contains(a) && (len(e.Services) == 0 || slices.ContainsFunc(e.Services, func(s config.Service) bool {
			return s.Proto == proto && s.From <= port && port <= s.To
		}))
	})
}

// covering counts the pieces of a resolved policy that hold a peer's service.
func (p Policy) covering(a netip.Addr, proto byte, port uint16) (whole, ported int) {
	for _, h := range p.Hosts {
		if h == a {
			whole++
		}
	}
	for _, r := range p.Ranges {
		if r.Contains(a) {
			whole++
		}
	}
	for _, s := range p.Services {
		if s.Proto == proto && s.From <= port && port <= s.To && s.Peers.Contains(a) {
			ported++
		}
	}
	return whole, ported
}

// What a policy's pieces hold is what its entries hold, no more and no less, and
// no two pieces of one kind hold the same: the kernel's sets refuse that.
func TestPiecesAreTheEntries(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		p := config.Policy{Name: "test"}
		for n := range r.IntN(8) {
			p.Allow = append(p.Allow, mustEntry(t, randomEntry(r, n%3 > 0)))
		}
		for range r.IntN(8) {
			p.Deny = append(p.Deny, mustEntry(t, randomEntry(r, false)))
		}
		got, _, err := Resolve(p, facts.Facts{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range worldAddrs {
			if denied := holds(p.Deny, a, 0, 0); denied != slices.ContainsFunc(got.Deny, func(d netip.Prefix) bool { return d.Contains(a) }) {
				t.Fatalf("round %d: deny %q: %s denied: %t, in the pieces %s otherwise", round, p.Deny, a, denied, got.Deny)
			}
			for _, proto := range protos {
				for _, port := range worldPorts {
					whole, ported := got.covering(a, proto.number, port)
					if want := holds(p.Allow, a, proto.number, port); want != (whole+ported > 0) {
						t.Fatalf("round %d: allow %q: %s %s/%d allowed: %t, in the pieces otherwise", round, p.Allow, a, proto.name, port, want)
					}
					if whole > 1 || ported > 1 {
						t.Fatalf("round %d: allow %q: %s %s/%d stands %d times whole and %d times by port", round, p.Allow, a, proto.name, port, whole, ported)
					}
				}
			}
		}
		checkOrder(t, got)
	}
}

func mustEntry(t *testing.T, text string) config.Entry {
	t.Helper()
	e, err := config.ParseEntry(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// checkOrder holds a policy against what the fields of Policy promise.
func checkOrder(t *testing.T, p Policy) {
	t.Helper()
	for i, d := range p.Deny[min(1, len(p.Deny)):] {
		if !p.Deny[i].Addr().Less(d.Addr()) || p.Deny[i].Overlaps(d) {
			t.Fatalf("deny: %s, then %s", p.Deny[i], d)
		}
	}
	if !slices.IsSortedFunc(p.Hosts, netip.Addr.Compare) {
		t.Fatalf("hosts out of order: %s", p.Hosts)
	}
	byFrom := func(a, b netipx.IPRange) int { return a.From().Compare(b.From()) }
	if !slices.IsSortedFunc(p.Ranges, byFrom) {
		t.Fatalf("ranges out of order: %s", p.Ranges)
	}
	if !slices.IsSortedFunc(p.Services, func(a, b Service) int { return byFrom(a.Peers, b.Peers) }) {
		t.Fatalf("services out of order: %+v", p.Services)
	}
}
