package config

import (
	"net"
	"slices"
	"testing"
)

const nics = `parents = ["eth0"]
[policy.a]
[policy.b]
[policy.c]
[policy.d]
[[vm]]
name = "db-*"
mac = "52:54:00:AB:00:01"
policy = "a"
addresses = ["192.0.2.1"]
[[vm]]
name = "db-*"
interface = 2
policy = "b"
[[vm]]
parent = "lan*"
policy = "c"
[[vm]]
mac = "52:54:00:ab:00:09"
policy = "d"
`

// A section is for the interfaces that have all that it asks for, and no others.
func TestPolicyOfNIC(t *testing.T) {
	c := mustParse(t, nics)
	mac := func(last byte) net.HardwareAddr { return net.HardwareAddr{0x52, 0x54, 0, 0xab, 0, last} }
	for _, test := range []struct {
		about string
		nic   NIC
		want  string
	}{
		{"name and MAC address", NIC{VM: "db-1", MAC: mac(1), Place: 1}, "a"},
		{"another VM's of that MAC address", NIC{VM: "web", MAC: mac(1), Place: 1}, "default"},
		{"name and place", NIC{VM: "db-1", MAC: mac(2), Place: 2}, "b"},
		{"another place", NIC{VM: "db-1", MAC: mac(3), Place: 3}, "default"},
		{"the first that matches", NIC{VM: "db-1", MAC: mac(1), Place: 2, Parents: []string{"lan0"}}, "a"},
		{"a NIC's alternative name", NIC{VM: "web", MAC: mac(2), Place: 1, Parents: []string{"eth0", "lan0"}}, "c"},
		{"another NIC", NIC{VM: "web", MAC: mac(2), Place: 1, Parents: []string{"eth0"}}, "default"},
		{"a MAC address alone", NIC{VM: "web", MAC: mac(9), Place: 5}, "d"},
		{"nothing known of it", NIC{VM: "db-1"}, "default"},
	} {
		if got := c.Policy(test.nic); got.Name != test.want {
			t.Errorf("%s: policy %q, want %q", test.about, got.Name, test.want)
		}
	}
	if own := c.Policy(NIC{VM: "db-1", MAC: mac(1)}).Own; len(own.Addresses) != 1 {
		t.Errorf("the section's addresses: %v", own)
	}
	if own := c.Policy(NIC{VM: "db-1", MAC: mac(2), Place: 2}).Own; len(own.Addresses) != 0 {
		t.Errorf("another interface's addresses: %v", own)
	}
}

// Messages name a section by its line, and say what it asks for.
func TestSections(t *testing.T) {
	c := mustParse(t, nics)
	var got []string
	for _, s := range c.Sections() {
		got = append(got, s.String())
	}
	want := []string{
		`config.toml:6 (name = "db-*", mac = "52:54:00:ab:00:01")`, `config.toml:11 (name = "db-*", interface = 2)`,
		`config.toml:15 (parent = "lan*")`, `config.toml:18 (mac = "52:54:00:ab:00:09")`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	both := NIC{VM: "db-1", MAC: net.HardwareAddr{0x52, 0x54, 0, 0xab, 0, 1}, Place: 2}
	if got := c.Matching(both); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("sections that match: %v", got)
	}
}

// A [[device]] section is for the devices that have all that it asks for; the first counts.
func TestPolicyOfDevice(t *testing.T) {
	c := mustParse(t, `parents = ["eth0"]
[policy.a]
[policy.b]
[[device]]
name = "mac*"
mac = "00:16:3e:00:00:01"
policy = "a"
addresses = ["192.0.2.1"]
[[device]]
name = "mac*"
policy = "b"
[[device]]
mac = "00:16:3e:00:00:09"
`)
	mac := func(last byte) net.HardwareAddr { return net.HardwareAddr{0, 0x16, 0x3e, 0, 0, last} }
	for _, test := range []struct {
		name   string
		mac    net.HardwareAddr
		want   string
		called string
	}{
		{"mac0", mac(1), "a", "mac*"},
		{"mac0", mac(2), "b", "mac*"},
		{"tap0", mac(9), "default", "00:16:3e:00:00:09"},
		{"tap0", mac(2), "", ""},
	} {
		p, called, ok := c.Device(test.name, test.mac)
		if p.Name != test.want || called != test.called || ok != (test.want != "") || len(p.Addresses) > 0 != (test.want == "a") {
			t.Errorf("%s, %s: policy %q of %q, %v", test.name, test.mac, p.Name, called, p.Own)
		}
	}
}
