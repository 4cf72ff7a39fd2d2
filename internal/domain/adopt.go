package domain

import (
	"cmp"
	"fmt"
	"slices"
)

// Adopt makes direct interfaces of those of type 'ethernet' whose device is a macvtap that
// somebody else made for libvirt to take (managed='no'): the XML does not say so, the kernel
// does. find gives the device's own name and the NIC that it sits on; ok is false for no
// such macvtap.
func (d *Domain) Adopt(find func(device string) (name, parent string, ok bool, err error)) error {
	var others []Other
	for _, o := range d.Others {
		name, parent, ok := "", "", false
		if o.Type == "ethernet" && o.Target != "" {
			var err error
			if name, parent, ok, err = find(o.Target); err != nil {
				return fmt.Errorf("VM %q: interface %d: %w", d.Name, o.Number, err)
			}
		}
		if ok {
			d.Direct = append(d.Direct, Interface{Number: o.Number, Target: name, Parent: parent, MAC: o.MAC, Foreign: true})
		} else {
			others = append(others, o)
		}
	}
	d.Others = others
	slices.SortStableFunc(d.Direct, func(a, b Interface) int { return cmp.Compare(a.Number, b.Number) })
	return nil
}

// Adoptable reports whether there is an interface that Adopt may find to be a direct one.
func (d *Domain) Adoptable() bool {
	return slices.ContainsFunc(d.Others, func(o Other) bool { return o.Type == "ethernet" && o.Target != "" })
}
