package kernel_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

var (
	seedMAC     = net.HardwareAddr{2, 0, 0, 0, 2, 1}
	secondMAC   = net.HardwareAddr{2, 0, 0, 0, 2, 2}
	strangerMAC = net.HardwareAddr{2, 0, 0, 0, 2, 9}
)

// learning is a table that lets a VM send to whom it learns of by ARP replies, of whom
// the seeds are known from the beginning, and whom alone there is room for.
func learning(tap *lab.Tap, comment string, room int, seeds ...net.HardwareAddr) ruleset.Table {
	var elements []ruleset.Element
	index := ruleset.Number(ruleset.OutputIndex, ruleset.Equal, uint32(tap.Index)).Value
	for _, mac := range seeds {
		key := [][]byte{index, mac}
		elements = append(elements, ruleset.Element{From: key, To: key})
	}
	bound := func(f ruleset.Field) ruleset.Rule {
		return ruleset.Rule{Matches: []ruleset.Match{ruleset.Number(f, ruleset.NotEqual, uint32(tap.Index))}, Verdict: ruleset.Drop, Comment: ruleset.StaleComment}
	}
	return ruleset.Table{
		Name: ruleset.TableName(tap.Name), Comment: comment, Interfaces: map[uint32]string{uint32(tap.Index): tap.Name},
		Sets: []ruleset.Set{{Name: "nic-routers", Key: []ruleset.Type{ruleset.TypeInterface, ruleset.TypeEtherAddr}, Dynamic: room, Elements: elements}},
		Chains: []ruleset.Chain{
			{Name: "to-vm", Hook: &ruleset.Hook{Type: ruleset.Ingress, Device: tap.Name}, Rules: []ruleset.Rule{
				bound(ruleset.InputIndex),
				{
					Matches: []ruleset.Match{ruleset.Is(ruleset.ARPOperation, layers.ARPReply)},
					Updates: []ruleset.Update{{Set: "nic-routers", Fields: []ruleset.Field{ruleset.InputIndex, ruleset.ARPSenderMAC}}},
				},
				{Matches: []ruleset.Match{ruleset.Is(ruleset.Protocol, ruleset.EtherTypeARP)}, Verdict: ruleset.Accept},
			}},
			{Name: "from-vm", Hook: &ruleset.Hook{Type: ruleset.Egress, Device: tap.Name}, Rules: []ruleset.Rule{
				bound(ruleset.OutputIndex),
				{Matches: []ruleset.Match{ruleset.Lookup{Fields: []ruleset.Field{ruleset.OutputIndex, ruleset.EtherDestination}, Set: "nic-routers"}}, Verdict: ruleset.Accept},
			}},
		},
	}
}

// reply is an ARP reply of a host to the VM.
func reply(t *testing.T, mac net.HardwareAddr) []byte {
	t.Helper()
	return serialize(t, way{in.name, mac, vmMAC}.ethernet(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
		SourceHwAddress: mac, SourceProtAddress: []byte{192, 168, 2, 1}, DstHwAddress: vmMAC, DstProtAddress: []byte{192, 168, 2, 100},
	})
}

// known holds whom the VM may send to against who is known.
func known(t *testing.T, n *lab.Network, tap *lab.Tap, about string, all ...net.HardwareAddr) {
	t.Helper()
	is := map[string]bool{}
	for _, mac := range all {
		is[mac.String()] = true
	}
	for _, mac := range []net.HardwareAddr{seedMAC, lanMAC, secondMAC, strangerMAC} {
		frame := to(out.udp(t, "192.0.2.1", 53), mac)
		crosses(t, n, tap, out, sample{about + ": to " + mac.String(), frame, is[mac.String()]})
	}
}

// TestLearn has a frame open what a later one of the other direction meets, and a set
// with no room left: then the rule that would add does not hold, and the next one judges.
func TestLearn(t *testing.T) {
	n, tap := network(t)
	ns := n.Hypervisor
	made := []ruleset.Table{learning(tap, "vm=web-1", 2, seedMAC)}
	create(t, ns, made)
	known(t, n, tap, "at first", seedMAC)
	crosses(t, n, tap, in, sample{"a reply", reply(t, lanMAC), true})
	crosses(t, n, tap, in, sample{"a reply of one known", reply(t, lanMAC), true})
	known(t, n, tap, "learned", seedMAC, lanMAC)
	crosses(t, n, tap, in, sample{"a reply, and no room", reply(t, secondMAC), true})
	known(t, n, tap, "full", seedMAC, lanMAC)

	held := read(t, ns)[0]
	if got := len(held.Table.Sets[0].Elements); got != 2 {
		t.Errorf("read %d elements, want 2:\n%s", got, held.Table)
	}
	if diff := ruleset.Diff("should", made[0], "stands", held.Table); diff != "" {
		t.Errorf("what was learned is a difference:\n%s", diff)
	}
	before := handles(t, ns)
	if err := within(t, ns, func(ctx context.Context) error { return kernel.Reconcile(ctx, made, owned(otherUUID)) }); err != nil {
		t.Fatal(err)
	}
	if handles(t, ns)[made[0].Name] != before[made[0].Name] {
		t.Error("rules that learned were programmed again")
	}
	again := namespace(t)
	addDevices(t, again, tap.Name)
	nft(t, again, listing(t, ns), "-f", "-")
}

// before gives rules as a version before made them: a table of the device's own, in which
// the routers of both families are in one set.
func before(tap *lab.Tap, comment string, index int) ruleset.Table {
	t := learning(tap, comment, 64)
	t.Sets = []ruleset.Set{{Name: "routers", Key: []ruleset.Type{ruleset.TypeEtherAddr}, Dynamic: 64}}
	for i, c := range t.Chains {
		t.Chains[i].Rules[0].Matches[0] = ruleset.Number(c.Rules[0].Matches[0].(ruleset.Compare).Field, ruleset.NotEqual, uint32(index))
	}
	t.Chains[0].Rules[1].Updates = []ruleset.Update{{Set: "routers", Fields: []ruleset.Field{ruleset.ARPSenderMAC}}}
	t.Chains[1].Rules[1].Matches = []ruleset.Match{ruleset.Lookup{Fields: []ruleset.Field{ruleset.EtherDestination}, Set: "routers"}}
	return t
}

// TestLearnedIsKept replaces rules by others, after they learned.
func TestLearnedIsKept(t *testing.T) {
	n, tap := network(t)
	ns := n.Hypervisor
	const web = "vm=web-1"
	none := func(kernel.Standing) bool { return false }
	all := func(kernel.Standing) bool { return true }
	learn := func(macs ...net.HardwareAddr) {
		t.Helper()
		remove(t, ns, all)
		create(t, ns, []ruleset.Table{learning(tap, web, 64, seedMAC)})
		for _, mac := range macs {
			crosses(t, n, tap, in, sample{"a reply", reply(t, mac), true})
		}
	}
	put := func(made ruleset.Table) { t.Helper(); replace(t, ns, []ruleset.Table{made}, none) }

	learn(lanMAC)
	put(learning(tap, web, 64, seedMAC))
	known(t, n, tap, "applied again", seedMAC, lanMAC)
	put(learning(tap, web, 64, secondMAC))
	known(t, n, tap, "other facts", secondMAC, seedMAC, lanMAC)

	learn(lanMAC)
	nft(t, ns, "", "flush", "chain", "netdev", ruleset.RulesTable, "to-vm-macvtap0")
	reconcile(t, ns, learning(tap, web, 64, seedMAC))
	known(t, n, tap, "put right", seedMAC, lanMAC)

	learn(lanMAC)
	put(learning(tap, "vm=other", 64, seedMAC))
	known(t, n, tap, "another VM's", seedMAC)

	remove(t, ns, all)
	create(t, ns, []ruleset.Table{learning(tap, filter.Owner{UUID: domain.UnknownUUID, Name: "?"}.Comment(), 64, seedMAC)})
	crosses(t, n, tap, in, sample{"a reply", reply(t, lanMAC), true})
	put(learning(tap, web, 64, seedMAC))
	known(t, n, tap, "of a VM that was not known yet", seedMAC, lanMAC)

	learn(lanMAC)
	if err := tap.Delete(); err != nil {
		t.Fatal(err)
	}
	tap = addTap(t, n, tap.Name, vmMAC)
	put(learning(tap, web, 64, seedMAC))
	known(t, n, tap, "another device's", seedMAC)

	learn(lanMAC)
	learn()
	known(t, n, tap, "a first start", seedMAC)

	stood := func(about string, comment string, index int, want ...net.HardwareAddr) {
		t.Helper()
		remove(t, ns, all)
		createPlain(t, ns, before(tap, comment, index))
		if index == tap.Index {
			crosses(t, n, tap, in, sample{"a reply", reply(t, lanMAC), true})
		} else {
			nft(t, ns, "", "add", "element", "netdev", ruleset.TableName(tap.Name), "routers", "{ "+lanMAC.String()+" }")
		}
		stands(t, ns, ruleset.TableName(tap.Name))
		reconcile(t, ns, learning(tap, web, 64, seedMAC))
		if now := listing(t, ns); strings.Contains(now, "table netdev "+ruleset.TableName(tap.Name)) {
			t.Errorf("%s: the table of a version before still stands:\n%s", about, now)
		}
		known(t, n, tap, about, want...)
	}
	stood("a version before's", web, tap.Index, seedMAC, lanMAC)
	stood("a version before's, another VM's", "vm=other", tap.Index, seedMAC)
	stood("a version before's, another device's", web, tap.Index+1, seedMAC)
}

// TestFullOfLearned starts a VM where hosts of the LAN have filled the set of all interfaces
// by another's: there is room for it, and the other keeps a part of what it learned.
func TestFullOfLearned(t *testing.T) {
	const room = 600
	n, tap := network(t)
	ns := n.Hypervisor
	second := addTap(t, n, "macvtap1", otherMAC)
	create(t, ns, []ruleset.Table{learning(tap, "vm=web-1", room, seedMAC)})
	var many []string
	for i := range room - 1 {
		many = append(many, fmt.Sprintf("\"macvtap0\" . 02:77:00:00:%02x:%02x", i>>8, i&0xff))
	}
	nft(t, ns, "add element netdev macvtap-filter nic-routers { "+strings.Join(many, ", ")+" }\n", "-f", "-")
	create(t, ns, []ruleset.Table{learning(second, "vm=web-2", room, secondMAC)})
	held := read(t, ns)
	if got := len(held[0].Table.Sets[0].Elements); got < 200 || got >= room {
		t.Errorf("the first VM's device knows %d", got)
	}
	if got := len(held[1].Table.Sets[0].Elements); got != 1 {
		t.Errorf("the second VM's device knows %d, want 1", got)
	}
}
