package bench

import (
	"fmt"
	"slices"
)

// starts shows hook calls.
func (r *Results) starts() Table {
	t := Table{
		Title:  "A hook call as a whole process, from fork to exit: macvtap-filter's time",
		Header: []string{"", "of the shell hook's", "of the shell hook's for several NICs", "of the build before's", "of an empty Go process's", "ms", "processors' time, of the shell hook's", "of the build before's"},
		Note: r.rounded(HookCall(FirstStart, Ours, 1)) + "Ratios are made round by round, and the median is given. A call that deletes a table waits, when it " +
			"ends, about 11 ms for the kernel to free it, in either program; a first start of macvtap-filter deletes none, nor does a " +
			"re-apply where the rules that stand are read and found as they should be. The shell hooks program theirs again each time. Beside a VM of its policy is how most VMs start; no other hook " +
			"but macvtap-filter's knows policies, and theirs is the first start's time.",
	}
	for _, nics := range []int{1, 4} {
		for _, call := range slices.Concat(HookCalls, NextCalls, []string{Idle}) {
			of := func(hook, unit string) Series { return r.Of(HookCall(asOf(call, hook), hook, nics), unit) }
			wall := func(hook string) Series { return of(hook, Time) }
			busy := func(hook string) Series { return of(hook, CPU) }
			mine, words := wall(Ours), call
			shell := Shell
			if nics > 1 {
				words += ", " + count(nics, "NIC")
				shell = ShellMany
			}
			// An empty process is the same for whatever VM.
			t.add(words, ratio(mine, wall(Shell)), ratio(mine, wall(ShellMany)), ratio(mine, wall(Before)),
				ratio(mine, r.Of(HookCall(asOf(call, EmptyGo), EmptyGo, 1), Time)), milliseconds(mine),
				ratio(busy(Ours), busy(shell)), ratio(busy(Ours), busy(Before)))
		}
	}
	if kinder := r.Of(HookCall(FirstStart, ShellFresh, 1), Time); len(kinder) > 0 {
		mine := r.Of(HookCall(FirstStart, Ours, 1), Time)
		t.add("first start, of a shell hook that is told to delete nothing", ratio(mine, kinder), "", "", "", milliseconds(kinder),
			ratio(r.Of(HookCall(FirstStart, Ours, 1), CPU), r.Of(HookCall(FirstStart, ShellFresh, 1), CPU)), "")
	}
	return t
}

// asOf gives the call that stands for another, for a hook to which neighbours are nothing.
func asOf(call, hook string) string {
	switch {
	case hook == Ours, hook == Before:
		return call
	case call == NextStart:
		return FirstStart
	case call == NextStop:
		return Stop
	}
	return call
}

// hostCounts are the lengths of allow lists that frames were measured with; 0 stands
// for the default policy's own.
var hostCounts = []int{0, 10, 100, 1_000, 10_000}

// frames shows one way's frames.
func (r *Results) frames(way Way) Table {
	t := Table{Title: fmt.Sprintf("A frame %s: its time as a part of the shell hook's two rules'", way), Header: []string{""}}
	var shown []Frame
	for _, f := range Frames {
		if f.Way != way {
			continue
		}
		shown = append(shown, f)
		words := fmt.Sprintf("%s, %d bytes", f.Family(), f.Size)
		switch {
		case f.Size == Large:
			words = f.Family() + " TCP, 64 KiB at once"
		case f.Peer == LANHost:
			words = LANHost
		}
		t.Header = append(t.Header, words)
	}
	row := func(words string, cell func(Frame) string) {
		var cells []string
		for _, f := range shown {
			cells = append(cells, cell(f))
		}
		t.add(words, cells...)
	}
	row("shell hook, ns", func(f Frame) string {
		return withSpread(r.Of(PerFrame(f, Rules{Kind: Shell}), Time), 1, 0)
	})
	for _, kind := range []string{Unfiltered, Ours, OursLearned, OursFlows, OursWatch, OursGuard, TrafficControl, Linear} {
		for _, hosts := range hostCounts {
			if (kind == OursLearned || kind == OursFlows) && hosts != 0 {
				continue
			}
			if behind := kind == OursGuard || kind == OursWatch; behind && hosts != 0 && hosts != hostCounts[len(hostCounts)-1] {
				continue // as long as those without, and one more step
			}
			rules := Rules{kind, hosts}
			row(rules.words(), func(f Frame) string {
				return ratio(r.Of(PerFrame(f, rules), Time), r.Of(PerFrame(f, Rules{Kind: Shell}), Time))
			})
		}
	}
	for _, rules := range []Rules{{Kind: Shell}, {Kind: OursWatch}, {Kind: Ours}, {Kind: OursGuard}, {Kind: TrafficControl}} {
		row("ns over unfiltered: "+rules.words(), func(f Frame) string {
			return withSpread(r.Of(PerFrame(f, rules), Time).Above(r.Of(PerFrame(f, Rules{Kind: Unfiltered}), Time)), 1, 0)
		})
	}
	rounds := r.rounded(PerFrame(Frames[0], Rules{Kind: Shell}))
	t.Note = rounds + "The time is of the whole way, unfiltered too: a write to the tap until the frame is in the LAN's bridge. The faster the " +
		"machine's way without rules, the larger their part of it."
	if way == ToVM {
		t.Note = rounds + "The time is from a packet socket on the LAN's end of the cable to the tap's queue, which is full. " +
			"tc-bpf is the heart of the policy alone: source MAC, kind of frame, a tree of denied prefixes, a hash of allowed hosts, ARP; " +
			"no tunnels, ICMP errors, DHCP, router advertisements, neighbour discovery, fragments, claimed sources, counters."
	}
	return t
}

// rounded says how often a thing was measured.
func (r *Results) rounded(name string) string {
	n := r.rounds(name)
	if n == 0 {
		return ""
	}
	return count(n, "round") + "; in brackets, quartiles. "
}

// words says what rules they are.
func (r Rules) words() string {
	switch {
	case r.Kind == Unfiltered, r.Kind == Shell:
		return r.Kind
	case r.Hosts == 0:
		return r.Kind + ", 3 hosts allowed"
	}
	return r.Kind + ", " + grouped(r.Hosts)
}

// crowds shows starts beside others, and at once.
func (r *Results) crowds() Table {
	t := Table{
		Title:  "Many VMs on one host",
		Header: []string{"", "of the first's", "of that beside 1 NIC", "of the build before's", "ms", "the build before: of the first's", "shell hook for several NICs: of the first's", "ms"},
		Note:   r.rounded(Beside(Ours, 0)) + "The shell hook's neighbours are its own tables, macvtap-filter's are its, of the same policy: beside 1 NIC the policy stands.",
	}
	for _, n := range []int{0, 1, 100, 1_000} {
		beside := func(hook string, n int) Series { return r.Of(Beside(hook, n), Time) }
		mine := beside(Ours, n)
		t.add(fmt.Sprintf("a first start beside %s", count(n, "protected NIC")),
			ratio(mine, beside(Ours, 0)), ratio(mine, beside(Ours, 1)), ratio(mine, beside(Before, n)), milliseconds(mine),
			ratio(beside(Before, n), beside(Before, 0)),
			ratio(beside(ShellMany, n), beside(ShellMany, 0)), milliseconds(beside(ShellMany, n)))
	}
	for _, n := range []int{50, 200} {
		mine := AtOnce(Ours, n)
		t.add(fmt.Sprintf("%d first starts at once, all of them", n), "", "", ratio(r.Of(mine, Time), r.Of(AtOnce(Before, n), Time)),
			r.withFailures(mine), "", "", r.withFailures(AtOnce(ShellMany, n)))
	}
	return t
}

// withFailures writes a time, and how many of what took it failed.
func (r *Results) withFailures(name string) string {
	took := milliseconds(r.Of(name, Time))
	if failed := r.Of(name, Failures); len(failed) > 0 {
		return fmt.Sprintf("%s, %.0f failed", took, failed.Quantile(1))
	}
	return took
}

// Commands are those that look at all VMs, whose rules stand as they should.
var Commands = []string{"apply --all", "verify --all", "status"}

// ApplyAnew is "apply --all" where other rules stand for every VM.
const ApplyAnew = "apply --all, of other rules"

// commands shows what administrators call.
func (r *Results) commands() Table {
	t := Table{
		Title:  "Commands over all VMs",
		Header: []string{"", "100 VMs: of the build before's", "ms", "1,000 VMs: of the build before's", "ms", "ms a VM"},
		Note:   r.rounded(Command(ApplyAnew, Ours, 1_000)) + "Beside a stand-in for libvirt's daemon, which has the XML ready: the daemon's own time is not in these.",
	}
	for _, command := range append([]string{ApplyAnew}, Commands...) {
		took := func(build string, vms int) Series { return r.Of(Command(command, build, vms), Time) }
		few, many := took(Ours, 100), took(Ours, 1_000)
		t.add(command, ratio(few, took(Before, 100)), milliseconds(few), ratio(many, took(Before, 1_000)), milliseconds(many), withSpread(many, 1_000*1e6, 2))
	}
	return t
}

// memory shows what the kernel holds.
func (r *Results) memory() Table {
	t := Table{
		Title:  "Memory in the kernel for one more NIC",
		Header: []string{"", "of the shell hook's", "of the build before's", "KiB"},
		Note:   r.rounded(Held(Rules{Kind: Shell})) + "The first NIC of a policy brings the policy's rules, which all others share.",
	}
	base := r.Of(Held(Rules{Kind: Shell}), Memory)
	for _, kind := range []string{Shell, Ours, OursFirst, Before, Linear} {
		for _, hosts := range hostCounts {
			held := r.Of(Held(Rules{kind, hosts}), Memory)
			t.add(Rules{kind, hosts}.words(), ratio(held, base), ratio(held, r.Of(Held(Rules{Before, hosts}), Memory)), withSpread(held, 1024, 0))
		}
	}
	return t
}

// guests shows what a guest measured.
func (r *Results) guests() Table {
	t := Table{
		Title:  "A real guest: its part of what it does unfiltered",
		Header: []string{"", "unfiltered", Shell, Ours, OursGuard},
		Note:   r.rounded(Guest(TCP, FromVM, Rules{Kind: Unfiltered})) + "More is better of TCP and UDP, less of ping. " + r.Fact("guests"),
	}
	row := func(words string, l Load, w Way, unit string, scale float64, digits int, of string) {
		series := func(kind string) Series { return r.Of(Guest(l, w, Rules{Kind: kind}), unit) }
		bare := series(Unfiltered)
		if len(bare) == 0 {
			return
		}
		t.add(words, withSpread(bare, scale, digits)+" "+of, ratio(series(Shell), bare), ratio(series(Ours), bare), ratio(series(OursGuard), bare))
	}
	for _, w := range []Way{FromVM, ToVM} {
		row("TCP "+string(w), TCP, w, Throughput, 1e6, 0, "Mbit/s")
		row("UDP "+string(w)+", 64 bytes", UDP, w, Datagrams, 1e3, 1, "thousand a second")
	}
	row("ping, median", Echo, ToVM, Median, 1e3, 0, "µs")
	row("ping, 99 of 100", Echo, ToVM, Tail, 1e3, 0, "µs")
	return t
}
