package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go4.org/netipx"
)

// exported lets cmp look into the types of this package, and compares addresses
// by value.
var exported = cmp.Options{
	cmp.Exporter(func(t reflect.Type) bool { return strings.HasSuffix(t.PkgPath(), "internal/config") }),
	cmp.Comparer(func(a, b netipx.IPRange) bool { return a == b }),
	cmp.FilterPath(func(p cmp.Path) bool { return slices.Contains([]string{"where", "raw", "text", "checker"}, p.String()) }, cmp.Ignore()), // of the text, not of what it says
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("config.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// texts gives entries as they stand in the file.
func texts(entries []Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, e.String())
	}
	return out
}

func TestParseMinimal(t *testing.T) {
	c := mustParse(t, `parents = ["enp88s0"]`)
	if diff := cmp.Diff([]string{"enp88s0"}, c.Parents); diff != "" {
		t.Error(diff)
	}
	if c.KillOnReconnect {
		t.Error("a failed reconnect kills the VM by default")
	}
	p := c.Policy(NIC{VM: "any"})
	if p.Name != DefaultPolicy {
		t.Errorf("policy %q, want %q", p.Name, DefaultPolicy)
	}
	if diff := cmp.Diff(*builtIn().Deny, texts(p.Deny)); diff != "" {
		t.Errorf("deny: %s", diff)
	}
	if diff := cmp.Diff(*builtIn().Allow, texts(p.Allow)); diff != "" {
		t.Errorf("allow: %s", diff)
	}
}

// contract has every form of the contract's own example.
const contract = `
parents = ["enp88s0", "lan*"]
reconnect = "kill"

[policy.default]
deny  = ["192.168.0.0/16", "onlink", "fe80::/10", "fc00::/7"]
allow = ["gateway", "dns", "broadcast"]

[policy.dmz]
deny  = ["192.168.0.0/16", "10.0.0.0/8", "onlink"]
allow = ["192.168.2.53 udp/53 tcp/53", "192.168.2.10-192.168.2.19", "2001:db8::1 tcp/443"]

[policy.closed]
deny  = ["0.0.0.0/0", "::/0"]
allow = []

[[vm]]
name = "web-*"
policy = "dmz"

[[vm]]
uuid = "6695EB01-F6A4-8304-79AA-97F2502E193F"
policy = "closed"

[[vm]]
name = "web-1"
policy = "closed"
`

func TestParseContract(t *testing.T) {
	c := mustParse(t, contract)
	if !c.KillOnReconnect {
		t.Error(`reconnect = "kill" is not heard`)
	}
	dmz := c.Policy(NIC{VM: "web-1"})
	want := []Entry{
		{text: "192.168.2.53 udp/53 tcp/53", Range: ipRange("192.168.2.53-192.168.2.53"), Services: []Service{{Proto: 17, From: 53, To: 53}, {Proto: 6, From: 53, To: 53}}},
		{text: "192.168.2.10-192.168.2.19", Range: ipRange("192.168.2.10-192.168.2.19")},
		{text: "2001:db8::1 tcp/443", Range: ipRange("2001:db8::1-2001:db8::1"), Services: []Service{{Proto: 6, From: 443, To: 443}}},
	}
	if diff := cmp.Diff(want, dmz.Allow, exported); diff != "" {
		t.Errorf("allow: %s", diff)
	}
	want = []Entry{
		{text: "192.168.0.0/16", Range: ipRange("192.168.0.0-192.168.255.255")},
		{text: "10.0.0.0/8", Range: ipRange("10.0.0.0-10.255.255.255")},
		{text: "onlink", Word: OnLink},
	}
	if diff := cmp.Diff(want, dmz.Deny, exported); diff != "" {
		t.Errorf("deny: %s", diff)
	}
}

func ipRange(s string) netipx.IPRange { return netipx.MustParseIPRange(s) }

func TestPolicyOfVM(t *testing.T) {
	c := mustParse(t, contract)
	tests := []struct {
		about, name, uuid, want string
	}{
		{"the first that matches", "web-1", "", "dmz"},
		{"a glob matches the whole name", "my-web-1", "", "default"},
		{"a glob matches an empty rest", "web-", "", "dmz"},
		{"uuid in either case", "db", "6695eb01-f6a4-8304-79aa-97f2502e193f", "closed"},
		{"uuid in upper case", "db", "6695EB01-F6A4-8304-79AA-97F2502E193F", "closed"},
		{"another uuid", "db", "6695eb01-f6a4-8304-79aa-97f2502e1930", "default"},
		{"no uuid", "db", "", "default"},
		{"the case of a name counts", "WEB-1", "", "default"},
		{"a name is no glob", "*", "", "default"},
	}
	for _, test := range tests {
		if got := c.Policy(NIC{VM: test.name, UUID: test.uuid}).Name; got != test.want {
			t.Errorf("%s: VM %q, UUID %q has the policy %q, want %q", test.about, test.name, test.uuid, got, test.want)
		}
	}
}

func TestGuardsParent(t *testing.T) {
	c := mustParse(t, `parents = ["enp88s0", "lan*", "ens[12]"]`)
	for _, names := range [][]string{{"enp88s0"}, {"lan0"}, {"lan"}, {"ens1"}, {"eth7", "enp88s0"}} {
		if !c.GuardsParent(names...) {
			t.Errorf("%q is not guarded", names)
		}
	}
	for _, names := range [][]string{{"enp88s01"}, {"enp88s"}, {"vlan0"}, {"ens3"}, {"ens[12]"}, {""}, {}} {
		if c.GuardsParent(names...) {
			t.Errorf("%q is guarded", names)
		}
	}
}

// Parsing must not keep what an earlier parse read: defaults are shared.
func TestParseKeepsNothing(t *testing.T) {
	mustParse(t, contract)
	p := mustParse(t, `parents = ["a"]`).Policy(NIC{VM: "x"})
	if diff := cmp.Diff(*builtIn().Allow, texts(p.Allow)); diff != "" {
		t.Error(diff)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "write "+file) {
		t.Errorf("missing file: %v, want a message that says which file to write", err)
	}
	if err := os.WriteFile(file, []byte("parents = [\"a\"]\nbad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.HasPrefix(err.Error(), file+":2:4: ") {
		t.Errorf("%v, want %s:2:4: …", err, file)
	}
	for _, odd := range []string{dir, "/dev/zero"} {
		if _, err := Load(odd); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v, want \"not a regular file\"", odd, err)
		}
	}
	if err := os.Truncate(file, maxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("a huge file: %v", err)
	}
}

func TestParseByteOrderMark(t *testing.T) {
	c, err := Parse("config.toml", []byte("\ufeffparents = [\"a\"]\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Parents) != 1 || c.Parents[0] != "a" {
		t.Errorf("parents %q, want a", c.Parents)
	}
	if _, err := Parse("config.toml", []byte("\ufeff# …\nfoo = 1\n")); err == nil || !strings.HasPrefix(err.Error(), "config.toml:2:1: unknown key foo") {
		t.Errorf("error %v, want one of line 2", err)
	}
}
