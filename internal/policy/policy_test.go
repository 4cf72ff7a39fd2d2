package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
)

var known = facts.Facts{
	Parent:    "eth0",
	Gateway:   []netip.Addr{netip.MustParseAddr("192.168.2.1"), netip.MustParseAddr("fe80::1")},
	DNS:       []netip.Addr{netip.MustParseAddr("192.168.2.53")},
	Broadcast: []netip.Addr{netip.MustParseAddr("192.168.2.255")},
	OnLink:    []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")},
}

// configured makes a policy of entries separated by commas.
func configured(t *testing.T, deny, allow string) config.Policy {
	t.Helper()
	p := config.Policy{Name: "test"}
	p.Deny, p.Allow = entries(t, deny), entries(t, allow)
	return p
}

func entries(t *testing.T, list string) []config.Entry {
	t.Helper()
	var out []config.Entry
	for text := range strings.SplitSeq(list, ",") {
		if text == "" {
			continue
		}
		e, err := config.ParseEntry(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// lines writes what a list holds, one element a line.
func lines[E any](list []E) []string {
	out := []string{}
	for _, e := range list {
		switch e := any(e).(type) {
		case Service:
			out = append(out, fmt.Sprintf("%s %d/%d-%d", e.Peers, e.Proto, e.From, e.To))
		default:
			out = append(out, fmt.Sprint(e))
		}
	}
	return out
}

func TestResolve(t *testing.T) {
	tests := []struct {
		about, deny, allow            string
		denied, hosts, ranges, ported []string
	}{
		{
			about: "words", deny: "onlink,fe80::/10", allow: "gateway,dns,broadcast",
			denied: []string{"192.168.2.0/24", "2001:db8:2::/64", "fe80::/10"},
			hosts:  []string{"192.168.2.1", "192.168.2.53", "fe80::1"},
		},
		{
			about:  "denied prefixes within others are merged",
			deny:   "192.168.0.0/16,onlink,192.168.3.7,10.0.0.0/9,10.128.0.0/9",
			denied: []string{"10.0.0.0/8", "192.168.0.0/16", "2001:db8:2::/64"},
		},
		{about: "a denied range", deny: "10.0.0.1-10.0.0.4", denied: []string{"10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"}},
		{about: "all there is", deny: "0.0.0.0/1,128.0.0.0/1,::/0", denied: []string{"0.0.0.0/0", "::/0"}},
		{about: "a denied word of both families", deny: "gateway", denied: []string{"192.168.2.1/32", "fe80::1/128"}},
		{
			about: "hosts within ranges, twice, out of order", deny: "10.0.0.0/8",
			allow:  "10.0.0.9,10.0.0.3,10.0.0.9,10.0.0.0/30",
			denied: []string{"10.0.0.0/8"}, hosts: []string{"10.0.0.9"}, ranges: []string{"10.0.0.0-10.0.0.3"},
		},
		{
			about: "ranges that meet and overlap", deny: "10.0.0.0/8", allow: "10.0.0.0-10.0.0.7,10.0.0.8-10.0.0.15,10.0.0.4-10.0.0.20",
			denied: []string{"10.0.0.0/8"}, ranges: []string{"10.0.0.0-10.0.0.20"},
		},
		{about: "a range of one", deny: "10.0.0.0/8", allow: "10.0.0.1-10.0.0.1,10.0.0.2/32", denied: []string{"10.0.0.0/8"}, hosts: []string{"10.0.0.1", "10.0.0.2"}},
		{
			about: "services do not open the whole peer", deny: "onlink", allow: "dns udp/53 tcp/53",
			denied: []string{"192.168.2.0/24", "2001:db8:2::/64"},
			ported: []string{"192.168.2.53-192.168.2.53 6/53-53", "192.168.2.53-192.168.2.53 17/53-53"},
		},
		{
			about: "services that overlap in ports and addresses", deny: "10.0.0.0/8",
			allow:  "10.0.0.0/30 tcp/1-10,10.0.0.2-10.0.0.5 tcp/5-65535",
			denied: []string{"10.0.0.0/8"},
			ported: []string{"10.0.0.0-10.0.0.3 6/1-4", "10.0.0.0-10.0.0.5 6/5-10", "10.0.0.2-10.0.0.5 6/11-65535"},
		},
		{
			about: "the gateways as routers", deny: "onlink,fe80::/10", allow: "router",
			denied: []string{"192.168.2.0/24", "2001:db8:2::/64", "fe80::/10"},
			ported: []string{"192.168.2.1-192.168.2.1 17/67-67", "fe80::1-fe80::1 17/547-547"},
		},
		{
			about: "routers that are name servers, too", deny: "onlink,fe80::/10", allow: "router udp/53",
			denied: []string{"192.168.2.0/24", "2001:db8:2::/64", "fe80::/10"},
			ported: []string{"192.168.2.1-192.168.2.1 17/53-53", "192.168.2.1-192.168.2.1 17/67-67", "fe80::1-fe80::1 17/53-53", "fe80::1-fe80::1 17/547-547"},
		},
		{about: "nothing at all"},
	}
	for _, test := range tests {
		t.Run(test.about, func(t *testing.T) {
			got, warnings, err := Resolve(configured(t, test.deny, test.allow), known)
			warnings = slices.DeleteFunc(warnings, func(w string) bool {
				return strings.Contains(w, "finds no router") || strings.Contains(w, "not fe80::/10")
			})
			if err != nil || len(warnings) > 0 {
				t.Fatalf("error %v, warnings %q", err, warnings)
			}
			for _, list := range []struct {
				name      string
				want, got []string
			}{
				{"deny", test.denied, lines(got.Deny)}, {"hosts", test.hosts, lines(got.Hosts)},
				{"ranges", test.ranges, lines(got.Ranges)}, {"services", test.ported, lines(got.Services)},
			} {
				if diff := cmp.Diff(append([]string{}, list.want...), list.got); diff != "" {
					t.Errorf("%s: -want +got:\n%s", list.name, diff)
				}
			}
		})
	}
}

// A LAN that is allowed whole is so with its broadcast address.
func TestBroadcasts(t *testing.T) {
	unknown := facts.Facts{Parent: "enp88s0", Broadcast: []netip.Addr{limitedBroadcast}}
	for _, test := range []struct {
		allow string
		facts facts.Facts
		want  []string
	}{
		{"192.168.2.255", known, []string{"192.168.2.255-192.168.2.255 6/1-65535", "192.168.2.255-192.168.2.255 17/1-65535"}},
		{"192.168.2.0/24", known, []string{"192.168.2.255-192.168.2.255 6/1-65535", "192.168.2.255-192.168.2.255 17/1-65535"}},
		{"192.168.2.9-192.168.3.9", known, []string{"192.168.2.255-192.168.2.255 6/1-65535", "192.168.2.255-192.168.2.255 17/1-65535"}},
		{"192.168.2.0/24 udp/9", known, []string{"192.168.2.255-192.168.2.255 17/9-9"}},
		{"192.168.2.0/25", known, nil},
		{"192.168.3.0/24", known, nil},
		{"broadcast", known, nil},
		{"0.0.0.0/0 udp/9", unknown, nil},
		{"192.168.2.0/24 udp/9", unknown, []string{"192.168.2.255-192.168.2.255 17/9-9"}},
		{"192.168.2.0-192.168.2.9", unknown, nil},
	} {
		got, _, err := Resolve(configured(t, "10.0.0.0/8", test.allow), test.facts)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append([]string{}, test.want...), lines(got.Broadcasts)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.allow, diff)
		}
	}
}

// A deny word that stands for nothing must never be read as "deny nothing".
func TestResolveEmptyDenyWord(t *testing.T) {
	for _, word := range []string{"gateway", "dns", "broadcast", "onlink"} {
		_, _, err := Resolve(configured(t, "10.0.0.0/8,"+word, ""), facts.Facts{Parent: "eth0"})
		if err == nil {
			t.Errorf("deny %q resolved to nothing", word)
			continue
		}
		for _, want := range []string{`policy "test"`, `deny "` + word + `" stands for nothing`, "write"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q lacks %q", err, want)
			}
		}
	}
}

// An allow word that stands for nothing allows nothing, and is warned about.
func TestResolveEmptyAllowWord(t *testing.T) {
	for _, word := range []string{"gateway", "dns", "broadcast", "onlink"} {
		for _, entry := range []string{word, word + " tcp/80"} {
			got, warnings, err := Resolve(configured(t, "10.0.0.0/8", entry), facts.Facts{Parent: "eth0"})
			if err != nil {
				t.Errorf("allow %q: %v", entry, err)
				continue
			}
			if len(got.Hosts)+len(got.Ranges)+len(got.Services) > 0 {
				t.Errorf("allow %q allows %+v", entry, got)
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], `allow "`+entry+`" stands for nothing`) || !strings.Contains(warnings[0], "write") {
				t.Errorf("allow %q: warnings %q", entry, warnings)
			}
		}
	}
}

func TestNeedsFacts(t *testing.T) {
	for _, test := range []struct {
		deny, allow string
		want        bool
	}{
		{"", "", false}, {"10.0.0.0/8", "10.0.0.1 tcp/80", false},
		{"onlink", "", true}, {"10.0.0.0/8", "10.0.0.1,dns udp/53", true},
	} {
		if got := NeedsFacts(configured(t, test.deny, test.allow)); got != test.want {
			t.Errorf("deny %q, allow %q: %t, want %t", test.deny, test.allow, got, test.want)
		}
	}
}

// The order of the entries changes nothing.
func TestResolveOrder(t *testing.T) {
	a, _, errA := Resolve(configured(t, "10.0.0.0/8,onlink", "10.0.0.1,10.0.0.2 tcp/1-9,gateway,10.0.0.0/24 tcp/5"), known)
	b, _, errB := Resolve(configured(t, "onlink,10.0.0.0/8", "10.0.0.0/24 tcp/5,gateway,10.0.0.2 tcp/1-9,10.0.0.1"), known)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	same := cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netipx.IPRange) bool { return a == b }), cmp.AllowUnexported(config.Entry{}, config.Service{}),
	}
	if diff := cmp.Diff(a, b, same); diff != "" {
		t.Error(diff)
	}
}

// A policy that leaves the VM no router is right, and warned about.
func TestResolveWithoutARouter(t *testing.T) {
	for _, test := range []struct {
		deny, allow string
		warned      bool
	}{
		{"192.168.0.0/16,fe80::/10", "dns", true},
		{"192.168.0.0/16,fe80::/10", "gateway", false},
		{"192.168.0.0/16,fe80::/10", "192.168.2.0/28", false},
		{"192.168.0.0/16,fe80::/10", "192.168.2.1 udp/53", false}, // ARP finds it
		{"192.168.0.0/16,fe80::/10", "fe80::1 udp/53", true},      // its advertisements do not pass
		{"192.168.0.0/16", "", false},                             // the IPv6 router is not denied
		{"10.0.0.0/8", "", false},
	} {
		_, warnings, err := Resolve(configured(t, test.deny, test.allow), known)
		if err != nil {
			t.Fatal(err)
		}
		warned := slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "finds no router") })
		if warned != test.warned {
			t.Errorf("deny %q, allow %q: warnings %q", test.deny, test.allow, warnings)
		}
	}
}

// Nobody but a router is its address, and no name server that may be asked is the VM,
// however these are allowed.
func TestClaimed(t *testing.T) {
	for _, test := range []struct{ deny, allow, own, want string }{
		{"192.168.0.0/16", "gateway,dns,broadcast", "", "192.168.2.1,192.168.2.53,192.168.2.255,fe80::1"},
		{"192.168.0.0/16,onlink", "192.168.2.0/28,192.168.2.99", "", "192.168.2.1,192.168.2.99,192.168.2.255,fe80::1"},
		{"192.168.0.0/16,onlink", "onlink udp/53", "", "192.168.2.1,192.168.2.53,192.168.2.255,fe80::1"},
		{"192.168.3.0/24", "gateway", "", "192.168.2.1,192.168.2.255,fe80::1"},
		{"192.168.0.0/16", "gateway,dns", "192.168.2.53", "192.168.2.1,192.168.2.255,fe80::1"},
	} {
		p := configured(t, test.deny, test.allow)
		if test.own != "" {
			p.Addresses = []netip.Addr{netip.MustParseAddr(test.own)}
		}
		got, _, err := Resolve(p, known)
		if err != nil {
			t.Fatal(err)
		}
		if claimed := strings.Join(lines(got.Claimed), ","); claimed != test.want {
			t.Errorf("deny %s, allow %s: claimed %s, want %s", test.deny, test.allow, claimed, test.want)
		}
	}
}

func TestResolveWithoutLinkLocal(t *testing.T) {
	for _, test := range []struct {
		deny, allow string
		ipv6, want  bool
	}{
		{"192.168.0.0/16", "gateway", true, true},
		{"onlink", "gateway", true, true},
		{"onlink", "gateway", false, false},
		{"onlink,fe80::/10", "gateway", true, false},
		{"192.168.0.0/16", "gateway,fe80::/10", true, false}, // it is meant
		{"10.0.0.0/8", "", true, false},                      // not the LAN
	} {
		p := configured(t, test.deny, test.allow)
		p.DropIPv6 = !test.ipv6
		_, warnings, err := Resolve(p, known)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(warnings, " "), "not fe80::/10"); got != test.want {
			t.Errorf("deny %s, allow %s: warned %t, want %t: %q", test.deny, test.allow, got, test.want, warnings)
		}
	}
}
