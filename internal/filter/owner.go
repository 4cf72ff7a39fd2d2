package filter

import (
	"fmt"
	"net"
	"strings"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/ruleset"
)

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

// OfAnother reports whether a table is the rules of the very device of that interface
// index, made for another VM than that of the UUID.
func OfAnother(t ruleset.Table, index int, uuid string) bool {
	owner := ParseOwner(t.Comment).UUID
	return domain.OfVM(owner) && owner != uuid && Bound(t, index)
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

// IsDevice reports whether the rules are those of a device that libvirt has no VM for, by a
// [[device]] section.
func (o Owner) IsDevice() bool { return domain.IsDevice(o.UUID) }

// String names the owner as messages do, with the device that its rules are for.
func (o Owner) String() string {
	if o.IsDevice() {
		return fmt.Sprintf("device %q", o.Name)
	}
	return fmt.Sprintf("VM %q", o.Name)
}

// MAC gives the MAC address that rules take for the VM's own, nil where they do not name one.
func MAC(t ruleset.Table) net.HardwareAddr {
	for _, s := range t.Sets {
		if s.Name == ownMACSet && len(s.Elements) == 1 && len(s.Elements[0].From) == 2 {
			return net.HardwareAddr(s.Elements[0].From[1])
		}
	}
	return nil
}
