package kernel

import (
	"encoding/binary"
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
		stands, err := r.stands(name)
		if err != nil {
			return nil, err
		}
		if !stands {
			continue
		}
		p, err := r.take(name, (*picture).all)
		if err != nil {
			return nil, err
		}
		if p.stands && p.owner == 0 { // nobody can remove another process's, and none of those had an owner
			s := p.standing()
			s.old = true
			out = append(out, Held{Standing: s, Table: p.table(), Counts: p.tally})
		}
	}
	return out, nil
}

// stands reports whether there is a table of that name.
func (r *reader) stands(name string) (bool, error) {
	p := &picture{reader: r, name: name, named: attribute(unix.NFTA_TABLE_NAME, cString(name))}
	err := p.header()
	return p.stands, err
}

// isOldGuard reports whether a table is the guard of a version before, which had the name
// that the rules' table has now.
func (p *picture) isOldGuard() bool {
	return p.name == ruleset.RulesTable && strings.HasPrefix(p.comment, "closes macvtap devices")
}

// inherit gives rules that begin with what those of a version before learned of the same
// VM's device: the MAC addresses of routers, of a family or of both.
func inherit(should ruleset.Table, old Held) ruleset.Table {
	index, _ := should.Index()
	if should.Comment != old.Comment || !asksFor(old.Table, index) {
		return should
	}
	should.Sets = slices.Clone(should.Sets)
	for i, s := range should.Sets {
		for _, o := range old.Table.Sets {
			if s.Dynamic == 0 || o.Dynamic == 0 || s.Name != ruleset.OwnPrefix+o.Name && !strings.HasPrefix(s.Name, ruleset.OwnPrefix+o.Name+"-ipv") {
				continue
			}
			for _, e := range o.Elements {
				key := append([][]byte{binary.NativeEndian.AppendUint32(nil, index)}, e.From...)
				should.Sets[i].Elements = append(slices.Clip(should.Sets[i].Elements), ruleset.Element{From: key, To: key})
			}
		}
	}
	return should
}

// asksFor reports whether rules of a version before are for the device of that index.
func asksFor(t ruleset.Table, index uint32) bool {
	return slices.ContainsFunc(t.Chains, func(c ruleset.Chain) bool {
		return c.Hook != nil && slices.ContainsFunc(c.Rules, func(r ruleset.Rule) bool { return r.AsksDevice(index) })
	})
}

// isOld reports whether a table's name is one that versions before gave.
func isOld(name string) bool {
	return strings.HasPrefix(name, ruleset.Prefix) && name != ruleset.GuardTable
}

// ours reports whether a table's name is one of this program's, by now or before.
func ours(name string) bool {
	return name == ruleset.RulesTable || name == ruleset.GuardTable || name == ruleset.PlugTable || name == ruleset.TraceTable || isOld(name)
}
