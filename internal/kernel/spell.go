package kernel

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"

	"macvtap-filter/internal/patience"
	"macvtap-filter/internal/ruleset"
)

// nft that does not know prefixes of device names passes a chain over that has any,
// and then looks for it for ever, because it has rules: "nft list ruleset" does not
// end, nor does anything that reads rules, a firewall's reload among them (nft's
// src/cache.c, rule_init_cache). So where nft is not known to know them, the guard
// has the names spelled out that libvirt makes of the prefixes, which every nft can
// read.
const (
	// spelled is how many names are spelled out, from 0 on and after the highest
	// number that there is; libvirt counts on with every device
	// (src/util/virnetdev.c, virNetDevGenerateName).
	spelled = 1024
	// reserve is how many names are left when others are spelled out.
	reserve = spelled / 2
	// namesInChain keeps a chain's notification within a page, or the kernel tells
	// listeners that they lost something (net/netfilter/nf_tables_api.c,
	// nf_tables_chain_notify).
	namesInChain = 128
)

// Spell gives a guard in the form in which it is programmed here.
func Spell(ctx context.Context, guard ruleset.Table) (ruleset.Table, error) {
	if readsPrefixes(ctx) {
		return guard, nil
	}
	devices, err := net.Interfaces()
	if err != nil {
		return guard, fmt.Errorf("list network devices: %w", err)
	}
	var chains []ruleset.Chain
	last := 0
	for _, c := range guard.Chains {
		if c.Hook == nil || len(c.Hook.Prefixes) == 0 {
			chains = append(chains, c)
			continue
		}
		var names []string
		for _, prefix := range c.Hook.Prefixes {
			some, highest := namesOf(prefix, devices)
			names, last = append(names, some...), max(last, highest)
		}
		for i := 0; len(names) > 0; i++ {
			n := min(len(names), namesInChain)
			hook := *c.Hook
			hook.Prefixes, hook.Names = nil, names[:n]
			chains = append(chains, ruleset.Chain{Name: spelledName(c.Name, i), Hook: &hook, Rules: c.Rules})
			names = names[n:]
		}
	}
	guard.Chains = chains
	guard.Comment += upTo + strconv.Itoa(last)
	return guard, nil
}

// upTo comes before the highest number that is spelled out, at the end of the guard's
// comment.
const upTo = ", up to number "

// Reaches reports whether a guard that stands covers a device's name, and enough that
// come after it. RaiseGuard has it do so. Of names that are no prefix and number it covers
// those that there were when it was raised.
func (s Standing) Reaches(device string) bool {
	if !s.Spelled() {
		return true
	}
	if !strings.Contains(s.names, " "+device+" ") {
		return false
	}
	_, text, _ := strings.Cut(s.Comment, upTo)
	last, err := strconv.Atoi(text)
	if err != nil {
		return true
	}
	digits := strings.TrimLeftFunc(device, func(r rune) bool { return r < '0' || r > '9' })
	n, err := strconv.Atoi(digits)
	return err != nil || n <= last-reserve
}

// Spelled reports whether a guard that stands is bound to names, and not to prefixes.
func (s Standing) Spelled() bool { return strings.Contains(s.Comment, upTo) }

// spelledChains reads the chains of one direction of a guard whose names are spelled out.
func (p *picture) spelledChains() error {
	if !p.standing().Spelled() {
		return nil
	}
	for i := 0; ; i++ {
		c, err := p.chainNamed(spelledName("from-vm", i))
		if c == nil || err != nil {
			return err
		}
	}
}

// spelledNames gives the names that the guard's chains are bound to.
func (p *picture) spelledNames() string {
	names := map[string]bool{}
	for _, c := range p.chains {
		if c.Hook != nil {
			for _, name := range c.Hook.Names {
				names[name] = true
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " " + strings.Join(slices.Sorted(maps.Keys(names)), " ") + " "
}

// spelledName is the name of one of the chains in place of one.
func spelledName(chain string, number int) string { return fmt.Sprintf("%s-%d", chain, number) }

// namesOf gives the names of a prefix: itself, those that there are, and those that
// come next; and the highest number of these.
func namesOf(prefix string, devices []net.Interface) (names []string, last int) {
	names = append(names, prefix)
	numbers := map[int]bool{}
	highest := 0
	for _, d := range devices {
		suffix, ours := strings.CutPrefix(d.Name, prefix)
		n, err := strconv.Atoi(suffix)
		switch {
		case !ours, suffix == "":
		case err != nil || n < 0 || prefix+strconv.Itoa(n) != d.Name:
			names = append(names, d.Name)
		default:
			numbers[n] = true
			highest = max(highest, n)
		}
	}
	// In steps, so that not every device makes another guard.
	first := highest / reserve * reserve
	for n := range spelled {
		numbers[n], numbers[first+n] = true, true
	}
	all := make([]int, 0, len(numbers))
	for n := range numbers {
		all = append(all, n)
	}
	slices.Sort(all)
	slices.Sort(names)
	for _, n := range all {
		if name := prefix + strconv.Itoa(n); ruleset.ValidDevice(name) {
			names = append(names, name)
		}
	}
	return names, all[len(all)-1]
}

// unspell gives a guard with the prefixes whose names are spelled out. One that lacks
// names of a prefix stays as it is.
func unspell(guard ruleset.Table) ruleset.Table {
	guard.Comment, _, _ = strings.Cut(guard.Comment, upTo)
	var chains []ruleset.Chain
	for _, c := range guard.Chains {
		name, number, _ := cutLast(c.Name, "-")
		if c.Hook == nil || len(c.Hook.Names) == 0 || number == "" {
			return guard
		}
		hook := *c.Hook
		i := slices.IndexFunc(chains, func(have ruleset.Chain) bool { return have.Name == name })
		if i < 0 {
			chains = append(chains, ruleset.Chain{Name: name, Hook: &hook, Rules: c.Rules})
			continue
		}
		whole := chains[i]
		hook.Names = append(slices.Clone(whole.Hook.Names), hook.Names...)
		joined := ruleset.Chain{Name: name, Hook: &hook, Rules: c.Rules}
		before := ruleset.Chain{Name: name, Hook: &hook, Rules: whole.Rules}
		if !ruleset.Same(ruleset.Table{Chains: []ruleset.Chain{joined}}, ruleset.Table{Chains: []ruleset.Chain{before}}) {
			return guard
		}
		chains[i] = joined
	}
	for _, c := range chains {
		if c.Hook.Prefixes = prefixesOf(c.Hook.Names); c.Hook.Prefixes == nil {
			return guard
		}
		c.Hook.Names = nil
	}
	guard.Chains = chains
	return guard
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// prefixesOf gives the prefixes whose names are all among those given, and nil where
// others are, too.
func prefixesOf(names []string) []string {
	given := map[string]bool{}
	for _, name := range names {
		given[name] = true
	}
	var out []string
	const longest = 15 // include/uapi/linux/if.h, IFNAMSIZ less the NUL
	for name := range given {
		prefix, first := strings.CutSuffix(name, "0")
		if !first && len(name) < longest {
			continue
		}
		if last := prefix + strconv.Itoa(spelled-1); ruleset.ValidDevice(last) && !given[last] {
			continue // most are names themselves
		}
		all, _ := namesOf(prefix, nil)
		if !slices.ContainsFunc(all, func(n string) bool { return !given[n] }) {
			out = append(out, prefix)
		}
	}
	slices.Sort(out)
	candidates := slices.Clone(out)
	out = slices.DeleteFunc(out, func(longer string) bool {
		return slices.ContainsFunc(candidates, func(p string) bool { return p != longer && strings.HasPrefix(longer, p) })
	})
	for _, name := range names {
		if !slices.ContainsFunc(out, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			return nil
		}
	}
	return out
}

var prefixes struct {
	once sync.Once
	read bool
}

// readsPrefixes reports whether nft is here and knows prefixes of device names. It is
// tried once a process, in a network namespace of its own.
func readsPrefixes(ctx context.Context) bool {
	prefixes.once.Do(func() {
		const name = "known"
		table := ruleset.Table{Name: "try", Chains: []ruleset.Chain{{Name: name, Hook: &ruleset.Hook{Type: ruleset.Ingress, Prefixes: []string{"try"}}}}}
		var listed []byte
		err := inOwnNamespace(func() error {
			if err := createPlain(ctx, table); err != nil {
				return err
			}
			var err error
			listed, err = listChains(ctx)
			return err
		})
		prefixes.read = err == nil && strings.Contains(string(listed), name)
	})
	return prefixes.read
}

// listChains has nft list the chains of this network namespace.
func listChains(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience.NFT)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", "list", "chains", "netdev")
	cmd.WaitDelay = patience.NFT // where nft is a script, its children may keep the pipe
	return cmd.Output()
}
