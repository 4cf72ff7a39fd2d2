package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// rules are one of the rulesets that are compared: ours, somebody's nft text, or
// none.
type rules struct {
	name    string
	tables  []ruleset.Table
	guard   bool       // beside a guard
	text    string     // of the table textTable
	allowed netip.Addr // the LAN host that frames of the kind lanHost go to
}

// unfiltered is the name of the ruleset without rules.
const unfiltered = "unfiltered"

// filters reports whether there are any rules.
func (r rules) filters() bool { return r.name != unfiltered }

// allRules are compared with each other. The allowed LAN host is the one in the
// middle of an allow list, and so meets half of one that is linear.
func (s *site) allRules() ([]rules, error) {
	all := []rules{
		{name: unfiltered, allowed: gateway4},
		{name: shell, text: linear(gateway4), allowed: gateway4},
		{name: ours, allowed: gateway4},
	}
	for _, n := range []int{10, 1_000, 10_000} {
		all = append(all, rules{name: fmt.Sprintf("%s, %d hosts allowed", ours, n), allowed: hosts(n)[n/2]})
	}
	for _, n := range []int{100, 1_000} {
		all = append(all, rules{
			name: fmt.Sprintf("linear list, %d hosts allowed", n), text: linear(hosts(n)...), allowed: hosts(n)[n/2],
		})
	}
	for i, n := range []int{0, 10, 1_000, 10_000} {
		var err error
		if all[2+i].tables, err = s.tables(hosts(n), false); err != nil {
			return nil, err
		}
	}
	// Older kernels cannot have a guard.
	switch err := kernel.TryGuard(context.Background(), s.guard()); {
	case errors.Is(err, kernel.ErrNoGuard):
		return all, nil
	case err != nil:
		return nil, err
	}
	behind, err := s.tables(nil, true)
	return append(all, rules{name: ours + ", guard", tables: behind, guard: true, allowed: gateway4}), err
}

// guard closes the VM's device while it has no rules.
func (s *site) guard() ruleset.Table { return filter.Guard([]string{vmDevice}) }

// hosts gives n addresses on the LAN, none of which is anybody's in particular.
func hosts(n int) []netip.Addr {
	var out []netip.Addr
	for i := range n {
		out = append(out, netip.AddrFrom4([4]byte{192, 168, byte(100 + i/250), byte(1 + i%250)}))
	}
	return out
}

// tables gives our own tables, of the default policy with more hosts allowed, the
// way a hook call makes them.
func (s *site) tables(more []netip.Addr, guard bool) ([]ruleset.Table, error) {
	d, err := domain.Parse(bytes.NewReader(s.domain(vmDevice)))
	if err != nil {
		return nil, err
	}
	allow := []string{"gateway", "dns", "broadcast"}
	for _, h := range more {
		allow = append(allow, h.String())
	}
	text := fmt.Sprintf("parents = [%q]\nguard = %t\n[policy.default]\nallow = [\"%s\"]\n", s.network.Parent, guard, strings.Join(allow, `", "`))
	c, err := config.Parse("config.toml", []byte(text))
	if err != nil {
		return nil, err
	}
	made, err := plan.Make(d, c, plan.Recorded{s.facts()})
	for i := range made.Tables {
		made.Tables[i] = filter.Bind(made.Tables[i], s.tap.Index)
	}
	return made.Tables, err
}

// textTable is the name of the table of rules that are nft text.
const textTable = "somebodys"

// linear gives the shell hook's kind of rules: a rule for each allowed address,
// then one for all that is denied.
func linear(allowed ...netip.Addr) string {
	var b strings.Builder
	chain := func(name, hook, peer string) {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s device %q priority filter; policy accept;\n", name, hook, vmDevice)
		for _, a := range allowed {
			fmt.Fprintf(&b, "\t\t%s %s accept\n", peer, a)
		}
		fmt.Fprintf(&b, "\t\t%s 192.168.0.0/16 drop\n\t}\n", peer)
	}
	fmt.Fprintf(&b, "table netdev %s {\n", textTable)
	chain("from_vm", "egress", "ip daddr")
	chain("to_vm", "ingress", "ip saddr")
	b.WriteString("}\n")
	return b.String()
}

// install puts the rules in place of those that stand.
func (s *site) install(ctx context.Context, r rules) error {
	all := func(kernel.Standing) bool { return true }
	err := s.network.Hypervisor.Do(func() error {
		if _, err := kernel.RemoveGuard(ctx); err != nil {
			return err
		}
		if err := kernel.Replace(ctx, r.tables, all); err != nil || !r.guard {
			return err
		}
		return kernel.RaiseGuard(ctx, s.guard())
	})
	if err != nil {
		return err
	}
	text := r.text
	if s.textStands {
		text = fmt.Sprintf("delete table netdev %s\n%s", textTable, text)
	}
	if text == "" {
		return nil
	}
	s.textStands = r.text != ""
	_, err = s.nft(ctx, text, "-f", "-")
	return err
}
