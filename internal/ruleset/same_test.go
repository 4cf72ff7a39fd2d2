package ruleset

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// Rules that the kernel cannot tell apart are the same; rules that it judges
// differently are not.
func TestNormal(t *testing.T) {
	port := func(f Field, n uint16) Compare { return Is(f, n) }
	v4 := netip.MustParsePrefix
	for _, test := range []struct {
		about string
		a, b  []Match
		same  bool
	}{
		{"a dependency written out", []Match{Is(Protocol, EtherTypeIPv4), Compare{IPSource, Equal, []byte{10, 0, 0, 1}}}, []Match{Compare{IPSource, Equal, []byte{10, 0, 0, 1}}}, true},
		{"two dependencies written out", []Match{Is(Protocol, EtherTypeIPv4), Byte(L4Proto, ICMP), Byte(ICMPType, 8)}, []Match{Byte(ICMPType, 8)}, true},
		{"dependencies in another order", []Match{Byte(L4Proto, ICMP), Is(Protocol, EtherTypeIPv4), Byte(ICMPType, 8)}, []Match{Byte(ICMPType, 8)}, false},
		{"another protocol written out", []Match{Is(Protocol, EtherTypeIPv6), Compare{IPSource, Equal, []byte{10, 0, 0, 1}}}, []Match{Compare{IPSource, Equal, []byte{10, 0, 0, 1}}}, false},
		{"a protocol and no field of it", []Match{Is(Protocol, EtherTypeIPv4)}, nil, false},
		{"a prefix of one address", []Match{InPrefix{IPSource, false, v4("10.0.0.1/32")}}, []Match{Compare{IPSource, Equal, []byte{10, 0, 0, 1}}}, true},
		{"a prefix that ends at a byte", []Match{Is(Protocol, EtherTypeIPv4), Compare{Raw(NetworkHeader, 12, 2), NotEqual, []byte{10, 9}}}, []Match{InPrefix{IPSource, true, v4("10.9.0.0/16")}}, true},
		{"a prefix that does not", []Match{Masked{IPSource, []byte{255, 192, 0, 0}, Equal, []byte{10, 64, 0, 0}}}, []Match{InPrefix{IPSource, false, v4("10.64.0.0/10")}}, true},
		{"a mask that is none of a prefix", []Match{Masked{IPSource, []byte{255, 0, 255, 0}, Equal, []byte{10, 0, 1, 0}}}, []Match{InPrefix{IPSource, false, v4("10.0.1.0/16")}}, false},
		{"a value outside of the mask", []Match{Masked{IPSource, []byte{255, 192, 0, 0}, Equal, []byte{10, 64, 0, 1}}}, []Match{InPrefix{IPSource, false, v4("10.64.0.0/10")}}, false},
		{"joined ports", []Match{Compare{Raw(TransportHeader, 0, 4), Equal, []byte{0, 68, 0, 67}}}, []Match{port(SourcePort, 68), port(DestinationPort, 67)}, true},
		{"joined ports, not both", []Match{Compare{Raw(TransportHeader, 0, 4), NotEqual, []byte{0, 68, 0, 67}}}, []Match{port(SourcePort, 68), port(DestinationPort, 67)}, false},
		{"ports the other way round", []Match{port(DestinationPort, 67), port(SourcePort, 68)}, []Match{port(SourcePort, 68), port(DestinationPort, 67)}, false},
		{"elements in another order", []Match{Among(L4Proto, false, element(6), element(17))}, []Match{Among(L4Proto, false, element(17), element(6))}, true},
		{"other elements", []Match{Among(L4Proto, false, element(6), element(17))}, []Match{Among(L4Proto, false, element(6), element(18))}, false},
	} {
		a, b := Rule{Matches: test.a, Verdict: Accept}, Rule{Matches: test.b, Verdict: Accept}
		if got := sameRule(a, b); got != test.same {
			t.Errorf("%s: same %t, want %t: %s, and %s", test.about, got, test.same, a.Normal(), b.Normal())
		}
		if got := sameRule(b, a); got != test.same {
			t.Errorf("%s: not the same both ways", test.about)
		}
		for _, r := range []Rule{a, b} {
			if again := r.Normal().Normal(); again.String() != r.Normal().String() {
				t.Errorf("%s: the normal form of %q is %q", test.about, r.Normal(), again)
			}
		}
	}
}

func element(proto byte) Element { return Element{From: [][]byte{{proto}}, To: [][]byte{{proto}}} }

// Tables whose parts stand in another order are the same, and their difference is
// told in the order of the one that should stand.
func TestSame(t *testing.T) {
	a := *right()
	a.Counters = append(a.Counters, "more")
	b := a
	b.Counters, b.Chains = []string{"more", "dropped"}, slices.Clone(a.Chains)
	slices.Reverse(b.Chains)
	if !Same(a, b) || Diff("a", a, "b", b) != "" {
		t.Errorf("the order of parts matters:\n%s", Diff("a", a, "b", b))
	}
	b.Chains[0].Rules = append(slices.Clone(b.Chains[0].Rules), Rule{Unknown: "[ct] accept"})
	const want = "--- a\n+++ b\n"
	diff := Diff("a", a, "b", b)
	if Same(a, b) || !strings.HasPrefix(diff, want) || !strings.Contains(diff, "\n+\t\t# unknown: [ct] accept\n") {
		t.Errorf("a rule more:\n%s", diff)
	}
	for _, line := range strings.Split(diff, "\n")[2:] {
		if strings.HasPrefix(line, "-") {
			t.Errorf("only one line differs:\n%s", diff)
		}
	}
	if Same(b, b) {
		t.Error("what is not understood is the same as something")
	}
}

// Tables that text cannot tell apart.
func TestDiffIsNeverEmpty(t *testing.T) {
	a, b := *right(), *right()
	b.Chains[1].Rules[0].Matches = []Match{Masked{IPSource, []byte{255, 255, 255, 255}, Equal, []byte{10, 0, 0, 1}}}
	a.Chains[1].Rules[0].Matches = []Match{Compare{IPSource, Equal, []byte{10, 0, 0, 2}}}
	if Diff("a", a, "b", b) == "" {
		t.Error("no difference of different tables")
	}
	a.Chains[1].Rules[0].Unknown = "x"
	if Diff("a", a, "b", a) == "" {
		t.Error("no difference of what is not understood")
	}
}
