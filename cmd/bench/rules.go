package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/offload"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// rules are one of the rulesets that are compared: ours, somebody's nft text,
// programs of traffic control, or none.
type rules struct {
	bench.Rules
	tables   []ruleset.Table
	guard    bool       // beside a guard
	watch    bool       // watch ran after the hook
	text     string     // of the table textTable
	programs *programs  // of traffic control
	allowed  netip.Addr // the LAN host that frames of the kind lanHost go to
}

// filters reports whether there are any rules.
func (r rules) filters() bool { return r.Kind != bench.Unfiltered }

// close frees what the kernel holds for rules that are not in place.
func (r rules) close() error {
	if r.programs == nil {
		return nil
	}
	return r.programs.close()
}

// allRules are compared with each other, with allow lists of so many hosts. The allowed LAN host is the one in the
// middle of an allow list, and so meets half of one that is linear.
func (s *site) allRules(lengths []int, v vm, tap *lab.Tap) ([]rules, error) {
	guard, err := hasGuard(s.guard(tap.Name))
	if err != nil {
		return nil, err
	}
	all := []rules{
		{Rules: bench.Rules{Kind: bench.Unfiltered}, allowed: gateway4},
		{Rules: bench.Rules{Kind: bench.Shell}, text: linear(tap.Name, gateway4), allowed: gateway4},
	}
	for _, n := range lengths {
		all = append(all, rules{
			Rules: bench.Rules{Kind: bench.Linear, Hosts: n}, text: linear(tap.Name, hosts(n)...), allowed: hosts(n)[n/2],
		})
	}
	for _, n := range append([]int{0}, lengths...) {
		allowed := gateway4
		if n > 0 {
			allowed = hosts(n)[n/2]
		}
		plain, err := s.tables(v, tap.Index, s.configuration(hosts(n), false, "off"))
		if err != nil {
			return nil, err
		}
		all = append(all, rules{Rules: bench.Rules{Kind: bench.Ours, Hosts: n}, tables: plain, allowed: allowed})
		if n == 0 || n == lengths[len(lengths)-1] {
			all = append(all, rules{Rules: bench.Rules{Kind: bench.OursWatch, Hosts: n}, tables: plain, watch: true, allowed: allowed})
		}
		if n == 0 {
			learned, err := s.tables(v, tap.Index, s.configuration(hosts(n), false, "first"))
			if err != nil {
				return nil, err
			}
			for i, t := range learned {
				learned[i] = filter.WithAddress(filter.WithAddress(t, vm4), vm6)
			}
			all = append(all, rules{Rules: bench.Rules{Kind: bench.OursLearned, Hosts: n}, tables: learned, allowed: allowed})
			flows, err := s.tables(v, tap.Index, s.configuration(hosts(n), false, "off")+"inbound = [\"tcp/22\"]\n")
			if err != nil {
				return nil, err
			}
			for _, t := range flows {
				stand(t, tap.Index, allowed)
			}
			all = append(all, rules{Rules: bench.Rules{Kind: bench.OursFlows, Hosts: n}, tables: flows, allowed: allowed})
		}
		if !guard {
			continue
		}
		behind, err := s.tables(v, tap.Index, s.configuration(hosts(n), true, "off"))
		if err != nil {
			return nil, err
		}
		all = append(all, rules{Rules: bench.Rules{Kind: bench.OursGuard, Hosts: n}, tables: behind, guard: true, allowed: allowed})
	}
	for _, n := range []int{0, lengths[len(lengths)-1]} {
		allowed := gateway4
		if n > 0 {
			allowed = hosts(n)[n/2]
		}
		p, err := newPrograms(tap, append([]netip.Addr{gateway4, dns4}, hosts(n)...))
		if err != nil {
			return nil, err
		}
		all = append(all, rules{Rules: bench.Rules{Kind: bench.TrafficControl, Hosts: n}, programs: p, allowed: allowed})
	}
	return all, nil
}

// stand has the flows of all frames stand, in either direction.
func stand(t ruleset.Table, index int, lan netip.Addr) {
	for i, s := range t.Sets {
		if !ruleset.IsFlows(s.Name) || len(s.Key) != 4 {
			continue
		}
		for _, peer := range []netip.Addr{internet4, internet6, lan} {
			if (peer.Is4()) != strings.HasSuffix(s.Name, "-ipv4") {
				continue
			}
			for _, p := range [][2]uint16{{udpPort, 40000}, {40000, udpPort}, {tcpPort, 40000}, {40000, tcpPort}} {
				key := flowKey(index, peer, p[0], p[1])
				t.Sets[i].Elements = append(t.Sets[i].Elements, ruleset.Element{From: key, To: key})
			}
		}
	}
}

// hasGuard reports whether the kernel can have a guard: older ones cannot.
func hasGuard(guard ruleset.Table) (bool, error) {
	err := kernel.TryGuard(context.Background(), guard)
	if errors.Is(err, kernel.ErrNoGuard) {
		return false, nil
	}
	return err == nil, err
}

// guard closes a device while it has no rules.
func (s *site) guard(device string) ruleset.Table { return filter.Guard([]string{device}) }

// hosts gives n addresses on the LAN, none of which is anybody's in particular.
func hosts(n int) []netip.Addr {
	var out []netip.Addr
	for i := range n {
		out = append(out, netip.AddrFrom4([4]byte{192, 168, byte(100 + i/250), byte(1 + i%250)}))
	}
	return out
}

// tables gives our own tables for a VM whose only device has that index, by a
// configuration, the way a hook call makes them.
func (s *site) tables(v vm, index int, configuration string) ([]ruleset.Table, error) {
	d, err := domain.Parse(bytes.NewReader(v.running(s.network.Parent)))
	if err != nil {
		return nil, err
	}
	c, err := config.Parse("config.toml", []byte(configuration))
	if err != nil {
		return nil, err
	}
	made, err := plan.Make(d, c, plan.Recorded{s.facts()})
	for i := range made.Tables {
		made.Tables[i] = made.Tables[i].Bind(index)
	}
	return made.Tables, err
}

// configuration is the default policy with more hosts allowed, which learns the VM's addresses as it is said.
func (s *site) configuration(more []netip.Addr, guard bool, learn string) string {
	allow := []string{"gateway", "dns", "broadcast"}
	for _, h := range more {
		allow = append(allow, h.String())
	}
	return fmt.Sprintf("parents = [%q]\nguard = %t\n[policy.default]\nallow = [\"%s\"]\nlearn = %q\n", s.network.Parent, guard, strings.Join(allow, `", "`), learn)
}

// textTable is the name of the table of rules that are nft text.
const textTable = "somebodys"

// linear gives the shell hook's kind of rules for a device: a rule for each allowed
// address, then one for all that is denied.
func linear(device string, allowed ...netip.Addr) string {
	var b strings.Builder
	chain := func(name, hook, peer string) {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s device %q priority filter; policy accept;\n", name, hook, device)
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

// install puts the rules in place of those that stand on a device.
func (s *site) install(ctx context.Context, tap *lab.Tap, r rules) error {
	all := func(kernel.Standing) bool { return true }
	err := s.network.Hypervisor.Do(func() error {
		if err := errors.Join(offload.Detach(tap.Index), detachPrograms(tap)); err != nil {
			return err
		}
		if _, err := kernel.RemoveGuard(ctx); err != nil {
			return err
		}
		if err := kernel.Replace(ctx, r.tables, all); err != nil {
			return err
		}
		if r.programs != nil {
			return r.programs.attach(tap)
		}
		if r.guard {
			return kernel.RaiseGuard(ctx, s.guard(tap.Name))
		}
		if r.watch {
			_, err := offload.MoveToTCX(tap.Index) // which older kernels cannot
			return err
		}
		return nil
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
