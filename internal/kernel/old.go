package kernel

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// Versions before made a table for each device, of the name that ruleset.TableName gives. On
// a host that runs VMs since, such tables judge their frames until each device's rules are
// made again: then its table goes in the same transaction.

// old reads the tables of that kind, of those names or all.
func (r *reader) old(names []string) ([]Held, error) {
	var tables []string
	if len(names) == 0 {
		err := r.dump(unix.NFT_MSG_GETTABLE, nil, func(b []byte) error {
			tables = append(tables, text(nested(b, unix.NFTA_TABLE_NAME)))
			return nil
		})
		if err != nil {
			return nil, err
		}
	} else {
		tables = slices.Clone(names)
	}
	var out []Held
	for _, name := range tables {
		if !isOld(name) {
			continue
		}
		p, err := r.take(name, (*picture).all)
		if err != nil {
			return nil, err
		}
		if p.stands {
			s := p.standing()
			s.old = true
			out = append(out, Held{Standing: s, Table: p.table(), Counts: p.tally})
		}
	}
	return out, nil
}

// isOld reports whether a table's name is one that versions before gave.
func isOld(name string) bool {
	return strings.HasPrefix(name, ruleset.Prefix) && name != ruleset.GuardTable
}

// ours reports whether a table's name is one of this program's, by now or before.
func ours(name string) bool {
	return name == ruleset.RulesTable || name == ruleset.GuardTable || isOld(name)
}
