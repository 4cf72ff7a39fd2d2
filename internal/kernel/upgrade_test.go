package kernel_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/offload"
	"macvtap-filter/internal/ruleset"
)

// stand has the table stand that a version before made for a device, as it bound it.
func stand(t *testing.T, ns *lab.Namespace) {
	t.Helper()
	text, err := os.ReadFile("testdata/table-per-device.nft")
	if err != nil {
		t.Fatal(err)
	}
	const table = "netdev macvtap-filter-macvtap0"
	nft(t, ns, string(text), "-f", "-")
	for chain, field := range map[string]string{"from-vm": "oif", "to-vm": "iif"} {
		nft(t, ns, fmt.Sprintf("add counter %[1]s %[2]s-stale-device\ninsert rule %[1]s %[2]s meta %[3]s != \"macvtap0\" counter name \"%[2]s-stale-device\" drop comment \"%[4]s\"\n",
			table, chain, field, ruleset.StaleComment), "-f", "-")
	}
}

// TestUpgrade moves a running VM from the table of a version before to the one table: while
// its frames cross no denied one gets out, and no allowed one is lost. What the old rules
// learned is known to the new ones.
func TestUpgrade(t *testing.T) {
	n, tap := network(t)
	ns := n.Hypervisor
	made := boundIn(t, ns, tables(t, vm(vmUUID, tap.Name), ""))
	all := func(kernel.Standing) bool { return true }
	// The version before put the check of offloads on the device, too. The kernel drops what a
	// device sends while it gets its first (net/sched/sch_api.c, qdisc_graft).
	if err := ns.Do(func() error { return offload.Attach(tap.Index) }); err != nil {
		t.Fatal(err)
	}
	sent, out0 := 0, out
	for round := range 10 {
		remove(t, ns, all)
		stand(t, ns)
		learned := to(out0.udp(t, "192.0.2.1", 53), secondMAC)
		crosses(t, n, tap, out, sample{"by a router that nobody knows", learned, false})
		crosses(t, n, tap, in, sample{"a reply", reply(t, secondMAC), true})
		crosses(t, n, tap, out, sample{"by the router, by the rules of before", learned, true})
		stands(t, ns, made[0].Name)
		if held := read(t, ns, made[0].Name); len(held) != 1 || ruleset.Same(made[0], held[0].Table) {
			t.Fatalf("the table of before passes for that which should stand: %v", held)
		}
		lost, leaked, count := upgrade(t, n, tap, func() { reconcile(t, ns, made...) })
		sent += count
		if lost > 0 || leaked > 0 {
			t.Errorf("round %d: of %d frames each, %d allowed ones were lost and %d denied ones got out", round, count, lost, leaked)
		}
		stands(t, ns, made[0].Name)
		crosses(t, n, tap, out, sample{"by the router, by the new rules", learned, true})
	}
	t.Logf("%d frames each during 10 upgrades", sent)
	if got := nft(t, ns, "", "list", "tables"); got != "table netdev "+ruleset.RulesTable+"\n" {
		t.Errorf("there stand\n%s", got)
	}
	for _, h := range read(t, ns) {
		if diff := ruleset.Diff("should", made[0], "stands", h.Table); diff != "" {
			t.Error(diff)
		}
	}
}

// upgrade sends allowed and denied frames in turn from the VM, each with a port of its own,
// while something is done, and counts what was lost and what got out.
func upgrade(t *testing.T, n *lab.Network, tap *lab.Tap, do func()) (lost, leaked, sent int) {
	t.Helper()
	const least, most, before = 100, 4000, 50
	begin, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		<-begin
		do()
	}()
	var allowed, denied [][]byte
	for port := range most {
		allowed = append(allowed, to(out.udp(t, "192.0.2.1", uint16(10000+port)), secondMAC))
		denied = append(denied, out.udp(t, "192.168.2.77", uint16(10000+port)))
	}
	seen, err := n.Watch(func() error {
		after := 0
		for sent = 0; sent < most && (sent < least || after < before); sent++ {
			if sent == before {
				close(begin)
			}
			select {
			case <-done:
				after++
			default:
			}
			time.Sleep(50 * time.Microsecond) // there are so many frames alone
			for _, frame := range [][]byte{allowed[sent], denied[sent]} {
				if err := tap.Send(frame); err != nil {
					return err
				}
			}
		}
		<-done
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wire := map[string]bool{}
	for _, f := range seen.Wire {
		wire[string(f)] = true
	}
	for i := range sent {
		if !wire[string(allowed[i])] {
			lost++
		}
		if wire[string(denied[i])] {
			leaked++
		}
	}
	return lost, leaked, sent
}

// TestChangesLoseNothing has a running VM's rules change to others and back, and be put in
// place again, while its frames cross.
func TestChangesLoseNothing(t *testing.T) {
	n, tap := network(t)
	ns := n.Hypervisor
	made := func(allow string) []ruleset.Table {
		return boundIn(t, ns, tables(t, vm(vmUUID, tap.Name), "[policy.default]\nallow = ["+allow+"]\n"))
	}
	ways := [][]ruleset.Table{made(`"gateway", "dns"`), made(`"gateway", "192.168.2.0/28", "192.168.2.53 udp/53"`)}
	create(t, ns, ways[0])
	leased(t, n, tap) // and stays so
	crosses(t, n, tap, in, sample{"a reply", reply(t, secondMAC), true})
	sent := 0
	for round := range 10 {
		lost, leaked, count := upgrade(t, n, tap, func() {
			reconcile(t, ns, ways[(round+1)%2]...)
			replace(t, ns, ways[(round+1)%2], func(kernel.Standing) bool { return false })
		})
		sent += count
		if lost > 0 || leaked > 0 {
			t.Errorf("round %d: of %d frames each, %d allowed ones were lost and %d denied ones got out", round, count, lost, leaked)
		}
	}
	t.Logf("%d frames each during 20 changes", sent)
	areRight(t, ns, ways[0]...)
	if parts := partNames(t, ns); len(parts) != 1 {
		t.Errorf("the parts %q stand, want one", parts)
	}
}

// TestChangesLoseNothingOfAFlood does so while the VM sends without pause, and counts what its
// device sent against what was given to it.
func TestChangesLoseNothingOfAFlood(t *testing.T) {
	for about, peer := range map[string]string{"the internet": "192.0.2.1", "allowed ranges": "192.168.2.5", "allowed services": "192.168.2.85"} {
		t.Run(about, func(t *testing.T) { losesNothing(t, peer) })
	}
}

// losesNothing lets a VM send to a peer that two policies allow, while they take turns.
func losesNothing(t *testing.T, peer string) {
	const changes = 30
	n, tap := network(t)
	ns := n.Hypervisor
	made := func(allow string) []ruleset.Table {
		return boundIn(t, ns, tables(t, vm(vmUUID, tap.Name), "[policy.default]\nallow = ["+allow+"]\n"))
	}
	ways := [][]ruleset.Table{made(`"gateway", "192.168.2.0/28", "192.168.2.80-192.168.2.90 udp/53-60"`), made(`"gateway", "192.168.2.0/28", "192.168.2.77", "192.168.2.80-192.168.2.91 udp/53-60"`)}
	create(t, ns, ways[0])
	leased(t, n, tap) // and stays so
	passed := func() uint64 {
		link, err := ns.Links().LinkByName(tap.Name)
		if err != nil {
			t.Fatal(err)
		}
		return link.Attrs().Statistics.TxPackets
	}
	frame := out.udp(t, peer, 53)
	crosses(t, n, tap, out, sample{"allowed", frame, true})
	stop, ended := make(chan struct{}), make(chan error)
	var sent uint64
	before := passed()
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := tap.Send(frame); err != nil {
				ended <- err
				return
			}
			sent++
		}
	}()
	for i := range changes {
		reconcile(t, ns, ways[(i+1)%2]...)
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	got := passed() - before
	t.Logf("%d frames during %d changes", sent, changes)
	if got < sent {
		t.Errorf("%d of %d allowed frames were lost during %d changes", sent-got, sent, changes)
	}
}

// leased has the VM lease the IPv4 address that its frames are from.
func leased(t *testing.T, n *lab.Network, tap *lab.Tap) {
	t.Helper()
	source, _ := out.addresses("192.0.2.1")
	plays(t, n, tap, []step{hears("a lease", leases(t, layers.DHCPMsgTypeAck, "192.168.2.1", source.String(), vmMAC))})
}
