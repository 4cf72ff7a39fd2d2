package kernel_test

import (
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

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

// passLearned are the attacks that pass where the VM's addresses are learned: another host's
// probe for an address of the VM's own, which it has to hear, and its own probes for addresses
// that it has not: that is how it claims one. It has few of these a day.
var passLearned = map[string]bool{
	"ARP probe of a denied host":                            true,
	"neighbour scan as a probe from no address, link-local": true,
	"neighbour scan as a probe from no address, global":     true,
	"probe for a public address of a denied host":           true, // of a prefix that may be the link's, too
}
