package bench

import "fmt"

// The hooks that are compared.
const (
	Ours       = "macvtap-filter"
	Before     = "the build before" // an earlier macvtap-filter
	Shell      = "shell hook"
	ShellFresh = "shell hook that deletes nothing"
	ShellMany  = "shell hook for several NICs"
	EmptyGo    = "empty Go process"
)

// The hook calls that are timed, in the order of a VM's life.
const (
	FirstStart = "first start"             // no table stands
	Reapply    = "re-apply"                // the table stands, as it should
	Anew       = "re-apply of other rules" // another table stands
	Stop       = "stop"

	NextStart = "first start beside a VM of its policy" // the usual one: the policy stands
	NextStop  = "stop beside a VM of its policy"

	Idle = "call that asks for nothing"
)

// HookCalls are those of a VM's life alone, NextCalls those of one beside another.
var (
	HookCalls = []string{FirstStart, Reapply, Anew, Stop}
	NextCalls = []string{NextStart, NextStop}
)

// HookCall names a hook's call for a VM with so many NICs.
func HookCall(call, hook string, nics int) string {
	return Name("HookCall", "call", call, "hook", hook, "nics", nics)
}

// Beside names a first start beside so many NICs that are protected already.
func Beside(hook string, nics int) string { return Name("Beside", "hook", hook, "nics", nics) }

// AtOnce names so many first starts at once.
func AtOnce(hook string, vms int) string { return Name("AtOnce", "hook", hook, "vms", vms) }

// Command names an administrator's command over so many VMs.
func Command(command, build string, vms int) string {
	return Name("Command", "command", command, "hook", build, "vms", vms)
}

// Listings are the calls of nft that list rules.
var Listings = []string{ListTables, ListRuleset}

// What anybody asks of nft.
const (
	ListTables  = "list tables"
	ListRuleset = "list ruleset"
)

// Listing names a call of nft beside the rules of so many VMs of one policy.
func Listing(call, build string, vms int) string {
	return Name("Listing", "call", call, "hook", build, "vms", vms)
}

// Sent names what a first start beside a VM of its policy sends to nftables.
func Sent(build string) string { return Name("Sent", "hook", build) }

// Kinds of rules that are compared, beside those of the hooks.
const (
	Unfiltered     = "unfiltered"
	Linear         = "linear list"
	OursFirst      = "macvtap-filter, the first NIC of its policy"
	OursGuard      = "macvtap-filter behind its guard"
	OursLearned    = "macvtap-filter, its addresses learned"
	OursFlows      = "macvtap-filter with inbound, of a flow that stands"
	OursWatch      = "macvtap-filter with watch" // which moved the check of checksum offload
	OursOutbound   = "macvtap-filter with outbound, of a flow that stands"
	TrafficControl = "tc-bpf"

	Bridged          = "tap in a bridge, unfiltered"
	BridgedConntrack = "tap in a bridge, ct state and the shell hook's two rules"
)

// Rules say what judged frames, with how many more hosts allowed than the policy's own.
type Rules struct {
	Kind  string
	Hosts int
}

// A Way is a direction through a macvtap device.
type Way string

// The ways.
const (
	FromVM Way = "from the VM"
	ToVM   Way = "to the VM"
)

// A Frame is a kind of frame: which way it goes, who is at its far end, and how long
// it is, the Ethernet header included. One longer than a segment is TCP that somebody
// else is to cut up (GSO).
type Frame struct {
	Way  Way
	Peer string
	IPv6 bool
	Size int
}

// The peers of frames.
const (
	Internet = "internet"
	LANHost  = "allowed LAN host"
)

// Large is the size of a frame that is to be cut up: as long as an IPv4 packet may be,
// less what would not fill a segment.
const Large = 14 + 20 + 20 + 45*1448

// Frames are the kinds that are sent. Nothing tells a shorter frame to a LAN host
// from a longer one but what an internet host's show already.
var Frames = []Frame{
	{FromVM, Internet, false, 64},
	{FromVM, Internet, false, 1500},
	{FromVM, Internet, false, Large},
	{FromVM, Internet, true, 64},
	{FromVM, Internet, true, 1500},
	{FromVM, Internet, true, Large},
	{FromVM, LANHost, false, 64},
	{ToVM, Internet, false, 64},
	{ToVM, Internet, false, 1500},
	{ToVM, Internet, false, Large},
	{ToVM, Internet, true, 64},
	{ToVM, Internet, true, 1500},
	{ToVM, Internet, true, Large},
	{ToVM, LANHost, false, 64},
}

// Family gives the name of the frame's version of IP.
func (f Frame) Family() string {
	if f.IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// PerFrame names what one frame takes under some rules.
func PerFrame(f Frame, r Rules) string {
	return Name("Frame", "way", f.Way, "peer", f.Peer, "family", f.Family(), "bytes", f.Size, "rules", r.Kind, "hosts", r.Hosts)
}

// A FlowFrame is a TCP segment of a connection with the internet: one that opens another
// connection each time, or one of a connection that stands, with the flag ACK.
type FlowFrame struct {
	Way   Way
	Opens bool
	IPv6  bool
	Size  int
}

// FlowFrames are those that are sent.
func FlowFrames(way Way) []FlowFrame {
	return []FlowFrame{
		{way, false, false, 64}, {way, false, false, 1500}, {way, false, true, 80}, {way, false, true, 1500},
		{way, true, false, 64}, {way, true, true, 80},
	}
}

func (f FlowFrame) words() string {
	what := "of a flow that stands"
	if f.Opens {
		what = "that opens a flow"
	}
	return fmt.Sprintf("%s, %d bytes, %s", Frame{IPv6: f.IPv6}.Family(), f.Size, what)
}

// PerFlowFrame names what one of these takes under some rules.
func PerFlowFrame(f FlowFrame, rules string) string {
	return Name("Flow", "way", f.Way, "opens", f.Opens, "family", Frame{IPv6: f.IPv6}.Family(), "bytes", f.Size, "rules", rules)
}

// A FlowKind is what a flow is that the kernel holds.
type FlowKind struct {
	Protocol string
	IPv6     bool
}

// FlowKinds are those that are counted.
var FlowKinds = []FlowKind{{"TCP", false}, {"UDP", false}, {"TCP", true}, {"UDP", true}}

// HeldFlow names what the kernel holds for a flow, in sets or by connection tracking.
func HeldFlow(k FlowKind, rules string) string {
	return Name("HeldFlow", "protocol", k.Protocol, "family", Frame{IPv6: k.IPv6}.Family(), "rules", rules)
}

// HeldFlows names what the kernel holds for sets of flows in which there is none.
const HeldFlows = "HeldFlows"

// Held names what the kernel holds for one NIC under some rules.
func Held(r Rules) string { return Name("Held", "rules", r.Kind, "hosts", r.Hosts) }

// A Load is what a guest is given to do.
type Load string

// The loads: TCP as fast as it goes, UDP of 64 bytes as fast as it goes, and echoes,
// one after the other.
const (
	TCP  Load = "TCP"
	UDP  Load = "UDP, 64 bytes"
	Echo Load = "ping"
)

// Guest names what a real guest does under some rules. An echo goes both ways.
func Guest(l Load, w Way, r Rules) string {
	return Name("Guest", "load", l, "way", w, "rules", r.Kind)
}
