package kernel_test

import (
	"testing"

	"macvtap-filter/internal/attack"
)

// TestRouter sends what a VM and its router send each other under a policy with "gateway", when
// all of it arrives, and with "router", when that alone does which makes a router of a host.
func TestRouter(t *testing.T) {
	n, tap := network(t)
	all := cases(t, attack.OfRouter)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
	for _, c := range all {
		if arrived := arrivals(t, n, tap, c); arrived != len(c.Frames) {
			t.Errorf("%s, %s, with \"gateway\": %d of %d frames arrived", c.Name, c.Way, arrived, len(c.Frames))
		}
	}
	remove(t, n.Hypervisor, owned(vmUUID))
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned+`allow = ["router", "dns udp/53 tcp/53", "broadcast"]`))
	for _, c := range all {
		if c.Reason != "" {
			dropped(t, n, tap, c)
		} else if arrived := arrivals(t, n, tap, c); arrived != len(c.Frames) {
			t.Errorf("%s, %s, with \"router\": %d of %d frames arrived", c.Name, c.Way, arrived, len(c.Frames))
		}
	}
}
