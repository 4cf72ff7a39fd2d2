package filter

import (
	"net/netip"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/policy"
)

// The addresses of a gateway and of the host, side by side, are what is never learned, and not
// what is learned alone: a single range has no negation.
func TestNeighboursAreNotLearned(t *testing.T) {
	p := policy.Policy{Claimed: []netip.Addr{netip.MustParseAddr("192.168.2.1")}, Host: []netip.Addr{netip.MustParseAddr("192.168.2.2")}}
	p.Learn = config.LearnFirst
	learned := 0
	for _, rule := range rules(mustTable(t, web, nic, p)) {
		if !strings.Contains(rule, "update @nic-addresses-ipv4") || !strings.Contains(rule, "update @nic-tentative-ipv4") || strings.Contains(rule, "delete @") || strings.Contains(rule, "0x63825363350107") { // a release
			continue
		}
		learned++
		if !strings.Contains(rule, "!= { 0xc0a80201, 0xc0a80202 }") {
			t.Errorf("it may learn what is another's: %s", rule)
		}
	}
	if learned == 0 {
		t.Error("no rule learns")
	}
}
