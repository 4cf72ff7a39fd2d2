package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/plan"
)

// shutOff reads the VMs that are defined and do not run.
func shutOff(ctx context.Context, client *libvirt.Client, running []string) ([]*domain.Domain, error) {
	all, err := client.VMs(ctx)
	if err != nil {
		return nil, err
	}
	var out []*domain.Domain
	for _, name := range all {
		if slices.Contains(running, name) {
			continue
		}
		var xml string
		err := anew(ctx, func(ctx context.Context) (err error) {
			xml, err = client.XML(ctx, name)
			return err
		})
		if err != nil {
			return nil, err
		}
		d, err := parseNamed(name, strings.NewReader(xml))
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// A sectionUse is what a [[vm]] section is for among the VMs that there are.
type sectionUse struct {
	config.Section
	ofVM     bool // a VM has its name or UUID
	counts   int  // for so many interfaces
	shadowed int  // for so many that it matches, an earlier one does
	vm       string
	earlier  int // for an interface of that VM
}

// checkSections says of each [[vm]] section that counts for less than it asks for, by the VMs
// that libvirt knows. names gives the names of a parent.
func checkSections(r *report, c *config.Config, vms []*domain.Domain, names func(parent string) []string) {
	var uses []sectionUse
	var parents []string
	for _, s := range c.Sections() {
		uses = append(uses, sectionUse{Section: s})
		parents = append(parents, s.Parent())
	}
	for _, d := range vms {
		for i := range uses {
			uses[i].ofVM = uses[i].ofVM || uses[i].OfVM(d.Name, d.UUID)
		}
		for _, nic := range sectionNICs(d, names, parents) {
			countSections(uses, d, c.Matching(nic))
		}
	}
	for _, u := range uses {
		earlier := func() string { return fmt.Sprintf("as for the VM %q the one of %v", u.vm, uses[u.earlier].Section) }
		switch {
		case !u.ofVM:
			r.warn("[[vm]] of %v: libvirt knows no VM that it is for", u.Section)
		case u.counts+u.shadowed == 0:
			r.warn("[[vm]] of %v: no macvtap interface that libvirt knows of is one that it is for", u.Section)
		case u.counts == 0:
			r.warn("[[vm]] of %v: it never counts: for all that it is for an earlier one does, %s; put the narrower one first", u.Section, earlier())
		case u.shadowed > 0:
			r.ok("[[vm]] of %v: it counts for %d of the %d interfaces that it is for; for others an earlier one does, %s", u.Section, u.counts, u.counts+u.shadowed, earlier())
		}
	}
}

// countSections takes which sections match an interface: the first counts.
func countSections(uses []sectionUse, d *domain.Domain, matching []int) {
	for n, i := range matching {
		u := &uses[i]
		if n == 0 {
			u.counts++
			continue
		}
		if u.shadowed++; u.shadowed == 1 {
			u.vm, u.earlier = d.Name, matching[0]
		}
	}
}

// sectionNICs gives the interfaces of a VM that may be macvtap devices when it runs. What NIC
// one of a libvirt network is on, or of a device that is to come, nobody knows while the VM is
// shut off: any of parents, then.
func sectionNICs(d *domain.Domain, names func(parent string) []string, parents []string) []config.NIC {
	var out []config.NIC
	for _, i := range d.Direct {
		out = append(out, plan.NIC(d, i, names(i.Parent)))
	}
	for _, o := range d.Others {
		if o.Type == "network" && o.Target == "" || o.Type == "ethernet" && o.Unmanaged {
			out = append(out, config.NIC{VM: d.Name, UUID: d.UUID, MAC: o.MAC, Parents: parents, Place: o.Number})
		}
	}
	return out
}
