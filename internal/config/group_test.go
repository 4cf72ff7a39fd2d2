package config

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestGroups(t *testing.T) {
	c := mustParse(t, `
parents = ["eth0"]
[policy.default]
deny  = ["private", "@others"]
allow = ["@admins  tcp/ssh   udp/53", "@admins", "gateway tcp/https"]
[group.admins]
members = ["192.168.2.10", "@others", "gateway", "192.168.2.10"]
[group.others]
members = ["10.0.0.0/8", "192.168.2.20-192.168.2.29"]
[group.web]
members = ["203.0.113.7", "2001:db8::/64", "@more"]
[group.more]
members = ["203.0.113.8"]
[[vm]]
name = "web"
addresses = ["@web", "192.168.2.30", "slaac"]
`)
	p := c.Policy(NIC{VM: "web"})
	if diff := cmp.Diff([]string{"private", "@others: 10.0.0.0/8", "@others: 192.168.2.20-192.168.2.29"}, texts(p.Deny)); diff != "" {
		t.Error(diff)
	}
	ssh := Service{Proto: 6, From: 22, To: 22, name: "tcp/ssh"}
	dns := Service{Proto: 17, From: 53, To: 53}
	var want []Entry
	for _, services := range [][]Service{{ssh, dns}, nil} {
		group := map[bool]string{true: "@admins tcp/ssh udp/53", false: "@admins"}[services != nil]
		want = append(want,
			Entry{Group: group, text: "192.168.2.10", Range: ipRange("192.168.2.10-192.168.2.10"), Services: services},
			Entry{Group: group, text: "10.0.0.0/8", Range: ipRange("10.0.0.0-10.255.255.255"), Services: services},
			Entry{Group: group, text: "192.168.2.20-192.168.2.29", Range: ipRange("192.168.2.20-192.168.2.29"), Services: services},
			Entry{Group: group, text: "gateway", Word: Gateway, Services: services})
	}
	want = append(want, Entry{text: "gateway tcp/https", Word: Gateway, Services: []Service{{Proto: 6, From: 443, To: 443, name: "tcp/https"}}})
	if diff := cmp.Diff(want, p.Allow, exported); diff != "" {
		t.Error(diff)
	}
	own := mustParse(t, "parents = ['a']\n[[vm]]\nname = 'web'\naddresses = ['203.0.113.7', '2001:db8::/64', '203.0.113.8', '192.168.2.30', 'slaac']\n").Policy(NIC{VM: "web"}).Own
	if diff := cmp.Diff(own, p.Own, exported, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	if c.Warnings != nil {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// A service by name is the one by number, and is called as it is written.
func TestServicesByName(t *testing.T) {
	for text, port := range map[string]uint16{
		"tcp/https": 443, "udp/https": 443, "udp/domain": 53, "tcp/ssh": 22, "udp/ntp": 123, "tcp/ms-wbt-server": 3389, "sctp/sip": 5060,
	} {
		s, err := parseService(text)
		if err != nil || s.From != port || s.To != port || s.String() != text {
			t.Errorf("%s: port %d to %d, called %s (%v), want %d", text, s.From, s.To, s, err, port)
		}
	}
	for text, want := range map[string]string{
		"tcp/htps":   `"tcp/htps": no port of that protocol has that name: write its number: did you mean "tcp/https"?`,
		"tcp/syslog": `"tcp/syslog": no port of that protocol has that name: write its number: did you mean "udp/syslog"?`,
		"tcp/HTTPS":  `"tcp/HTTPS": no port of that protocol has that name: write its number: did you mean "tcp/https"?`,
		"tcp/zzzzzz": `"tcp/zzzzzz": no port of that protocol has that name: write its number`,
	} {
		if _, err := parseService(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// Names are few enough to be read: each stands once, in the order of ports.
func TestPortNames(t *testing.T) {
	seen := map[string]bool{}
	for i, p := range portNames {
		if seen[p.name] {
			t.Errorf("%s stands twice", p.name)
		}
		seen[p.name] = true
		if i > 0 && p.port < portNames[i-1].port {
			t.Errorf("%s is out of order", p.name)
		}
		if _, err := parseService(p.protos[:3] + "/" + p.name); err != nil && p.protos[:4] != "sctp" {
			t.Error(err)
		}
	}
}
