package kernel_test

import (
	"testing"

	"macvtap-filter/internal/lab"
)

// A sample is a frame and whether it should get through.
type sample struct {
	name   string
	frame  []byte
	passes bool
}

const services = notLearned + `
allow = ["gateway", "dns", "broadcast", "192.168.2.80 tcp/80", "192.168.9.10-192.168.9.19", "fc00::80 udp/5000-5010", "fe80::/120"]
`

// samples are frames of one direction under the policy above.
func samples(t *testing.T, w way) []sample {
	plain := w.udp(t, "192.168.2.77", 53)
	internet := w.udp(t, "192.0.2.1", 53)
	return []sample{
		{"internet, IPv4 UDP", internet, true},
		{"internet, IPv4 TCP", w.tcp(t, "192.0.2.1", 443), true},
		{"internet, IPv6 UDP", w.udp(t, "2001:db8:ffff::1", 53), true},
		{"internet, IPv6 TCP", w.tcp(t, "2001:db8:ffff::1", 443), true},
		{"internet, first fragment", fragment(internet, 0, true), true},
		{"internet, later fragment", fragment(internet, 100, false), true},
		{"internet, IPv4 options", options(t, w, "192.0.2.1"), w.name == in.name}, // a source route is one
		{"just below the denied prefix", w.udp(t, "192.167.255.255", 53), true},
		{"just above the denied prefix", w.udp(t, "192.169.0.0", 53), true},
		{"just above fe80::/10", w.udp(t, "fec0::1", 53), true},
		{"just above fc00::/7", w.udp(t, "fe00::1", 53), true},

		{"gateway, IPv4", w.udp(t, "192.168.2.1", 1234), true},
		{"gateway, IPv6", w.udp(t, "fe80::1", 1234), true},
		{"name server", w.udp(t, "192.168.2.53", 53), true},
		{"first of an allowed range", w.udp(t, "192.168.9.10", 9), true},
		{"last of an allowed range", w.udp(t, "192.168.9.19", 9), true},
		{"below an allowed range", w.udp(t, "192.168.9.9", 9), false},
		{"above an allowed range", w.udp(t, "192.168.9.20", 9), false},
		{"within an allowed prefix", w.udp(t, "fe80::77", 9), true},
		{"allowed service, TCP", w.tcp(t, "192.168.2.80", 80), true},
		{"another port of an allowed service's host", w.tcp(t, "192.168.2.80", 81), false},
		{"another protocol of an allowed service's host", w.udp(t, "192.168.2.80", 80), false},
		{"allowed service, first fragment", fragment(w.tcp(t, "192.168.2.80", 80), 0, true), true},
		{"allowed service, later fragment", fragment(w.tcp(t, "192.168.2.80", 80), 100, false), false},
		{"allowed service, IPv6, first port", w.udp(t, "fc00::80", 5000), true},
		{"allowed service, IPv6, last port", w.udp(t, "fc00::80", 5010), true},
		{"allowed service, IPv6, next port", w.udp(t, "fc00::80", 5011), false},

		{"denied, IPv4 UDP", plain, false},
		{"denied, IPv4 TCP", w.tcp(t, "192.168.2.77", 22), false},
		{"denied, first address of the prefix", w.udp(t, "192.168.0.0", 53), false},
		{"denied, last address of the prefix", w.udp(t, "192.168.255.254", 53), false},
		{"denied, first fragment", fragment(plain, 0, true), false},
		{"denied, later fragment", fragment(plain, 100, false), false},
		{"denied, IPv4 options", options(t, w, "192.168.2.77"), false},
		{"denied, IPv6 link-local", w.udp(t, "fe80::1:77", 53), false},
		{"denied, IPv6 unique local", w.udp(t, "fd00::77", 53), false},
		{"denied, IPv6 global address on the LAN", w.udp(t, "2001:db8:2::77", 53), false},

		{"VLAN 0", tagged(plain, 0, 0x8100), false},
		{"VLAN 0 to the internet", tagged(internet, 0, 0x8100), false},
		{"VLAN 5", tagged(internet, 5, 0x8100), false},
		{"802.1ad tag", tagged(internet, 0, 0x88a8), false},
		{"two tags", tagged(internet, 0, 0x88a8, 0x8100), false},
		{"two VLAN 0 tags", tagged(plain, 0, 0x8100, 0x8100), false},
		{"three tags", tagged(plain, 7, 0x88a8, 0x8100, 0x8100), false},
		{"old QinQ tag 0x9100", tagged(internet, 0, 0x9100), false},
		{"LLC/SNAP", snap(internet), false},
		{"LLDP", typed(internet, 0x88cc), false},
		{"EAPOL", typed(internet, 0x888e), false},
		{"MPLS", typed(internet, 0x8847), false},
		{"PPPoE", typed(internet, 0x8864), false},
		{"reverse ARP", typed(internet, 0x8035), false},
		{"local experiment", typed(internet, 0x88b5), false},
		{"EtherType 0", typed(internet, 0), false},
		{"EtherType 0xffff", typed(internet, 0xffff), false},
	}
}

// TestFrames sends every sample through the tap and from the wire: first with no
// rules, when all of them arrive, then with the rules.
func TestFrames(t *testing.T) {
	n, tap := network(t)
	t.Run("without rules", func(t *testing.T) {
		for _, w := range []way{out, in} {
			for _, s := range samples(t, w) {
				s.passes = true
				crosses(t, n, tap, w, s)
			}
		}
	})
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), services))
	t.Run("with rules", func(t *testing.T) {
		for _, w := range []way{out, in} {
			for _, s := range samples(t, w) {
				crosses(t, n, tap, w, s)
			}
		}
	})
}

// crosses sends one sample and holds what arrived against what should.
func crosses(t *testing.T, n *lab.Network, tap *lab.Tap, w way, s sample) {
	t.Helper()
	send := n.FromVM
	if w.name == in.name {
		send = n.ToVM
	}
	arrived, err := send(tap, s.frame)
	if err != nil {
		t.Fatalf("%s %s: %v", s.name, w.name, err)
	}
	if arrived != s.passes {
		t.Errorf("%s %s: arrived: %v, want %v", s.name, w.name, arrived, s.passes)
	}
}

// TestBetweenVMs holds two VMs on one parent against each other: the receiver's
// rules judge what the sender's let pass.
func TestBetweenVMs(t *testing.T) {
	n, first := network(t)
	second := addTap(t, n, "macvtap1", lanMAC)
	frame := to(out.udp(t, "192.168.2.77", 53), second.MAC)
	reaches := func(want bool, when string) {
		t.Helper()
		arrived, err := n.BetweenVMs(first, second, frame)
		if err != nil {
			t.Fatal(err)
		}
		if arrived != want {
			t.Errorf("%s: arrived: %v, want %v", when, arrived, want)
		}
	}
	reaches(true, "no rules")
	create(t, n.Hypervisor, tables(t, vm(vmUUID, first.Name), notLearned))
	reaches(false, "the sender has rules")
}
