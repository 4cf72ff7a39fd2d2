package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// described gives what differs between policies in the tests below, in the words of the file.
func described(p Policy) string {
	return fmt.Sprintf("deny %q allow %q serve %v types %x macs %v next_hop any %t log %t spoofing %t learn %d",
		texts(p.Deny), texts(p.Allow), p.Serve, p.EtherTypes, p.GatewayMACs, p.AnyNextHop, p.Log, p.PassSpoofing, p.Learn)
}

// Each file means the same as the other, in which every policy has all of its keys.
func TestPoliciesBuildOnEachOther(t *testing.T) {
	const fallback = "deny = ['private', 'onlink']\nallow = ['gateway', 'dns', 'broadcast']\nserve = []\nethertypes = []\ngateway_macs = []\nlog = false\nnext_hop = 'router'\nspoofing = 'drop'\nlearn = 'first'\n"
	with := func(lines ...string) string { // the defaults, some of them replaced
		all := fallback
		for _, line := range lines {
			key, _, _ := strings.Cut(line, " ")
			before, rest, _ := strings.Cut(all, key+" =")
			_, after, _ := strings.Cut(rest, "\n")
			all = before + line + "\n" + after
		}
		return all
	}
	const full = "serve = ['tcp/443']\nethertypes = ['lldp']\ngateway_macs = ['52:54:00:00:00:01']\nlog = true\n"
	isFull := strings.Split(strings.TrimSpace(full), "\n")
	tests := []struct{ about, text, web, base string }{
		{"a missing key is as in default", "[policy.default]\ndeny = ['10.0.0.0/8']\n" + full + "[policy.web]\nlog = false\n",
			with(append(isFull, "deny = ['10.0.0.0/8']", "log = false")...), with(append(isFull, "deny = ['10.0.0.0/8']")...)},
		{"default said behind", "[policy.web]\n[policy.default]\nallow = []\n", with("allow = []"), with("allow = []")},
		{"without a default", "[policy.web]\nlog = true\n", with("log = true"), fallback},
		{"extends default", "[policy.web]\nextends = 'default'\n[policy.default]\nlog = true\n", with("log = true"), with("log = true")},
		{"extends another", "[policy.default]\nlog = true\n[policy.web]\nextends = 'x'\nserve = ['tcp/80']\n[policy.x]\nextends = 'y'\nserve = ['tcp/22']\n[policy.y]\ndeny = ['10.0.0.0/8']\nlog = false\n",
			with("deny = ['10.0.0.0/8']", "serve = ['tcp/80']"), with("log = true")},
		{"inherit in each list", "[policy.default]\ndeny = ['inherit', '10.9.0.0/16']\n" + full +
			"[policy.web]\ndeny = ['203.0.113.0/24', 'inherit']\nallow = ['inherit', '10.0.0.1']\nserve = ['tcp/80', 'inherit']\nethertypes = ['inherit', 'ptp']\ngateway_macs = ['inherit', '52:54:00:00:00:02']\n",
			with("log = true", "deny = ['203.0.113.0/24', 'private', 'onlink', '10.9.0.0/16']", "allow = ['gateway', 'dns', 'broadcast', '10.0.0.1']",
				"serve = ['tcp/80', 'tcp/443']", "ethertypes = ['lldp', 'ptp']", "gateway_macs = ['52:54:00:00:00:01', '52:54:00:00:00:02']"),
			with(append(isFull, "deny = ['private', 'onlink', '10.9.0.0/16']")...)},
		{"an empty list is said", "[policy.default]\n" + full + "[policy.web]\nserve = []\nethertypes = []\ngateway_macs = []\n", with("log = true"), with(isFull...)},

		{"spoofing passes, and nothing is learned", "[policy.default]\nlearn = 'dhcp'\n[policy.web]\nspoofing = 'pass'\n", with("spoofing = 'pass'", "learn = 'off'"), with("learn = 'dhcp'")},
		{"spoofing passes by inheritance", "[policy.default]\nspoofing = 'pass'\n[policy.web]\n", with("spoofing = 'pass'", "learn = 'off'"), with("spoofing = 'pass'", "learn = 'off'")},
		{"and is dropped again", "[policy.default]\nspoofing = 'pass'\n[policy.web]\nspoofing = 'drop'\n", fallback, with("spoofing = 'pass'", "learn = 'off'")},
		{"and is dropped again, with what was said of learn", "[policy.default]\nlearn = 'dhcp'\n[policy.x]\nspoofing = 'pass'\n[policy.web]\nextends = 'x'\nspoofing = 'drop'\n", with("learn = 'dhcp'"), with("learn = 'dhcp'")},
		{"learn said beside inherited spoofing", "[policy.default]\nspoofing = 'pass'\n[policy.web]\nlearn = 'dhcp'\n", with("spoofing = 'pass'", "learn = 'dhcp'"), with("spoofing = 'pass'", "learn = 'off'")},

		{"gateways' addresses of the base where they do not count", "[policy.default]\n" + full + "[policy.web]\nnext_hop = 'any'\n", with(append(isFull, "next_hop = 'any'\nisolate = true")...), with(isFull...)},
		{"gateways' addresses of one's own where they do not count", "[policy.default]\nnext_hop = 'any'\n[policy.web]\ngateway_macs = ['52:54:00:00:00:01']\n",
			with("next_hop = 'any'\nisolate = true", "gateway_macs = ['52:54:00:00:00:01']"), with("next_hop = 'any'")},
	}
	for _, test := range tests {
		t.Run(test.about, func(t *testing.T) {
			got := mustParse(t, "parents = ['eth0']\n[[vm]]\nname = 'web'\npolicy = 'web'\n"+test.text)
			want := mustParse(t, "parents = ['eth0']\n[policy.default]\n"+test.base+"[policy.web]\n"+test.web)
			for _, name := range []string{"web", DefaultPolicy} {
				if diff := cmp.Diff(described(want.policies[name]), described(got.policies[name])); diff != "" {
					t.Errorf("%s: -want +got:\n%s", name, diff)
				}
			}
			if p := got.Policy(NIC{VM: "web"}); p.Name != "web" {
				t.Errorf("the policy is called %q", p.Name)
			}
		})
	}
}

// What a domain chooses is built, too.
func TestChooseBuilt(t *testing.T) {
	c := mustParse(t, "parents = ['eth0']\nmetadata = 'honour'\n[policy.default]\ndeny = ['10.0.0.0/8']\n[policy.web]\nserve = ['tcp/443']\n[group.a]\nmembers = ['10.0.0.1', '10.0.0.2']\n")
	p, err := c.Choose(c.Policy(NIC{VM: "x"}), "web", []string{"@a tcp/22"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.0.0.0/8"}, texts(p.Deny)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"gateway", "dns", "broadcast", "@a tcp/22: 10.0.0.1", "@a tcp/22: 10.0.0.2"}, texts(p.Allow)); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{"@b", "inherit"} {
		if _, err := c.Choose(p, "", []string{wrong}); err == nil {
			t.Errorf("metadata may allow %q", wrong)
		}
	}
}

func TestChanges(t *testing.T) {
	const told = ", since a key that a policy left out had the built-in default: write "
	const tail = `, or extends = "default" if the other is meant`
	tests := []struct {
		about, text string
		want        []string
	}{
		{"nothing said", "[policy.web]\n", nil},
		{"default says the defaults", "[policy.default]\ndeny = ['onlink', 'private']\nspoofing = 'drop'\nserve = []\nlog = false\n[policy.web]\n", nil},
		{"a range denied in default", "[policy.default]\ndeny = ['private', 'onlink', '203.0.113.0/24']\n\n[policy.web]\n",
			[]string{`c:5:9: policy "web": deny is ["private", "onlink", "203.0.113.0/24"], as in [policy.default]; in earlier versions it was ["private", "onlink"]` + told + `deny = ["private", "onlink"] for that` + tail}},
		{"said", "[policy.default]\nserve = ['tcp/22']\n[policy.web]\nserve = []\n", nil},
		{"extended", "[policy.default]\nserve = ['tcp/22']\n[policy.web]\nextends = 'default'\n", nil},
		{"inherited", "[policy.default]\nserve = ['tcp/22']\nlog = true\n[policy.web]\nserve = ['inherit']\n", nil},
		{"of other types", "[policy.default]\nlog = true\nspoofing = 'pass'\n[policy.web]\n", []string{
			`c:5:9: policy "web": spoofing is "pass", as in [policy.default]; in earlier versions it was "drop"` + told + `spoofing = "drop" for that` + tail,
			`c:5:9: policy "web": log is true, as in [policy.default]; in earlier versions it was false` + told + `log = false for that` + tail,
		}},
	}
	for _, test := range tests {
		c, err := Parse("c", []byte("parents = ['eth0']\n"+test.text))
		if err != nil {
			t.Errorf("%s: %v", test.about, err)
			continue
		}
		if diff := cmp.Diff(test.want, c.Changes); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.about, diff)
		}
	}
}

// Taken as a policy, the defaults that changes tells of are those that a policy has.
func TestBuiltInIsTheDefaults(t *testing.T) {
	check := newChecker()
	got := checkPolicy(check, DefaultPolicy, builtIn(), built{}, nil)
	if err := check.err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mustParse(t, "parents = ['a']").Default(), got.Policy, exported); diff != "" {
		t.Error(diff)
	}
}
