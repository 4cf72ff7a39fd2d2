package kernel_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/lab"
)

// owns has the VM of the site take its addresses, as a guest does; the IPv4 one it may have by a
// lease.
func owns(t *testing.T, n *lab.Network, tap *lab.Tap, leased bool) {
	t.Helper()
	its := site().VM
	steps := becomesOwn(t, its.IPv4.String(), its.IPv4.String())
	if leased {
		steps = []step{hears("the lease", leases(t, layers.DHCPMsgTypeAck, "192.168.2.1", its.IPv4.String(), vmMAC))}
	}
	for _, a := range []string{its.Link.String(), its.IPv6.String()} {
		steps = append(steps, sends("a probe for "+a, probes(t, out, a, a)))
	}
	plays(t, n, tap, append(steps, waits(1500*time.Millisecond))) // then other hosts' objections come too late
}

// TestOrdinaryLearned sends what an ordinary VM sends and receives, where rules have learned
// its addresses from what it sent before: all of it arrives, as it does where they are not
// known.
func TestOrdinaryLearned(t *testing.T) {
	for _, learn := range []string{"first", "dhcp"} {
		t.Run(learn, func(t *testing.T) {
			n, tap := network(t)
			create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), fmt.Sprintf("[policy.default]\nlearn = %q", learn)))
			lease := func() {
				if learn == "dhcp" {
					plays(t, n, tap, []step{hears("the lease", leases(t, layers.DHCPMsgTypeAck, "192.168.2.1", site().VM.IPv4.String(), vmMAC))})
				}
			}
			owns(t, n, tap, learn == "dhcp")
			for _, c := range ordinary(t) {
				if strings.HasPrefix(c.Name, "DHCP release") && learn == "dhcp" {
					c.Frames = c.Frames[:2] // it has no address to speak from then
				}
				if arrived := arrivals(t, n, tap, c); arrived != len(c.Frames) {
					t.Errorf("%s, %s: %d of %d frames arrived", c.Name, c.Way, arrived, len(c.Frames))
				}
				if c.Way == attack.FromVM && strings.HasPrefix(c.Name, "probe for its own address with") {
					time.Sleep(1500 * time.Millisecond) // another host that has the address comes too late
				}
				lease()
			}
		})
	}
}

// passLearned are the attacks that pass where the VM's addresses are learned: another host's
// probe for an address of the VM's own, which it has to hear, and its own probes for addresses
// that it has not: that is how it claims one. It has few of these a day.
var passLearned = map[string]bool{
	"ARP probe of a denied host":                            true,
	"neighbour scan as a probe from no address, link-local": true,
	"neighbour scan as a probe from no address, global":     true,
	"probe for a public address of a denied host":           true, // of a prefix that may be the link's, too
}

// TestAttacksLearned sends every attack where rules have learned the VM's addresses: none of
// it arrives.
func TestAttacksLearned(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), "[policy.default]\nlearn = \"first\""))
	owns(t, n, tap, false)
	// The gateway is heard of, and its address is none that the VM could ask for.
	gateway := in
	gateway.src = site().Gateway.MAC
	plays(t, n, tap, []step{hears("the gateway's advertisement", advertises(t, gateway, "fe80::1"))})
	for _, c := range attacks(t) {
		if arrived := arrivals(t, n, tap, c); (arrived > 0) != passLearned[c.Name] {
			t.Errorf("%s, %s: %d of %d frames arrived", c.Name, c.Way, arrived, len(c.Frames))
		}
	}
}
