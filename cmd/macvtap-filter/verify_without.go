package main

import (
	"context"
	"slices"

	"macvtap-filter/internal/drift"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/status"
)

// verifyWithout does what can be done while libvirt does not answer: what status finds is
// what is found, and with --repair the rules of devices that are gone are removed.
func verifyWithout(ctx context.Context, std streams, o options, names []string, why error) error {
	v := &verifier{std: std, options: o, without: true}
	s, err := interfacesOf(ctx, o, names)
	if err != nil {
		return err
	}
	if o.repair && !o.dryRun {
		stale := map[uint64]bool{}
		for _, i := range s.Interfaces {
			if i.State == status.Stale && i.Index == 0 {
				stale[i.Rules] = true
			}
		}
		if len(stale) > 0 {
			if err := removeSeen(ctx, stale); err != nil {
				return err
			}
		}
	}
	var found, left []drift.Finding
	v.interfaces = len(s.Interfaces)
	for _, i := range wrong(s) {
		f := drift.Finding{State: drift.State(i.State), VM: i.VM, UUID: i.UUID, Interface: i.Number, Device: i.Device, Table: ruleset.RulesTable, Rules: ruleset.TableName(i.Device), Reason: i.Problem, Kept: true, Own: i.Section != ""}
		if i.State == "" {
			f.State = "unknown"
		}
		found = append(found, f)
		if i.State != status.Stale || i.Index != 0 || !o.repair || o.dryRun {
			left = append(left, f)
		}
	}
	for _, note := range s.Notes {
		warningf(std, "%s", shown(note))
	}
	warningf(std, "%v: what is compared is what \"macvtap-filter status\" compares, and only rules of devices that are gone can be removed", why)
	v.failed = len(found) > 0 || len(s.AbsentParents) > 0 || blind(s)
	if err := v.print(found, left); err != nil {
		return err
	}
	if len(left) > 0 || len(s.AbsentParents) > 0 || blind(s) {
		return errTold
	}
	return nil
}

// interfacesOf looks at the interfaces of VMs, of all without names, and looks again at what
// is not right: a VM that starts or stops meanwhile is as it should be a moment later.
func interfacesOf(ctx context.Context, o options, names []string) (status.Status, error) {
	c := &statusCommand{options: o, vms: names}
	all := c.collect(ctx)
	if err := c.known(ctx, all); err != nil {
		return all, err
	}
	return c.recheck(ctx, all), nil
}

// wrong gives the interfaces that are to be mended, or of which nobody can tell.
func wrong(s status.Status) []status.Interface {
	return slices.DeleteFunc(slices.Clone(s.Interfaces), func(i status.Interface) bool {
		return i.State == status.Protected || i.State == status.Unfiltered
	})
}
