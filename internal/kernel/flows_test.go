package kernel_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// A datagram goes between a VM's port and a peer's of the internet.
type datagram struct {
	way
	vm, peer string
	own, far uint16
}

func (d datagram) ends() (src, dst string, sport, dport uint16) {
	if d.name == out.name {
		return d.vm, d.peer, d.own, d.far
	}
	return d.peer, d.vm, d.far, d.own
}

func (d datagram) ip(proto layers.IPProtocol) *layers.IPv4 {
	src, dst, _, _ := d.ends()
	return &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: proto, SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
}

func (d datagram) udp(t testing.TB) []byte {
	_, _, sport, dport := d.ends()
	ip, udp := d.ip(layers.IPProtocolUDP), &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return serialize(t, d.ethernet(layers.EthernetTypeIPv4), ip, udp, gopacket.Payload("0123456789abcdef0123456789abcdef"))
}

func (d datagram) tcp(t testing.TB, syn, ack bool) []byte {
	return d.segment(t, layers.TCP{SYN: syn, ACK: ack})
}

func (d datagram) reset(t testing.TB) []byte { return d.segment(t, layers.TCP{RST: true}) }

func (d datagram) segment(t testing.TB, of layers.TCP) []byte {
	_, _, sport, dport := d.ends()
	ip, tcp := d.ip(layers.IPProtocolTCP), &of
	tcp.SrcPort, tcp.DstPort, tcp.Window = layers.TCPPort(sport), layers.TCPPort(dport), 1000
	_ = tcp.SetNetworkLayerForChecksum(ip)
	return serialize(t, d.ethernet(layers.EthernetTypeIPv4), ip, tcp)
}

func flow(w way, own, far uint16) datagram { return datagram{w, "203.0.113.7", "192.0.2.1", own, far} }

const closedInbound = "[policy.default]\nlearn = \"off\"\ninbound = [\"tcp/443\"]"

// TestFlowsOfAnotherVM has the device of a VM become another's: the flows of the one are none of
// the other's, though the index is the same.
func TestFlowsOfAnotherVM(t *testing.T) {
	n, tap := network(t)
	asked := []step{sends("a question", flow(out, 5000, 53).udp(t)), hears("its answer", flow(in, 5000, 53).udp(t))}
	answer := []step{doesNotHear("the other VM's answer", flow(in, 5000, 53).udp(t))}
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), closedInbound))
	plays(t, n, tap, asked)
	if err := within(t, n.Hypervisor, func(ctx context.Context) error { _, err := kernel.Remove(ctx, owned(vmUUID)); return err }); err != nil {
		t.Fatal(err)
	}
	create(t, n.Hypervisor, tables(t, vm(otherUUID, tap.Name), closedInbound))
	plays(t, n, tap, answer)
	plays(t, n, tap, asked)
	// Nobody took the rules away before the next VM came.
	create(t, n.Hypervisor, boundIn(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), closedInbound)))
	plays(t, n, tap, answer)
	plays(t, n, tap, asked)
	// Another configuration of the same VM changes nothing.
	made := boundIn(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), closedInbound+"\nmax_packets = 1000"))
	if err := within(t, n.Hypervisor, func(ctx context.Context) error { return kernel.Reconcile(ctx, made, owned(vmUUID)) }); err != nil {
		t.Fatal(err)
	}
	plays(t, n, tap, []step{hears("its answer", flow(in, 5000, 53).udp(t))})
}

// TestFlowsThatEndMeanwhile has a VM end while its flows do, one after the other: what ends by itself
// between a look at it and its removal keeps no rules from going.
func TestFlowsThatEndMeanwhile(t *testing.T) {
	n, tap := network(t)
	other := addTap(t, n, "macvtap1", otherMAC)
	second := &domain.Domain{Name: "web-2", UUID: otherUUID, Direct: []domain.Interface{{Number: 1, Target: other.Name, Parent: lan.Parent, MAC: otherMAC}}}
	create(t, n.Hypervisor, append(tables(t, vm(vmUUID, tap.Name), closedInbound), tables(t, second, closedInbound)...))
	var elements []string
	const flows = 40000
	for i := range flows { // several end in each millisecond, for as long as anybody tries
		elements = append(elements, fmt.Sprintf("%s . 0x%08x . 0x0035 . 0x1388 timeout %dms", tap.Name, 0xc0000000+i, 100+i/4))
	}
	nft(t, n.Hypervisor, "add element netdev macvtap-filter nic-flows-udp-ipv4 { "+strings.Join(elements, ", ")+" }\n", "-f", "-")
	if err := within(t, n.Hypervisor, func(ctx context.Context) error { _, err := kernel.Remove(ctx, owned(vmUUID)); return err }); err != nil {
		t.Error(err)
	}
}

// TestConnectionsOfARunningVM has a VM that runs get rules that know flows: its connections go on,
// and nobody opens another one by that. Of a VM that starts, there are none.
func TestConnectionsOfARunningVM(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
	made := boundIn(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), closedInbound))
	if err := within(t, n.Hypervisor, func(ctx context.Context) error { return kernel.Reconcile(ctx, made, owned(vmUUID)) }); err != nil {
		t.Fatal(err)
	}
	plays(t, n, tap, []step{
		hears("a connection", flow(in, 5000, 22).tcp(t, false, true)), sends("the VM's answer", flow(out, 5000, 22).tcp(t, false, true)), doesNotHear("a new one", flow(in, 5001, 22).tcp(t, true, false)),
		doesNotHear("an answer to nothing", flow(in, 5001, 22).tcp(t, true, true)),
	})
	nft(t, n.Hypervisor, "flush set netdev macvtap-filter nic-running-flows", "-f", "-") // the time is over
	plays(t, n, tap, []step{hears("the connection", flow(in, 5000, 22).tcp(t, false, true)), doesNotHear("another", flow(in, 5002, 22).tcp(t, false, true))})

	started, tap := network(t)
	create(t, started.Hypervisor, tables(t, vm(vmUUID, tap.Name), closedInbound))
	plays(t, started, tap, []step{doesNotHear("of a VM that starts", flow(in, 5000, 22).tcp(t, false, true))})
}

// TestFloodOfFlows has a VM open more flows than its share, and peers more than theirs: connections
// that stand go on, and another VM of the same policy opens its own.
func TestFloodOfFlows(t *testing.T) {
	n, tap := network(t)
	other := addTap(t, n, "macvtap1", otherMAC)
	second := &domain.Domain{Name: "web-2", UUID: otherUUID, Direct: []domain.Interface{{Number: 1, Target: other.Name, Parent: lan.Parent, MAC: otherMAC}}}
	const policy = "[policy.default]\nlearn = \"off\"\ninbound = [\"udp/7\"]\noutbound = [\"any\"]\nmax_new_flows = 10"
	create(t, n.Hypervisor, append(tables(t, vm(vmUUID, tap.Name), policy), tables(t, second, policy)...))
	connection := []step{sends("SYN", flow(out, 6000, 22).tcp(t, true, false)), hears("SYN and ACK", flow(in, 6000, 22).tcp(t, true, true)), sends("ACK", flow(out, 6000, 22).tcp(t, false, true))}
	plays(t, n, tap, connection)

	const flood = 12000 // more than two minutes' share of peers, and twenty of the VM's
	dropped := func(counter string) uint64 {
		var sum uint64
		for _, h := range read(t, n.Hypervisor) {
			if h.Name == ruleset.TableName(tap.Name) {
				sum += h.Counts[counter].Packets
			}
		}
		return sum
	}
	for i := range flood {
		d := flow(out, uint16(10000+i), 99)
		_ = tap.Send(d.udp(t))
	}
	if got := dropped("from-vm-max-new-flows"); got == 0 {
		t.Errorf("none of %d new flows of the VM was one too many", flood)
	}
	wire, err := n.Wire()
	if err != nil {
		t.Fatal(err)
	}
	for i := range flood {
		d := flow(in, 7, 99)
		d.peer = fmt.Sprintf("198.51.%d.%d", 100+i/250, 1+i%250)
		if err := wire.Send(d.udp(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Settle(); err != nil {
		t.Fatal(err)
	}
	if got := dropped("to-vm-max-new-flows"); got == 0 {
		t.Errorf("none of %d new flows of peers was one too many", flood)
	}
	plays(t, n, tap, []step{hears("the connection", flow(in, 6000, 22).tcp(t, false, true)), sends("and back", flow(out, 6000, 22).tcp(t, false, true))})
	ofOther := flow(way{out.name, otherMAC, out.dst}, 7000, 53)
	ofOther.vm = "203.0.113.8"
	if passed, err := n.FromVM(other, ofOther.udp(t)); err != nil || !passed {
		t.Errorf("another VM's flow: %v, %v", passed, err)
	}
}

// TestLimits has a VM send more than it may, and hear more than that, which nothing bounds.
func TestLimits(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), "[policy.default]\nlearn = \"off\"\nmax_packets = 20\nmax_broadcasts = 1"))
	wire, err := n.Wire()
	if err != nil {
		t.Fatal(err)
	}
	repeated := func(send func([]byte) error, frame []byte, times int) int {
		seen, err := n.Watch(func() error {
			for range times {
				if err := send(frame); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		arrived := 0
		for _, f := range append(seen.Wire, seen.Taps[tap]...) {
			if string(f) == string(frame) {
				arrived++
			}
		}
		return arrived
	}
	sent := func(frame []byte, times int) int { return repeated(tap.Send, frame, times) }
	const times = 2000 // at 20 a second, more than a minute's
	if got := sent(arpOf(t, out, layers.ARPRequest, "203.0.113.7", "192.168.2.1"), times); got == 0 || got == times {
		t.Errorf("%d of %d broadcasts arrived", got, times)
	}
	// A second's worth may come at once, of which the first broadcast was one.
	if got := sent(flow(out, 1, 2).udp(t), times); got < 20-1 || got == times {
		t.Errorf("%d of %d frames arrived", got, times)
	}
	const heard = 200 // a tap's queue has room for these
	for what, frame := range map[string][]byte{"frames": flow(in, 1, 2).udp(t), "broadcasts": arpOf(t, in, layers.ARPRequest, "192.168.2.1", "203.0.113.7")} {
		if got := repeated(wire.Send, frame, heard); got != heard {
			t.Errorf("%d of %d %s to the VM arrived", got, heard, what)
		}
	}
	counts := read(t, n.Hypervisor)[0].Counts
	for _, counter := range []string{"from-vm-max-packets", "from-vm-max-broadcasts"} {
		if counts[counter].Packets == 0 {
			t.Errorf("nothing is counted as %s", counter)
		}
	}
}
