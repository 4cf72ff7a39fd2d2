package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// A lane is one kind of rules, and the way that they judge.
type lane struct {
	kind    string
	traffic *traffic
	filters bool
	install func(context.Context) error
}

// timeFlows times segments of TCP connections, and what the kernel holds for flows, in our sets
// and by connection tracking.
func timeFlows(ctx context.Context, o options, rounds int, out *bench.Results) (err error) {
	s, err := newSite()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	v := newVM("web", 1, 1)
	tap, err := s.network.AddMacvtap(v.nics[0].Device, v.nics[0].MAC)
	if err != nil {
		return err
	}
	t, err := startTraffic(s.network, tap)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	b, err := newBridged(ctx, v)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	out.About = append(out.About, b.about())
	all, err := s.flowRules(v, t)
	if err != nil {
		return err
	}
	lanes := s.lanes(t, b, all)
	for round := range rounds {
		for turn := range lanes {
			l := lanes[(turn+round)%len(lanes)]
			if err := l.underRules(ctx, o.sizes.slice, out); err != nil {
				return fmt.Errorf("%s: %w", l.kind, err)
			}
		}
	}
	for round := range min(rounds, memoryRounds) + 1 {
		into := out
		if round == 0 { // the first one fills the kernel's caches
			into = new(bench.Results)
		}
		if err := errors.Join(s.holdFlows(ctx, v, t, all, into), b.holdFlows(ctx, into)); err != nil {
			return err
		}
	}
	return nil
}

// memoryRounds is how often memory is counted, at most.
const memoryRounds = 5

// flowRules are those on a macvtap device.
func (s *site) flowRules(v vm, t *traffic) ([]rules, error) {
	all := []rules{
		{Rules: bench.Rules{Kind: bench.Unfiltered}},
		{Rules: bench.Rules{Kind: bench.Shell}, text: linear(t.tap.Name, gateway4)},
	}
	for _, ours := range [][2]string{{bench.Ours, ""}, {bench.OursFlows, "inbound"}, {bench.OursOutbound, "outbound"}} {
		configuration := s.configuration(nil, false, "off")
		if ours[1] != "" {
			configuration += fmt.Sprintf("%s = [\"tcp/%d\"]\n", ours[1], tcpPort)
		}
		tables, err := s.tables(v, t.tap.Index, configuration)
		if err != nil {
			return nil, err
		}
		all = append(all, rules{Rules: bench.Rules{Kind: ours[0]}, tables: tables})
	}
	return all, nil
}

func (s *site) lanes(t *traffic, b *bridged, all []rules) []lane {
	var out []lane
	for _, r := range all {
		out = append(out, lane{r.Kind, t, r.filters(), func(ctx context.Context) error {
			// What was counted of the rules before must not be these's.
			return errors.Join(s.install(ctx, t.tap, all[0]), s.install(ctx, t.tap, r))
		}})
	}
	for _, kind := range []string{bench.Bridged, bench.BridgedConntrack} {
		out = append(out, lane{kind, b.traffic, kind != bench.Bridged, func(ctx context.Context) error { return b.install(ctx, kind) }})
	}
	return out
}

// underRules times all segments.
func (l lane) underRules(ctx context.Context, slice time.Duration, out *bench.Results) error {
	if err := l.install(ctx); err != nil {
		return err
	}
	if err := l.traffic.checkRules(rules{Rules: bench.Rules{Kind: map[bool]string{true: l.kind, false: bench.Unfiltered}[l.filters]}}); err != nil {
		return err
	}
	mac := l.traffic.tap.MAC
	for _, ipv6 := range []bool{false, true} {
		for i, flags := range []string{"S", "SA", "A"} {
			way := []bench.Way{bench.FromVM, bench.ToVM, bench.FromVM}[i]
			frame, err := segmentOf(bench.FlowFrame{Way: way, IPv6: ipv6, Size: 80}, mac, flags, vmPort)
			if err != nil {
				return err
			}
			if dropped, err := l.traffic.drops(way, frame); err != nil || dropped {
				return errors.Join(err, fmt.Errorf("%s of a handshake, IPv6 %t: dropped: %t", flags, ipv6, dropped))
			}
		}
	}
	return onProcessor(func() error {
		for _, way := range []bench.Way{bench.FromVM, bench.ToVM} {
			for i, f := range append(bench.FlowFrames(way)[:1:1], bench.FlowFrames(way)...) {
				if err := ctx.Err(); err != nil {
					return err
				}
				ns, err := l.time(f, slice)
				if err != nil {
					return fmt.Errorf("%+v: %w", f, err)
				}
				if i > 0 { // the first one is only for warming up
					out.Add(bench.PerFlowFrame(f, l.kind), bench.Time, ns)
				}
			}
		}
		return nil
	})
}

// openings is how many flows are opened one after the other: fewer than a NIC may at once.
const openings = 24 * batch

// vmPort is the VM's own of the connection that stands.
const vmPort = 40000

func (l lane) time(f bench.FlowFrame, slice time.Duration) (float64, error) {
	ports, flags := []uint16{vmPort}, "A"
	if f.Opens {
		flags, ports = "S", nil
		for i := range openings {
			ports = append(ports, uint16(10_000+i))
		}
	}
	var frames [][]byte
	for _, port := range ports {
		frame, err := segmentOf(f, l.traffic.tap.MAC, flags, port)
		if err != nil {
			return 0, err
		}
		frames = append(frames, frame)
	}
	return l.traffic.roundOf(f.Way, frames, slice)
}

// segmentOf builds a TCP segment between the VM and the web port of an internet host, with its
// request before it. What opens a flow to the VM goes to the VM's own web port.
func segmentOf(f bench.FlowFrame, mac net.HardwareAddr, flags string, port uint16) ([]byte, error) {
	near, far := vm4, internet4
	if f.IPv6 {
		near, far = vm6, internet6
	}
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(port), DstPort: tcpPort, Seq: 1, Ack: 1, Window: 65535,
		SYN: strings.Contains(flags, "S"), ACK: strings.Contains(flags, "A"),
	}
	if tcp.SYN {
		tcp.Seq = 0
	}
	from, to, source, destination := mac, lanMAC, near, far
	if f.Way == bench.ToVM {
		from, to, source, destination = lanMAC, mac, far, near
		if !f.Opens {
			tcp.SrcPort, tcp.DstPort = tcp.DstPort, tcp.SrcPort
		}
	}
	ask := checksum(f.IPv6)
	frame, err := filled(from, to, source, destination, tcp, f.Size)
	return append(ask[:], frame...), err
}

// heldFlows is how many flows are held.
const heldFlows = 10_000

// holdFlows adds what our sets take, empty and for each flow.
func (s *site) holdFlows(ctx context.Context, v vm, t *traffic, all []rules, out *bench.Results) error {
	empty := map[string]float64{}
	for _, r := range all {
		if r.Kind != bench.Ours && r.Kind != bench.OursFlows {
			continue
		}
		if err := s.forget(ctx, v); err != nil {
			return err
		}
		var err error
		if empty[r.Kind], err = taken(func() error { return s.install(ctx, t.tap, r) }); err != nil {
			return err
		}
	}
	out.Add(bench.HeldFlows, bench.Memory, empty[bench.OursFlows]-empty[bench.Ours])
	for _, k := range bench.FlowKinds {
		set, peer := strings.ToLower(k.Protocol)+"-ipv4", internet4
		if k.IPv6 {
			set, peer = strings.ToLower(k.Protocol)+"-ipv6", internet6
		}
		var elements []ruleset.Element
		for i := range heldFlows {
			key := flowKey(t.tap.Index, peer, tcpPort, uint16(10_000+i))
			elements = append(elements, ruleset.Element{From: key, To: key, Left: time.Hour})
		}
		bytes, err := taken(func() error {
			return s.network.Hypervisor.Do(func() error {
				return kernel.ChangeElements(ctx, map[string][]ruleset.Element{ruleset.FlowPrefix + set: elements}, nil)
			})
		})
		if err != nil {
			return err
		}
		out.Add(bench.HeldFlow(k, bench.Ours), bench.PerFlow, bytes/heldFlows)
	}
	return s.forget(ctx, v)
}

// forget removes all rules, and their sets.
func (s *site) forget(ctx context.Context, v vm) error {
	s.textStands = false
	return errors.Join(s.asText("flush ruleset")(ctx), s.renew(v), s.settle())
}

// flowKey is that of a flow in our sets.
func flowKey(device int, peer netip.Addr, peerPort, port uint16) [][]byte {
	bytes := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	return [][]byte{binary.NativeEndian.AppendUint32(nil, uint32(device)), peer.AsSlice(), bytes(peerPort), bytes(port)}
}

// holdFlows adds what connection tracking takes for each flow.
func (b *bridged) holdFlows(ctx context.Context, out *bench.Results) error {
	for _, k := range bench.FlowKinds {
		if err := b.install(ctx, bench.BridgedConntrack); err != nil {
			return err
		}
		var frames [][]byte
		for i := range (heldFlows + batch - 1) / batch * batch {
			frame, err := opening(k, b.traffic.tap.MAC, uint16(10_000+i))
			if err != nil {
				return err
			}
			frames = append(frames, frame)
		}
		bytes, err := taken(func() error {
			_, err := b.traffic.roundOf(bench.FromVM, frames, time.Hour)
			return err
		})
		if err != nil {
			return err
		}
		out.Add(bench.HeldFlow(k, bench.BridgedConntrack), bench.PerFlow, bytes/float64(len(frames)))
	}
	return b.install(ctx, bench.Bridged)
}

// opening opens a flow of a kind.
func opening(k bench.FlowKind, mac net.HardwareAddr, port uint16) ([]byte, error) {
	if k.Protocol == "TCP" {
		return segmentOf(bench.FlowFrame{Way: bench.FromVM, IPv6: k.IPv6, Opens: true, Size: 80}, mac, "S", port)
	}
	near, far := vm4, internet4
	if k.IPv6 {
		near, far = vm6, internet6
	}
	frame, err := filled(mac, lanMAC, near, far, &layers.UDP{SrcPort: layers.UDPPort(port), DstPort: udpPort}, 80)
	return append(make([]byte, len(request{})), frame...), err
}
