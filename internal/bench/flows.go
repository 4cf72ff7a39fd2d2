package bench

import "fmt"

// flows shows what segments of TCP connections take.
func (r *Results) flows(way Way) Table {
	t := Table{
		Title:  fmt.Sprintf("A TCP segment %s: its time as a part of the shell hook's two rules'", way),
		Header: []string{""},
		Note: r.rounded(PerFlowFrame(FlowFrames(way)[0], Shell)) + "Connection tracking is what a tap in a Linux bridge has instead, " +
			r.Fact("conntrack") + ". A bridge's way costs something else than macvtap's, so each is beside its own without rules.",
	}
	frames := FlowFrames(way)
	for _, f := range frames {
		t.Header = append(t.Header, f.words())
	}
	row := func(words string, cell func(FlowFrame) string) {
		var cells []string
		for _, f := range frames {
			cells = append(cells, cell(f))
		}
		t.add(words, cells...)
	}
	took := func(f FlowFrame, rules string) Series { return r.Of(PerFlowFrame(f, rules), Time) }
	bare := map[string]string{BridgedConntrack: Bridged}
	for _, rules := range []string{Shell, Ours, OursFlows, OursOutbound} {
		bare[rules] = Unfiltered
	}
	row("shell hook, ns", func(f FlowFrame) string { return withSpread(took(f, Shell), 1, 0) })
	for _, rules := range []string{Unfiltered, Ours, OursFlows, OursOutbound, Bridged, BridgedConntrack} {
		row(rules, func(f FlowFrame) string { return ratio(took(f, rules), took(f, Shell)) })
	}
	for _, rules := range []string{Shell, Ours, OursFlows, OursOutbound, BridgedConntrack} {
		row("of its own way unfiltered: "+rules, func(f FlowFrame) string { return ratio(took(f, rules), took(f, bare[rules])) })
	}
	for _, rules := range []string{Shell, Ours, OursFlows, OursOutbound, BridgedConntrack} {
		row("ns over its own way unfiltered: "+rules, func(f FlowFrame) string {
			return withSpread(took(f, rules).Above(took(f, bare[rules])), 1, 0)
		})
	}
	return t
}

// flowMemory shows what the kernel holds for flows.
func (r *Results) flowMemory() Table {
	first := HeldFlow(FlowKinds[0], Ours)
	t := Table{
		Title:  "Memory in the kernel for a flow, of 10,000",
		Header: []string{"", "of connection tracking's", "bytes", "connection tracking, bytes"},
		Note:   r.rounded(first) + "The table of connection tracking's hashes is the machine's, and not in this.",
	}
	for _, k := range FlowKinds {
		mine, theirs := r.Of(HeldFlow(k, Ours), PerFlow), r.Of(HeldFlow(k, BridgedConntrack), PerFlow)
		t.add(k.Protocol+", "+Frame{IPv6: k.IPv6}.Family(), ratio(mine, theirs), withSpread(mine, 1, 0), withSpread(theirs, 1, 0))
	}
	t.add("the sets, without a flow, KiB", "", withSpread(r.Of(HeldFlows, Memory), 1024, 0), "")
	return t
}
