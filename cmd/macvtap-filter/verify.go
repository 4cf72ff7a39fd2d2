package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/drift"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// verify holds what the kernel has against what should be there, and with --repair
// puts it there.
func verify(ctx context.Context, std streams, o options, args []string) error {
	if o.all && len(args)+len(o.devices) > 0 {
		return badInput(errors.New("give either VMs or --all"))
	}
	c, err := load(ctx, o.config)
	if err != nil {
		return badInput(err)
	}
	client, err := libvirt.Dial(ctx)
	if err != nil {
		return verifyWithout(ctx, std, o, append(args, o.devices...), err)
	}
	defer client.Close()
	v := &verifier{std: std, options: o, config: c, client: client}
	all := len(args)+len(o.devices) == 0
	names := slices.Compact(slices.Sorted(slices.Values(args)))
	if all {
		if names, err = client.Running(ctx); err != nil {
			return err
		}
	}
	found, err := v.look(ctx, names, all, nil)
	if err == nil && len(found) > 0 {
		// A VM that starts or stops while we look is not wrong: a moment later
		// it is as it should be.
		found, err = v.lookAgain(ctx, found)
	}
	if err != nil {
		return err
	}
	left := found
	if o.repair && !o.dryRun && len(found) > 0 {
		if left, err = v.repair(ctx, found); err != nil {
			return err
		}
		if v.lowered(found) {
			more, err := v.look(ctx, names, all, nil)
			if err == nil && len(more) > 0 {
				found = append(found, more...)
				left, err = v.repair(ctx, more)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := v.print(found, left); err != nil {
		return err
	}
	if len(left) > 0 || v.failed {
		return errTold
	}
	return nil
}

// A verifier looks at VMs, and remembers whether it could look at all of them.
type verifier struct {
	std     streams
	options options
	config  *config.Config
	client  *libvirt.Client

	vms, interfaces int // looked at
	failed          bool
	without         bool            // libvirt does not answer
	told            map[string]bool // what was told
}

// look compares VMs and, with all, everything that stands; others are names of rules to
// look at besides. Interfaces that cannot be planned are told, and what else their VM has of
// rules is let alone.
func (v *verifier) look(ctx context.Context, names []string, all bool, others []string) ([]drift.Finding, error) {
	h, err := host.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	guard, err := guarded(ctx, v.config)
	if err != nil {
		return nil, err
	}
	network := plan.Remember(plan.Live{Host: h, Running: true, Guard: guard, Patience: plan.Patience, Rules: func(name string) (rules ruleset.Table, stand bool, err error) {
		err = anew(ctx, func(ctx context.Context) error {
			rules, stand, err = kernel.Rules(ctx, name)
			return err
		})
		return rules, stand, err
	}})
	var vms []drift.VM
	off := map[string]bool{}     // VMs by name that are not running
	unclear := map[string]bool{} // and those of whose rules nobody can say all
	v.vms, v.interfaces, v.failed = 0, 0, false
	absent, err := h.Absent(v.config.Literals())
	if err != nil {
		return nil, err
	}
	for _, a := range absent {
		v.fail(fmt.Errorf("parents in %s: %s", v.config.FileOf("parents"), a))
	}
	for _, name := range names {
		var vm drift.VM
		err := anew(ctx, func(ctx context.Context) (err error) {
			vm, err = v.should(ctx, name, network)
			return err
		})
		switch {
		case errors.Is(err, libvirt.ErrNotRunning):
			off[keptName(name)] = true
			continue
		case err != nil:
			v.fail(err)
			unclear[keptName(name)] = true
		}
		if len(vm.Tables) > 0 || err == nil {
			vms = append(vms, vm)
			v.vms, v.interfaces = v.vms+1, v.interfaces+len(vm.Tables)
		}
	}
	for _, d := range v.devices(ctx, h, all, others) {
		vm, err := v.compared(ctx, d, network)
		if err != nil {
			v.fail(err)
			unclear[d.Name] = true
		}
		vms = append(vms, vm)
		v.interfaces += len(vm.Tables)
	}
	var held []kernel.Held
	var found []drift.Finding
	err = anew(ctx, func(ctx context.Context) (err error) {
		if all || slices.Contains(others, ruleset.GuardTable) {
			if found, err = guardFindings(ctx, v.config); err != nil {
				return err
			}
		}
		held, err = v.held(ctx, vms, off, all, others)
		return err
	})
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, vm := range vms {
		for _, t := range vm.Tables {
			wanted[t.Name] = true
		}
	}
	held = slices.DeleteFunc(held, func(h kernel.Held) bool {
		return unclear[filter.ParseOwner(h.Comment).Name] && !wanted[h.Name]
	})
	return append(found, drift.Find(vms, held, h.Exists)...), nil
}

// should plans what should stand for a running VM, as far as it can.
func (v *verifier) should(ctx context.Context, name string, network plan.Network) (drift.VM, error) {
	d, err := liveDomain(ctx, v.client, name)
	if err != nil {
		return drift.VM{}, err
	}
	return v.compared(ctx, d, network)
}

// devices finds the devices that [[device]] sections are for: all, or those that are named,
// or that have rules among others.
func (v *verifier) devices(ctx context.Context, h *host.Host, all bool, others []string) (found []*domain.Domain) {
	f := &deviceFinder{config: v.config, client: v.client, host: h}
	if all || len(others) > 0 {
		every, failures := f.every(ctx)
		for _, err := range failures {
			v.fail(err)
		}
		for _, d := range every {
			if all || slices.Contains(others, ruleset.TableName(d.Name)) {
				found = append(found, d)
			}
		}
		return found
	}
	for _, name := range v.options.devices {
		d, err := f.named(ctx, name, false)
		if err != nil {
			v.fail(err)
			continue
		}
		found = append(found, d)
	}
	return found
}

// compared plans what should stand for a VM or a device, as far as it can.
func (v *verifier) compared(ctx context.Context, d *domain.Domain, network plan.Network) (drift.VM, error) {
	made := plan.Each(d, v.config, network)
	for _, w := range made.Warnings {
		if w.OtherMAC != nil {
			v.tell(w.Text, func() { warningf(v.std, "%s", w) })
		}
	}
	kept := map[string]string{}
	for _, k := range made.Kept {
		kept[k.Device] = k.Text
	}
	guard, stands, err := kernel.LookGuard(ctx)
	if err != nil {
		return drift.VM{}, err
	}
	plugs, err := kernel.Plugs(ctx)
	if err != nil {
		return drift.VM{}, err
	}
	closed := func(device string) bool {
		return stands && v.config.GuardsName(device) && guard.Reaches(device) ||
			slices.ContainsFunc(d.Direct, func(i domain.Interface) bool { return i.Target == device && closes(plugs, i.MAC) })
	}
	return drift.VM{Domain: d, Tables: made.Tables, Closed: closed, Kept: kept}, made.Err()
}

// guardFindings compares the guard with the one that the configuration wants.
func guardFindings(ctx context.Context, c *config.Config) ([]drift.Finding, error) {
	held, err := kernel.Read(ctx, ruleset.GuardTable)
	if err != nil {
		return nil, err
	}
	var want *ruleset.Table
	if c.Guard {
		want = new(filter.Guard(c.GuardPrefixes))
	}
	return drift.Guard(want, held), nil
}

func (v *verifier) fail(err error) {
	v.failed = true
	v.tell(err.Error(), func() { fail(v.std, err) })
}

// tell tells something once, however often it is looked at.
func (v *verifier) tell(text string, tell func()) {
	if v.told == nil {
		v.told = map[string]bool{}
	}
	if !v.told[text] {
		v.told[text] = true
		tell()
	}
}

// keptName is a VM's name as its rules keep it.
func keptName(name string) string {
	const uuid = "00000000-0000-0000-0000-000000000000" // as long as any
	return filter.ParseOwner(filter.Owner{UUID: uuid, Name: name}.Comment()).Name
}

// held reads the rules that stand: all, or those that VMs have or should have.
func (v *verifier) held(ctx context.Context, vms []drift.VM, off map[string]bool, all bool, others []string) ([]kernel.Held, error) {
	if all {
		return kernel.Read(ctx)
	}
	names := slices.Clone(others)
	uuids := map[string]bool{}
	for _, vm := range vms {
		uuids[vm.UUID] = true
		for _, t := range vm.Tables {
			names = append(names, t.Name)
		}
	}
	standing, err := kernel.Tables(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range standing {
		owner := filter.ParseOwner(s.Comment)
		if uuids[owner.UUID] || off[owner.Name] {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return kernel.Read(ctx, names...)
}

// lookAgain gives what is still wrong of what was found.
func (v *verifier) lookAgain(ctx context.Context, found []drift.Finding) ([]drift.Finding, error) {
	vms, interfaces, failed := v.vms, v.interfaces, v.failed
	var running []string
	err := anew(ctx, func(ctx context.Context) (err error) {
		running, err = v.client.Running(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	runs := map[string]string{}
	for _, name := range running {
		runs[keptName(name)] = name
	}
	var names, rules []string
	for _, f := range found {
		if name, ok := runs[keptName(f.VM)]; ok {
			names = append(names, name)
		}
		rules = append(rules, f.Rules)
	}
	again, err := v.look(ctx, slices.Compact(slices.Sorted(slices.Values(names))), false, rules)
	v.vms, v.interfaces, v.failed = vms, interfaces, v.failed || failed
	return again, err
}

// repair programs what should stand in place of what was found, and gives what is
// wrong after that.
func (v *verifier) repair(ctx context.Context, found []drift.Finding) ([]drift.Finding, error) {
	stale := map[uint64]bool{}
	mended := map[string]bool{}
	var guard bool
	for _, f := range found {
		if f.Rules == ruleset.GuardTable {
			guard = true
			continue
		}
		if f.Kept {
			continue
		}
		if f.State == drift.Stale {
			stale[f.Handle] = true
			continue
		}
		if f.Own {
			if err := anew(ctx, func(ctx context.Context) error { return v.repairDevice(ctx, f.Device) }); err != nil {
				v.fail(err)
			}
			continue
		}
		if mended[f.VM] {
			continue
		}
		mended[f.VM] = true
		err := anew(ctx, func(ctx context.Context) error {
			return planned(ctx, v.config, v.client, f.VM, reconcile)
		})
		if err != nil {
			v.fail(err)
		}
	}
	if len(stale) > 0 {
		err := anew(ctx, func(ctx context.Context) error { return removeSeen(ctx, stale) })
		if err != nil {
			return nil, err
		}
	}
	if guard {
		// Last: it closes what has no rules.
		if err := anew(ctx, v.repairGuard); err != nil {
			v.fail(err)
		}
	}
	return v.lookAgain(ctx, found)
}

// repairDevice programs the rules of a device that a [[device]] section is for.
func (v *verifier) repairDevice(ctx context.Context, name string) error {
	h, err := host.Open(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	f := &deviceFinder{config: v.config, client: v.client, host: h}
	d, err := f.named(ctx, name, false)
	if err != nil {
		return err
	}
	made, unlock, err := planLocked(ctx, d, v.config, true)
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(reconcile(ctx, d, made, keeping(made, ownedBy(d))), made.Err())
}

// lowered reports whether a repair took the guard away: rules that marked frames for it
// are other than they should be then.
func (v *verifier) lowered(found []drift.Finding) bool {
	return !v.config.Guard && slices.ContainsFunc(found, func(f drift.Finding) bool { return f.Rules == ruleset.GuardTable })
}

func (v *verifier) repairGuard(ctx context.Context) error {
	if v.config.Guard {
		return raiseLast(ctx, v.std, v.options, v.config, v.failed)
	}
	return lowerGuard(ctx, v.std, v.options, "guard = true is not in "+v.config.FileOf("guard"))
}

// removeSeen removes those very rules: those that took the name since are others.
func removeSeen(ctx context.Context, handles map[uint64]bool) error {
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = kernel.Remove(ctx, func(s kernel.Standing) bool { return handles[s.Handle] })
	return err
}

// print tells what was found, and what is left of it.
func (v *verifier) print(found, left []drift.Finding) error {
	wrong := map[string]bool{}
	for _, f := range left {
		wrong[f.Rules] = true
	}
	repaired := func(f drift.Finding) bool { return v.options.repair && !v.options.dryRun && !wrong[f.Rules] }
	if v.options.json {
		return v.printJSON(found, repaired)
	}
	mended := 0
	for _, f := range found {
		fmt.Fprint(v.std.out, f)
		if repaired(f) {
			mended++
			notef(v.std, "%s: repaired", f.Where())
		}
	}
	switch {
	case len(found) == 0 && !v.failed && v.without:
		notef(v.std, "%s as should be", count(v.interfaces, "interface"))
	case len(found) == 0 && !v.failed:
		notef(v.std, "%s of %s as should be", count(v.interfaces, "interface"), count(v.vms, "running VM"))
	case len(left) > 0 && !v.options.repair && !slices.ContainsFunc(left, func(f drift.Finding) bool { return !f.Kept }):
		notef(v.std, "%s not as should be", whose(left))
	case len(left) > 0 && !v.options.repair:
		notef(v.std, "%s not as should be; \"macvtap-filter verify --repair\" mends that", whose(left))
	case len(left) > 0:
		notef(v.std, "%s not as should be, %d repaired", whose(left), mended)
	}
	return nil
}

// whose says in short what findings are about.
func whose(found []drift.Finding) string {
	const guard = "the guard"
	interfaces := len(found)
	if slices.ContainsFunc(found, func(f drift.Finding) bool { return f.Rules == ruleset.GuardTable }) {
		if interfaces--; interfaces == 0 {
			return guard
		}
		return guard + " and " + count(interfaces, "interface")
	}
	return count(interfaces, "interface")
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (v *verifier) printJSON(found []drift.Finding, repaired func(drift.Finding) bool) error {
	type finding struct {
		drift.Finding
		Repaired bool `json:"repaired"`
	}
	out := []finding{}
	for _, f := range found {
		out = append(out, finding{f, repaired(f)})
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(v.std.out, "%s\n", text)
	return nil
}
