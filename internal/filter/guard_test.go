package filter

import (
	"slices"
	"strings"
	"testing"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// The first rules of each direction ask for the device and mark the frame; all
// else stays as it was.
func TestBindAndMark(t *testing.T) {
	plain := mustTable(t, web, nic, policy.Policy{Deny: prefixes(1)})
	before := plain.String()
	live := Mark(plain).Bind(37)
	if plain.String() != before {
		t.Error("the table that was given was changed")
	}
	if err := live.Validate(); err != nil {
		t.Fatal(err)
	}
	for chain, want := range map[string][]string{
		"from-vm": {`meta oif != 37 counter name "from-vm-stale-device" drop`, "meta mark set 0x6d766601"},
		"to-vm":   {`meta iif != 37 counter name "to-vm-stale-device" drop`, "meta mark set 0x6d766602"},
	} {
		for i, line := range want {
			if got := rulesOf(live, chain)[i].String(); !strings.HasPrefix(got, line) {
				t.Errorf("%s: rule %d is %s, want %s", chain, i+1, got, line)
			}
		}
		if got, want := len(rulesOf(live, chain)), len(rulesOf(plain, chain))+1; got != want {
			t.Errorf("%s: %d rules, want %d", chain, got, want)
		}
	}
}

func rulesOf(t ruleset.Table, chain string) []ruleset.Rule {
	for _, c := range t.Chains {
		if c.Name == chain {
			return c.Rules
		}
	}
	return nil
}

func TestGuard(t *testing.T) {
	table := Guard([]string{"macvtap", "web"})
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	const want = `table netdev macvtap-filter-guard {
	comment "closes macvtap devices without rules"

	counter from-vm-no-rules {
		packets 0 bytes 0
	}

	counter to-vm-no-rules {
		packets 0 bytes 0
	}

	chain from-vm {
		type filter hook egress devices = { "macvtap*", "web*" } priority 1; policy drop;
		meta mark 0x6d766601 meta mark set 0x00000000 accept
		meta oifkind != "macvtap" accept comment "not a VM's"
		counter name "from-vm-no-rules" drop comment "guard: no rules for this device"
	}

	chain to-vm {
		type filter hook ingress devices = { "macvtap*", "web*" } priority 1; policy drop;
		meta mark 0x6d766602 accept
		meta iifkind != "macvtap" accept comment "not a VM's"
		counter name "to-vm-no-rules" drop comment "guard: no rules for this device"
	}
}
`
	if got := table.String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if _, ours := ruleset.TableDevice(table.Name); ours {
		t.Error("the guard passes for a device's table")
	}
}

// What no policy is for is open, and is found again by its owner.
func TestOpen(t *testing.T) {
	table, err := Open(web, nic)
	if err != nil {
		t.Fatal(err)
	}
	if err := Mark(table).Bind(37).Validate(); err != nil {
		t.Fatal(err)
	}
	if got := ParseOwner(table.Comment).UUID; got != web.UUID {
		t.Errorf("the owner is %q", got)
	}
	if _, err := Open(web, domain.Interface{Target: "a*"}); err == nil {
		t.Error("a device name that nft cannot write")
	}
}

// Rules are a device's own only while they begin as they were made: not another's,
// not emptied, not with something before.
func TestBound(t *testing.T) {
	plain := Mark(mustTable(t, web, nic, policy.Policy{Deny: prefixes(1)}))
	own := plain.Bind(37)
	change := func(f func(*ruleset.Table)) ruleset.Table {
		c := own
		c.Chains = slices.Clone(own.Chains)
		f(&c)
		return c
	}
	last := slices.IndexFunc(own.Chains, func(c ruleset.Chain) bool { return c.Hook != nil && c.Hook.Type == ruleset.Ingress })
	for name, test := range map[string]struct {
		table ruleset.Table
		want  bool
	}{
		"its own":          {own, true},
		"another device's": {plain.Bind(38), false},
		"any device's":     {plain, false},
		"without chains":   {change(func(t *ruleset.Table) { t.Chains = nil }), false},
		"in one direction": {change(func(t *ruleset.Table) { t.Chains = slices.Delete(t.Chains, last, last+1) }), false},
		"emptied":          {change(func(t *ruleset.Table) { t.Chains[last].Rules = nil }), false},
		"behind an opening": {change(func(t *ruleset.Table) {
			t.Chains[last].Rules = append([]ruleset.Rule{{Verdict: ruleset.Accept}}, t.Chains[last].Rules...)
		}), false},
	} {
		if got := Bound(test.table, 37); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}
