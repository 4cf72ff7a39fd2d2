package kernel

import (
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// A transaction's rules take effect all at once, but a new set of ranges is empty to frames for
// some microseconds more (net/netfilter/nft_set_pipapo.c, nft_pipapo_commit). Nothing passes
// meanwhile that should not, for no drop looks into one. But of a device that is in use one
// frame in a hundred would be lost that ranges allow. So its base chains change alone: what
// they will go to stands before, and what they went to goes after.

// prepare makes what the base chains of devices in use will go to.
func (r *reader) prepare(t *transaction) error {
	if !t.live || t.picture.isOldGuard() {
		return nil
	}
	t.reasons()
	made := ruleset.Table{Name: ruleset.RulesTable, Sets: t.made.Sets}
	for _, c := range t.made.Chains {
		switch {
		case t.picture.chains[c.Name] != nil:
		case c.Hook == nil:
			made.Chains = append(made.Chains, c)
		case t.old[c.Name]:
			// An empty chain decides by its policy from the moment at which it is made, before
			// the transaction that makes it takes effect.
			open := *c.Hook
			open.Policy = ruleset.Accept
			made.Chains = append(made.Chains, ruleset.Chain{Name: c.Name, Hook: &open})
		}
	}
	add := t.missing()
	if len(made.Chains)+len(made.Sets)+len(add) == 0 {
		return nil
	}
	trimmed := t.trimmed()
	created, added, err := compileInto(made.Ordered(), t.knownSets(), trimmed, add)
	if err != nil {
		return err
	}
	if err := t.picture.commit(append(created, added...)); err != nil {
		return err
	}
	if len(trimmed) > 0 {
		return errPrepared
	}
	t.prepared(made)
	return nil
}

// prepared notes what stands by now.
func (t *transaction) prepared(made ruleset.Table) {
	t.table.Sets, t.table.Chains = slices.Concat(t.table.Sets, made.Sets), slices.Concat(t.table.Chains, made.Chains)
	t.made.Sets = nil
	for _, c := range made.Chains {
		t.picture.chains[c.Name] = &chain{Chain: c}
	}
	t.made.Chains = slices.DeleteFunc(t.made.Chains, func(c ruleset.Chain) bool { return c.Hook == nil })
}

// swapped begins the transaction that takes away what the base chains went to.
func (t *transaction) swapped() {
	t.prepared(t.made)
	for i, s := range t.table.Sets {
		t.table.Sets[i].Elements = slices.DeleteFunc(slices.Clone(s.Elements), func(e ruleset.Element) bool {
			return slices.ContainsFunc(t.del[s.Name], func(o ruleset.Element) bool { return ruleset.SameElement(o, e) })
		})
	}
	t.made = ruleset.Table{Name: ruleset.RulesTable}
	t.fresh, t.gone, t.tables, t.stars = nil, nil, nil, nil
	t.add, t.del, t.departed = map[string][]ruleset.Element{}, map[string][]ruleset.Element{}, map[uint32]bool{}
}

// mend puts right the chains of all interfaces that drop and count, and gives whether one was
// wrong: no part is what it should be that goes to such a chain, and each new one would not be
// either.
func (r *reader) mend(t *transaction) (bool, error) {
	if !t.picture.stands || t.picture.isOldGuard() {
		return false, nil
	}
	t.reasons()
	wrong := ruleset.Table{Name: ruleset.RulesTable}
	var messages []netlink.Message
	for _, c := range t.made.Chains {
		if ruleset.IsDropChain(c.Name) && t.picture.chains[c.Name] != nil {
			wrong.Chains = append(wrong.Chains, c)
			messages = append(messages, request(unix.NFT_MSG_DELRULE, 0, slices.Concat(
				attribute(unix.NFTA_RULE_TABLE, cString(ruleset.RulesTable)), attribute(unix.NFTA_RULE_CHAIN, cString(c.Name)))))
		}
	}
	if len(wrong.Chains) == 0 {
		return false, nil
	}
	for _, s := range t.made.Sets {
		if ruleset.IsDrops(s.Name) {
			wrong.Sets = append(wrong.Sets, s)
		}
	}
	created, _, err := compileInto(wrong, t.knownSets(), nil, nil)
	if err != nil {
		return false, err
	}
	return true, t.picture.commit(append(messages, created...))
}

// missing gives the elements that have to be added and do not stand.
func (t *transaction) missing() map[string][]ruleset.Element {
	out := map[string][]ruleset.Element{}
	for set, elements := range t.add {
		stands := map[string]bool{}
		for _, e := range t.sets[set].Elements {
			stands[string(join(e.From))] = true
		}
		for _, e := range elements {
			if !stands[string(join(e.From))] {
				out[set] = append(out[set], e)
			}
		}
	}
	return out
}

// trimmed gives the elements that have to go before there is room for others.
func (t *transaction) trimmed() map[string][]ruleset.Element {
	if !t.trim {
		return nil
	}
	out := map[string][]ruleset.Element{}
	for set, elements := range t.del {
		if t.sets[set].Dynamic > 0 {
			out[set] = slices.Clone(elements)
		}
	}
	return out
}
