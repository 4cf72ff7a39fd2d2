package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/why"
)

// watch prints what the kernel does with frames of a running NIC.
func (q question) watch(ctx context.Context, std streams, d *domain.Domain, i domain.Interface, running bool, asker why.Asker) error {
	if !running {
		return fmt.Errorf("VM %q: it does not run: there are no frames to watch", d.Name)
	}
	wish, err := q.wish(i.Target)
	if err != nil {
		return badInput(err)
	}
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, q.long)
	defer cancel()
	seen, others := 0, 0
	begun := func() { notef(std, "watching %s for %v, or until Ctrl-C", i.Target, q.long) }
	lost, err := kernel.Trace(ctx, []kernel.Wish{wish}, begun, func(f kernel.Traced) {
		text, passed := traced(f, asker)
		fmt.Fprint(std.out, text)
		seen++
		if q.expect != "" && passed != (q.expect == passes) {
			others++
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", i.Target, err)
	case lost:
		notef(std, "there were more frames than the kernel could tell of")
	}
	switch {
	case seen == 0 && q.expect != "":
		return fmt.Errorf("expected %q, and no such frame came", q.expect)
	case seen == 0:
		notef(std, "no such frame came")
	case others > 0:
		return fmt.Errorf("expected %q, and of %d frames it was otherwise with %d", q.expect, seen, others)
	}
	return nil
}

// traced tells what became of a frame, and whether it passed.
func traced(f kernel.Traced, asker why.Asker) (text string, passed bool) {
	v, by := verdictOf(f)
	words := by.Rule.Comment
	switch {
	case len(f.Steps) == 0:
		words = "no rules see it"
	case words == "" && !v.Passes:
		words = "no rule lets it pass"
	case words == "":
		words = "accepted"
	}
	text = map[bool]string{true: passes, false: dropped}[v.Passes] + ": " + words + "\n"
	if by.Number > 0 {
		path, _ := stepped(f.Steps)
		text += fmt.Sprintf("  by rule %d of %s, on the way %s: %s\n", by.Number, by.Chain, strings.Join(path, " → "), by.Rule)
	}
	if r := asker.Reason(v); r != "" {
		text += "  reason: " + r + "\n"
	}
	way := map[bool]string{true: "from", false: "to"}[f.Out]
	return text + fmt.Sprintf("  frame %s the VM: %s\n", way, untold(frame.Words(f.Frame))), v.Passes
}

// verdictOf gives the kernel's verdict, and the step that decided.
func verdictOf(f kernel.Traced) (why.Verdict, kernel.Step) {
	passed := !slices.ContainsFunc(f.Steps, func(s kernel.Step) bool { return s.Drops })
	by := deciding(f.Steps, passed)
	rule := by.Rule
	_, rule.Counter = stepped(f.Steps)
	return why.Verdict{Out: f.Out, Frame: f.Frame, Passes: passed, Rule: rule}, by
}

// untold leaves out MAC addresses that the kernel did not tell.
func untold(words string) string {
	return strings.TrimPrefix(words, "00:00:00:00:00:00 > 00:00:00:00:00:00, ")
}

// deciding gives the step that decided: the chain of a reason has no words, who sent the frame
// there has; and what passes is let pass by our rules, whatever other tables there are.
func deciding(steps []kernel.Step, passed bool) (by kernel.Step) {
	for _, s := range steps {
		switch {
		case passed && s.Takes && (s.Table == ruleset.RulesTable || by.Number == 0):
			by = s
		case !passed && (s.Rule.Comment != "" || s.Drops && by.Rule.Verdict.Chain() != s.Chain):
			by = s
		}
	}
	return by
}

// stepped gives the chains that a frame went through, and what a drop is counted under.
func stepped(steps []kernel.Step) (path []string, reason string) {
	for _, s := range steps {
		name := s.Chain
		if s.Table != ruleset.RulesTable {
			name = s.Table + " " + name
		}
		if len(path) == 0 || path[len(path)-1] != name {
			path = append(path, name)
		}
		if s.Drops && ruleset.IsDropChain(s.Chain) {
			reason = strings.TrimPrefix(s.Chain, "drop-")
		}
	}
	return path, reason
}

// wish is what frames of a device are wanted, by the words of the question.
func (q question) wish(device string) (kernel.Wish, error) {
	w := kernel.Wish{Device: device, Out: q.out || !q.in, In: q.in || !q.out}
	switch {
	case q.hex != "" || q.pcap != "" || q.vlan != nil || q.fromPort != nil || q.xml != "":
		return w, errors.New("--live takes frames as they come: no --hex, --pcap, --vlan, --from-port, --xml")
	case q.vm == "" && q.own == "":
		return w, errors.New("--live: name the VM that runs, or the device with --device")
	case q.long <= 0:
		return w, fmt.Errorf("--for %v: want a time as 10s or 5m", q.long)
	case q.expect != "" && q.expect != passes && q.expect != dropped:
		return w, fmt.Errorf("--expect %s: want %s or %s", q.expect, passes, dropped)
	}
	var matches []ruleset.Match
	for _, m := range []struct {
		text  string
		field ruleset.Field
	}{{q.toMAC, ruleset.EtherDestination}, {q.fromMAC, ruleset.EtherSource}} {
		if m.text == "" {
			continue
		}
		mac, err := net.ParseMAC(m.text)
		if err != nil || len(mac) != 6 {
			return w, fmt.Errorf("%q is no MAC address", m.text)
		}
		matches = append(matches, ruleset.Compare{Field: m.field, Op: ruleset.Equal, Value: mac})
	}
	ends, err := q.wantedEnds()
	if err != nil {
		return w, err
	}
	for _, end := range ends {
		for _, proto := range q.protocols(end) {
			w.Any = append(w.Any, slices.Concat(matches, end.matches, proto))
		}
	}
	if len(w.Any) == 0 {
		return w, errors.New("no frame is as that: ARP is of IPv4 addresses, and an end has one family")
	}
	return w, nil
}

// wantedEnd is addresses of one kind of frames.
type wantedEnd struct {
	arp, ip4, ip6 bool
	matches       []ruleset.Match
}

// wantedEnds gives the kinds of frames that have the addresses asked for: all, where none are.
func (q question) wantedEnds() ([]wantedEnd, error) {
	if q.to+q.from == "" && !q.arp {
		return []wantedEnd{{}}, nil
	}
	kinds := []struct {
		end      wantedEnd
		to, from ruleset.Field
	}{
		{wantedEnd{ip4: true}, ruleset.IPDestination, ruleset.IPSource},
		{wantedEnd{ip6: true}, ruleset.IP6Destination, ruleset.IP6Source},
		{wantedEnd{arp: true}, ruleset.ARPTargetIP, ruleset.ARPSenderIP},
	}
	var out []wantedEnd
	for _, k := range kinds {
		fits := true
		for _, e := range []struct {
			text  string
			field ruleset.Field
		}{{q.to, k.to}, {q.from, k.from}} {
			if e.text == "" {
				continue
			}
			a, err := netip.ParseAddr(e.text)
			if err != nil {
				return nil, fmt.Errorf("%q is no address", e.text)
			}
			fits = fits && a.Is6() == k.end.ip6
			k.end.matches = append(k.end.matches, ruleset.Compare{Field: e.field, Op: ruleset.Equal, Value: a.AsSlice()})
		}
		if k.end.arp {
			k.end.matches = append([]ruleset.Match{ruleset.Is(ruleset.EtherType, ruleset.EtherTypeARP)}, k.end.matches...)
		}
		if fits {
			out = append(out, k.end)
		}
	}
	return out, nil
}

// protocols gives what the protocol asked for matches in frames with such addresses: none where
// they have no such.
func (q question) protocols(end wantedEnd) [][]ruleset.Match {
	port := func(proto byte, n uint16) [][]ruleset.Match {
		is := ruleset.Byte(ruleset.L4Proto, proto)
		return [][]ruleset.Match{{is, ruleset.Is(ruleset.DestinationPort, n)}, {is, ruleset.Is(ruleset.SourcePort, n)}}
	}
	switch {
	case q.arp && !end.arp, end.arp && (q.tcp != nil || q.udp != nil || q.icmp):
		return nil
	case q.tcp != nil:
		return port(ruleset.TCP, *q.tcp)
	case q.udp != nil:
		return port(ruleset.UDP, *q.udp)
	case q.icmp:
		return [][]ruleset.Match{{ruleset.Byte(ruleset.L4Proto, ruleset.ICMP)}, {ruleset.Byte(ruleset.L4Proto, ruleset.ICMPv6)}}
	}
	return [][]ruleset.Match{nil}
}
