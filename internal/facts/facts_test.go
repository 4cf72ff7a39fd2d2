package facts

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var known = Facts{
	Parent: "enp88s0", Names: []string{"lan0"},
	Gateway:   []netip.Addr{netip.MustParseAddr("192.168.2.1"), netip.MustParseAddr("fe80::1")},
	DNS:       []netip.Addr{},
	Broadcast: []netip.Addr{netip.MustParseAddr("255.255.255.255")},
	OnLink:    []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")},
}

var comparers = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// What Write writes of several parents, Read reads.
func TestReadWhatWriteWrites(t *testing.T) {
	want := []Facts{known, {Parent: "eth1", Gateway: []netip.Addr{}, DNS: []netip.Addr{}, Broadcast: []netip.Addr{}, OnLink: []netip.Prefix{}}}
	var b bytes.Buffer
	for _, f := range want {
		if err := f.Write(&b); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, comparers); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
}

// The form of the file is a promise to whoever keeps one.
func TestWrite(t *testing.T) {
	var b bytes.Buffer
	if err := known.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `{
  "parent": "enp88s0",
  "names": [
    "lan0"
  ],
  "gateway": [
    "192.168.2.1",
    "fe80::1"
  ],
  "dns": [],
  "broadcast": [
    "255.255.255.255"
  ],
  "onlink": [
    "192.168.2.0/24",
    "2001:db8:2::/64"
  ]
}
`
	// Facts that later versions add are no concern of this test.
	if got := b.String(); !strings.HasPrefix(got, strings.TrimSuffix(want, "\n}\n")) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestReadErrors(t *testing.T) {
	tests := []struct{ about, text, want string }{
		{"empty", "", "want the JSON"},
		{"blank", " \n", "want the JSON"},
		{"no JSON", "parent: eth0", "want the JSON"},
		{"ends in the middle", `{"parent":"eth0"`, "want the JSON"},
		{"a second one ends in the middle", `{"parent":"eth0"}{`, "want the JSON"},
		{"list", `[{"parent":"eth0"}]`, "want the JSON"},
		{"no parent", `{"gateway":["192.168.2.1"]}`, `names no "parent"`},
		{"null", `null`, `names no "parent"`},
		{"unknown key", `{"parent":"eth0","gatway":[]}`, `unknown field "gatway"`},
		{"bad address", `{"parent":"eth0","gateway":["192.168.2.300"]}`, "192.168.2.300"},
		{"no address", `{"parent":"eth0","dns":[""]}`, `parent "eth0": "invalid IP" is no`},
		{"address with a zone", `{"parent":"eth0","gateway":["fe80::1%eth0"]}`, "without a zone"},
		{"IPv4 in IPv6", `{"parent":"eth0","broadcast":["::ffff:192.168.2.255"]}`, "is no IPv4 or IPv6 address"},
		{"bad prefix", `{"parent":"eth0","onlink":["192.168.2.0/33"]}`, "192.168.2.0/33"},
		{"no prefix", `{"parent":"eth0","onlink":[""]}`, "is no prefix"},
	}
	for _, test := range tests {
		t.Run(test.about, func(t *testing.T) {
			_, err := Read(strings.NewReader(test.text))
			if err == nil || !strings.HasPrefix(err.Error(), "facts: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want \"facts: … %s\"", err, test.want)
			}
		})
	}
}

// Only the MAC addresses of the very same gateways are remembered, and only where none is
// known.
func TestRemember(t *testing.T) {
	one, two := []netip.Addr{netip.MustParseAddr("192.168.2.1")}, []netip.Addr{netip.MustParseAddr("192.168.2.2")}
	a, b := []MAC{{2, 0, 0, 0, 0, 1}}, []MAC{{2, 0, 0, 0, 0, 2}}
	for _, test := range []struct {
		name               string
		now, earlier, want Facts
	}{
		{"forgotten", Facts{Gateway: one}, Facts{Gateway: one, GatewayMACs: a}, Facts{Gateway: one, GatewayMACs: a}},
		{"moved", Facts{Gateway: one, GatewayMACs: b}, Facts{Gateway: one, GatewayMACs: a}, Facts{Gateway: one, GatewayMACs: b}},
		{"another gateway", Facts{Gateway: two}, Facts{Gateway: one, GatewayMACs: a}, Facts{Gateway: two}},
	} {
		if got := test.now.Remember(test.earlier); !got.Equal(test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}
