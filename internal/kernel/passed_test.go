package kernel_test

import (
	"context"
	"strings"
	"testing"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// connects opens a connection, which is remembered for longer than rules would, however slow the machine.
func connects(t *testing.T, n *lab.Network, tap *lab.Tap) {
	t.Helper()
	plays(t, n, tap, []step{sends("SYN", flow(out, 6000, 22).tcp(t, true, false)), hears("SYN and ACK", flow(in, 6000, 22).tcp(t, true, true))})
	nft(t, n.Hypervisor, "add element netdev macvtap-filter default-passed-ipv4 { 0xc0000201 . 0x0016 . 0x1770 . "+tap.Name+" timeout 1h }\n", "-f", "-")
	plays(t, n, tap, goesOn(t))
}

func goesOn(t *testing.T) []step {
	return []step{sends("a segment", flow(out, 6000, 22).tcp(t, false, true)), hears("its answer", flow(in, 6000, 22).tcp(t, false, true))}
}

func isCut(t *testing.T) []step {
	return []step{mayNotSend("a segment", flow(out, 6000, 22).tcp(t, false, true)), doesNotHear("a segment to it", flow(in, 6000, 22).tcp(t, false, true))}
}

// remembered gives how many connections the sets hold that passed just now.
func remembered(t *testing.T, n *lab.Network) int {
	t.Helper()
	listed := nft(t, n.Hypervisor, "", "list", "ruleset")
	count := 0
	for part := range strings.SplitSeq(listed, "\tset ") {
		name, rest, _ := strings.Cut(part, " {")
		set, _, _ := strings.Cut(rest, "\n\t}")
		if ruleset.IsPassed(name) {
			count += strings.Count(set, "expires")
		}
	}
	return count
}

// TestConnectionOfAPeerThatIsClosed has a change of the configuration close the peer of a connection
// that stands, and open it again.
func TestConnectionOfAPeerThatIsClosed(t *testing.T) {
	n, tap := network(t)
	reconcile := func(policy string) {
		t.Helper()
		made := boundIn(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), policy))
		if err := within(t, n.Hypervisor, func(ctx context.Context) error { return kernel.Reconcile(ctx, made, owned(vmUUID)) }); err != nil {
			t.Fatal(err)
		}
	}
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), closedInbound))
	// Another VM of the same policy keeps its part.
	other := addTap(t, n, "macvtap1", otherMAC)
	second := &domain.Domain{Name: "web-2", UUID: otherUUID, Direct: []domain.Interface{{Number: 1, Target: other.Name, Parent: lan.Parent, MAC: otherMAC}}}
	create(t, n.Hypervisor, tables(t, second, closedInbound))
	connects(t, n, tap)
	reconcile(closedInbound + "\ndeny = [\"private\", \"onlink\", \"192.0.2.0/24\"]")
	plays(t, n, tap, isCut(t))
	reconcile(closedInbound)
	if n := remembered(t, n); n != 0 {
		t.Errorf("%d connections are remembered from before the change", n)
	}
	plays(t, n, tap, goesOn(t))
}

// TestConnectionThatEnded has one end: what was remembered of it ends, too.
func TestConnectionThatEnded(t *testing.T) {
	for _, end := range []step{sends("a reset", flow(out, 6000, 22).reset(t)), hears("a reset", flow(in, 6000, 22).reset(t))} {
		n, tap := network(t)
		create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), closedInbound))
		connects(t, n, tap)
		plays(t, n, tap, []step{end})
		if n := remembered(t, n); n != 0 {
			t.Errorf("%s: %d connections are remembered", end.name, n)
		}
	}
}

// TestConnectionOfAnotherVM has a device become another VM's, of the same policy.
func TestConnectionOfAnotherVM(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), closedInbound))
	connects(t, n, tap)
	create(t, n.Hypervisor, boundIn(t, n.Hypervisor, tables(t, vm(otherUUID, tap.Name), closedInbound)))
	if n := remembered(t, n); n != 0 {
		t.Errorf("%d connections are remembered of another VM", n)
	}
	plays(t, n, tap, []step{doesNotHear("a segment to the other VM", flow(in, 6000, 22).tcp(t, false, true))})
}
