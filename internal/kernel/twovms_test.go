package kernel_test

import (
	"net/netip"
	"strings"
	"testing"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/lab"
)

// TestTwoVMs has one VM attack another on the same parent, whose frames never
// reach the wire: by the sender's rules, by the receiver's, and by both, nothing
// arrives; with neither, all of it does.
func TestTwoVMs(t *testing.T) {
	for _, test := range []struct {
		name             string
		sender, receiver bool
	}{{"no rules", false, false}, {"the sender's rules", true, false}, {"the receiver's rules", false, true}, {"both VMs' rules", true, true}} {
		t.Run(test.name, func(t *testing.T) {
			n, sender := network(t)
			receiver := addTap(t, n, "macvtap1", otherMAC)
			if test.sender {
				create(t, n.Hypervisor, tables(t, vm(vmUUID, sender.Name), notLearned))
			}
			if test.receiver {
				other := &domain.Domain{Name: "web-2", UUID: otherUUID, Direct: []domain.Interface{{Number: 1, Target: receiver.Name, Parent: lan.Parent, MAC: otherMAC}}}
				create(t, n.Hypervisor, tables(t, other, notLearned))
			}
			for _, c := range between(t) {
				if strings.Contains(c.Name, "probe") && !test.sender && test.receiver {
					continue // it hears whoever probes for an address that may be its own
				}
				arrived := reached(t, n, sender, receiver, c)
				if want := len(c.Frames); !test.sender && !test.receiver && arrived != want {
					t.Errorf("%s: %d of %d frames arrived", c.Name, arrived, want)
				} else if (test.sender || test.receiver) && arrived > 0 {
					t.Errorf("%s: %d of %d frames arrived", c.Name, arrived, want)
				}
			}
		})
	}
}

// between are the attacks that the first VM can send to the second, as the denied
// host, and whose source the second can tell: what claims to come from the gateway
// or the internet, only the sender's own rules know for spoofed.
func between(t *testing.T) []attack.Case {
	t.Helper()
	s := site()
	s.Victim = attack.Host{
		MAC: otherMAC, IPv4: netip.MustParseAddr("192.168.2.101"),
		Link: attack.EUI64(netip.MustParseAddr("fe80::"), otherMAC), IPv6: attack.EUI64(netip.MustParseAddr("2001:db8:2::"), otherMAC),
	}
	all, err := attack.Attacks(s)
	if err != nil {
		t.Fatal(err)
	}
	var out []attack.Case
	for _, c := range all {
		if c.Way == attack.FromVM && truthful(s, c) {
			out = append(out, c)
		}
	}
	return out
}

// truthful reports whether all frames of a case are for the victim or a group, from
// the VM's own MAC address, and not in the name of an allowed host.
func truthful(s attack.Site, c attack.Case) bool {
	switch c.Reason {
	case "spoofed-mac", "spoofed-ip", "arp-claim":
		return false
	case "offload":
		return false // what crosses the parent is not yet what it would become
	}
	// No macvlan device hands a pause frame to another.
	if strings.Contains(c.Name, "the gateway's") || strings.Contains(c.Name, "an internet host's address") || c.Name == "pause frame" {
		return false
	}
	for _, frame := range c.Frames {
		group := frame[0]&1 != 0
		if !group && string(frame[:6]) != string(s.Victim.MAC) {
			return false
		}
	}
	return true
}

// reached sends a case's frames on one tap and counts those that reach another.
func reached(t *testing.T, n *lab.Network, from, to *lab.Tap, c attack.Case) int {
	t.Helper()
	seen, err := n.Watch(func() error {
		for _, frame := range c.Frames {
			if err := from.Send(frame); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	arrived := 0
	for _, frame := range c.Frames {
		if seen.OnTap(to, frame) {
			arrived++
		}
	}
	return arrived
}
