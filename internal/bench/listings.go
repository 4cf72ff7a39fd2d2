package bench

import "fmt"

// listings shows what nft lists, how long that takes it, and what a start sends.
func (r *Results) listings() Table {
	t := Table{
		Title:  "What nft lists, and what a start sends to the kernel",
		Header: []string{"", Ours, Before, "of the build before's"},
		Note: r.rounded(Listing(ListTables, Ours, 100)) + "All VMs are of one policy. " + r.Fact("nft") + ", its processors' time; it is ended " +
			"when that is too much. A start's messages are of a VM whose policy stands.",
	}
	row := func(words, mine, before, unit string, write func(Series) string) {
		cells := []string{write(r.Of(mine, unit)), write(r.Of(before, unit)), ratio(r.Of(mine, unit), r.Of(before, unit))}
		if len(r.Of(before, Ended)) > 0 {
			cells[1], cells[2] = "more than "+cells[1], "less than "+cells[2]
		}
		t.add(words, cells...)
	}
	whole := func(s Series) string {
		if len(s) == 0 {
			return ""
		}
		return grouped(int(s.Median()))
	}
	for _, n := range []int{1, 5, 1_000} {
		row("lines of nft list ruleset, "+count(n, "VM"), Listing(ListRuleset, Ours, n), Listing(ListRuleset, Before, n), Lines, whole)
	}
	for _, call := range Listings {
		for _, n := range []int{100, 1_000} {
			row(fmt.Sprintf("nft %s, %s, ms", call, count(n, "VM")), Listing(call, Ours, n), Listing(call, Before, n), CPU, milliseconds)
		}
	}
	row("netlink messages that change rules", Sent(Ours), Sent(Before), Changes, whole)
	row("all netlink messages to nftables", Sent(Ours), Sent(Before), Messages, whole)
	return t
}
