// Package filter is the heart: it says which rules make a policy true for one
// interface of a VM. It is pure; the same interface and policy give the same
// table, byte for byte.
package filter

import (
	"errors"
	"fmt"
	"strings"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// Table gives the table of one interface. The interface must have a device
// (Target) that nft can write, and the domain a UUID, by which the table is
// found again when the VM is gone.
func Table(d *domain.Domain, i domain.Interface, p policy.Policy) (ruleset.Table, error) {
	if d.UUID == "" {
		return ruleset.Table{}, errors.New("the domain XML has no <uuid>")
	}
	if !ruleset.ValidDevice(i.Target) {
		return ruleset.Table{}, fmt.Errorf("nft cannot write the device name %q; give the interface a <target dev='…'> of letters and digits", i.Target)
	}
	t := ruleset.Table{
		Name:    ruleset.TableName(i.Target),
		Comment: Owner{UUID: d.UUID, Name: d.Name}.Comment(),
		Sets:    sets(p),
	}
	for _, v := range []view{fromVM, toVM} {
		v.build(&t, d.Name, i.Target, p)
	}
	return t, nil
}

// An Owner says whose a table is.
type Owner struct {
	UUID string // never changes in a VM's life
	Name string // as in the XML when the table was made; for people
}

// Comment gives the owner as the table's comment.
func (o Owner) Comment() string {
	return ruleset.Comment("uuid=" + o.UUID + " vm=" + o.Name)
}

// Is reports whether name is the owner's name or UUID. A name too long for a
// comment is compared as far as it was kept.
func (o Owner) Is(name string) bool {
	return o.UUID != "" && (o.UUID == strings.ToLower(name) || Owner{UUID: o.UUID, Name: name}.Comment() == o.Comment())
}

// ParseOwner reads the owner from a table's comment; the UUID is "" when the
// comment is not one of ours, and a very long name is cut.
func ParseOwner(comment string) Owner {
	uuid, name, ok := strings.Cut(comment, " vm=")
	uuid, ours := strings.CutPrefix(uuid, "uuid=")
	if !ok || !ours {
		return Owner{}
	}
	return Owner{UUID: uuid, Name: name}
}
