package kernel

import (
	"errors"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// inherit has tables begin with what the standing ones that they replace have learned:
// with what rules added to their dynamic sets (ruleset.Table.Inherit). It is read just
// before, and no more than it takes. What cannot be read is learned again: that rules
// are not put right would be worse.
func inherit(conn *netlink.Conn, tables []ruleset.Table, standing []Standing) []ruleset.Table {
	r := &reader{conn: conn, known: map[string]ruleset.Rule{}}
	out := slices.Clone(tables)
	for i, t := range out {
		stands := func(s Standing) bool { return s.Name == t.Name && s.Comment == t.Comment }
		if !t.Learns() || !slices.ContainsFunc(standing, stands) {
			continue
		}
		for range 3 {
			old, err := r.learned(t)
			if err == nil {
				out[i] = t.Inherit(old)
			}
			if !errors.Is(err, errInterrupted) {
				break
			}
		}
	}
	return out
}

// learned reads of the table that another replaces its dynamic sets and, in the base
// chains, for which device it is.
func (r *reader) learned(t ruleset.Table) (ruleset.Table, error) {
	old := ruleset.Table{Name: t.Name, Comment: t.Comment}
	named := attribute(unix.NFTA_TABLE_NAME, cString(t.Name))
	sets, err := r.sets(named, (*set).dynamic)
	if err != nil {
		return old, err
	}
	for i := range sets {
		old.Sets = append(old.Sets, sets[i].named())
	}
	for _, c := range t.Chains {
		if c.Hook == nil {
			continue
		}
		stands := ruleset.Chain{Name: c.Name, Hook: c.Hook}
		err := r.dump(unix.NFT_MSG_GETRULE, slices.Concat(named, attribute(unix.NFTA_RULE_CHAIN, cString(c.Name))), func(b []byte) error {
			_, rule := r.rule(b, sets)
			stands.Rules = append(stands.Rules, rule)
			return nil
		})
		if err != nil {
			return old, err
		}
		old.Chains = append(old.Chains, stands)
	}
	return old, nil
}
