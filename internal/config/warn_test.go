package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWarnings(t *testing.T) {
	const web = "[policy.web]\n"
	tests := []struct {
		about, text string
		want        []string
	}{
		{"nothing", web + "[[vm]]\nname = 'a'\npolicy = 'web'\n[[vm]]\nname = 'a*'\n[[vm]]\nname = 'b?'\n[[vm]]\nname = 'bx'\npolicy = 'web'\n",
			[]string{`c:10:3: [[vm]]: no VM comes to this section, name = "bx": the one before with name = "b?" matches them all, and the first that matches counts: put the narrower one first`}},
		{"a policy with a wrong letter", "[policy.defauld]\n", []string{`c:2:9: policy "defauld": no VM has it: did you mean [policy.default]?`}},
		{"a policy that nobody uses", web, []string{`c:2:9: policy "web": no VM has it: a [[vm]] section with policy = "web" gives it to some`}},
		{"one that domains may choose", "metadata = 'honour'\n" + web, nil},
		{"a policy that others build on", "[policy.a]\nextends = 'web'\n" + web + "[[vm]]\nname = 'a'\npolicy = 'a'\n", nil},
		{"a group that no list names", "[group.a]\nmembers = ['10.0.0.1']\n[group.b]\nmembers = ['10.0.0.1']\n[policy.default]\nallow = ['@b tcp/22']\n",
			[]string{`c:2:8: group "a": no list names it: "@a" in one stands for its members`}},
		{"a group of a device's addresses", "[group.a]\nmembers = ['10.0.0.1']\n[[device]]\nname = 'tap*'\naddresses = ['@a']\n", nil},
		{"a group that domains may name", "metadata = 'honour'\n[group.a]\nmembers = ['10.0.0.1']\n", nil},
		{"gateways' MAC addresses beside an inherited key", "[policy.default]\nnext_hop = 'any'\n[policy.web]\ngateway_macs = ['52:54:00:00:00:01']\n[[vm]]\nname = 'a'\npolicy = 'web'\n",
			[]string{`c:5:16: policy "web": gateway_macs: they count for nothing: next_hop = "any" is inherited`}},
		{"any beside others", "[policy.default]\ninbound = [\"any\", \"tcp/443\"]\noutbound = [\"any\"]\n", []string{`c:3:11: policy "default": inbound: "any", written or inherited, opens everything: the other entries count for nothing`}},
		{"an empty list", "[policy.default]\ndeny = []\n", []string{`c:3:8: policy "default": deny = []: the whole LAN is open to its VMs, and they to it; without the key, deny has the default`}},
		{"a name that no VM has", "[[vm]]\nname = 'a/b'\n", []string{`c:3:8: [[vm]]: name = "a/b": no VM has such a name: libvirt takes none with '/' or a line break`}},
		{"behind all", "[[vm]]\nname = '*'\n[[vm]]\nuuid = '6695eb01-f6a4-8304-79aa-97f2502e193f'\n",
			[]string{`c:4:3: [[vm]]: no VM comes to this section, uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f": the one before with name = "*" matches them all, and the first that matches counts: put the narrower one first`}},
		{"behind a wider one", "[[vm]]\nname = 'web-*'\n[[vm]]\nname = 'web-1?'\n",
			[]string{`c:4:3: [[vm]]: no VM comes to this section, name = "web-1?": the one before with name = "web-*" matches them all, and the first that matches counts: put the narrower one first`}},
		{"before it", "[[vm]]\nname = 'web-1?'\n[[vm]]\nname = 'web-*'\n[[vm]]\nname = 'we*'\n", nil},
		{"twice", "[[vm]]\nuuid = '6695eb01-f6a4-8304-79aa-97f2502e193f'\n[[vm]]\nuuid = '6695EB01-F6A4-8304-79AA-97F2502E193F'\n",
			[]string{`c:4:3: [[vm]]: no VM comes to this section, uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f": the one before with uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f" matches them all, and the first that matches counts: put the narrower one first`}},
		{"narrower ones first", "[[vm]]\nname = 'a'\nmac = '52:54:00:00:00:01'\n[[vm]]\nname = 'a'\ninterface = 2\n[[vm]]\nname = 'a'\n[[vm]]\nparent = 'x*'\n[[vm]]\nparent = 'y'\nuuid = '6695eb01-f6a4-8304-79aa-97f2502e193f'\n", nil},
		{"a narrower one behind", "[[vm]]\nname = 'a'\n[[vm]]\nmac = '52:54:00:00:00:01'\nname = 'a'\n",
			[]string{`c:4:3: [[vm]]: no VM comes to this section, name = "a", mac = "52:54:00:00:00:01": the one before with name = "a" matches them all, and the first that matches counts: put the narrower one first`}},
		{"behind a wider NIC", "[[vm]]\nparent = 'x*'\n[[vm]]\nparent = 'x1'\ninterface = 1\n",
			[]string{`c:4:3: [[vm]]: no VM comes to this section, parent = "x1", interface = 1: the one before with parent = "x*" matches them all, and the first that matches counts: put the narrower one first`}},
		{"names like globs", "[[vm]]\nname = '[a] b'\n[[vm]]\nname = 'a b'\n",
			[]string{`c:4:3: [[vm]]: no VM comes to this section, name = "a b": the one before with name = "[a] b" matches them all, and the first that matches counts: put the narrower one first`}},
	}
	for _, test := range tests {
		c, err := Parse("c", []byte("parents = ['eth0']\n"+test.text))
		if err != nil {
			t.Errorf("%s: %v", test.about, err)
			continue
		}
		if diff := cmp.Diff(test.want, c.Warnings); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.about, diff)
		}
	}
}

// A name always matches itself.
func TestPolicyOfNameLikeAGlob(t *testing.T) {
	c, err := Parse("c", []byte("parents = ['eth0']\n[policy.p]\n[[vm]]\nname = '[prod] web'\npolicy = 'p'\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"[prod] web": "p", "p web": "p", "prod web": "default"} {
		if got := c.Policy(NIC{VM: name}).Name; got != want {
			t.Errorf("VM %q: policy %q, want %q", name, got, want)
		}
	}
}

// A key in the wrong place is told the right one.
func TestMisplacedKeys(t *testing.T) {
	for text, want := range map[string]string{
		"[policy.default]\nguard = true\n":        "c:3:1: unknown key policy.default.guard: it belongs above the first section",
		"[[vm]]\nname = 'a'\nmetadata = 'honour'": "c:4:1: unknown key vm.metadata: it belongs above the first section",
		"deny = []":                        "c:2:1: unknown key deny: it belongs below [policy.NAME], as [policy.default]",
		"[[vm]]\nname = 'a'\nallow = []":   "c:4:1: unknown key vm.allow: it belongs below [policy.NAME], as [policy.default]",
		"[policy.default]\naddresses = []": "c:3:1: unknown key policy.default.addresses: it belongs below [[vm]]",
		"[policy.default]\nalow = []":      `c:3:1: unknown key policy.default.alow: did you mean "allow"?`,
	} {
		_, err := Parse("c", []byte("parents = ['eth0']\n"+text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n%v, want\n%s", text, err, want)
		}
	}
}
