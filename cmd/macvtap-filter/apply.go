package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/watch"
)

// apply has the rules of running VMs stand as they should. One VM's failure does not
// keep the others from theirs.
func apply(ctx context.Context, std streams, o options, args []string) error {
	if o.confirm >= 0 || o.confirmed {
		return onTrial(ctx, std, o, args)
	}
	if err := wantVMs(o, args); err != nil {
		return err
	}
	o.dryRun = o.dryRun || o.diff
	c, err := load(ctx, o.config)
	if err != nil {
		return badInput(err)
	}
	warnConfig(std, c)
	if o.diff {
		for _, w := range c.Changes {
			warningf(std, "%s", w)
		}
	}
	a := applier{std: std, options: o, config: c, report: newApplyReport(o)}
	err = a.run(ctx, args)
	if told := a.report.print(std, err != nil); err == nil {
		err = told
	}
	return err
}

// run has the rules of VMs and devices stand.
func (a *applier) run(ctx context.Context, names []string) (err error) {
	all := a.options.all
	if a.client, err = libvirt.Dial(ctx); err != nil {
		if len(a.options.devices) == 0 && (!all || !a.config.HasDevices()) {
			return err
		}
		return a.without(ctx, len(names) > 0 || all, err)
	}
	defer a.client.Close()
	if all {
		if names, err = a.client.Running(ctx); err != nil {
			return err
		}
	}
	if all && !a.config.Guard {
		// Only its owner cannot be told so: a running watch reads the
		// configuration by itself.
		err := a.report.guarding(ctx, a.config, func() error {
			return lowerGuard(ctx, a.std, a.options, "guard = true is not in "+a.config.FileOf("guard"))
		})
		if err != nil && !errors.Is(err, kernel.ErrGuardOwned) {
			return err
		}
	}
	failed := a.each(ctx, names)
	failed = a.devices(ctx) || failed
	if all {
		for _, step := range []func(context.Context) error{a.sweep, a.sweepPlugs, func(ctx context.Context) error { return a.raiseLast(ctx, failed) }} {
			if err := anew(ctx, step); err != nil {
				return err
			}
		}
	}
	if failed {
		return errTold
	}
	return nil
}

// sweep removes the rules whose devices are gone.
func (a *applier) sweep(ctx context.Context) error {
	removed, err := sweep(ctx, a.std, a.options)
	a.report.removed(removed)
	return err
}

func (a *applier) sweepPlugs(ctx context.Context) error {
	if a.options.dryRun && a.options.json {
		return nil // they are no interfaces yet
	}
	return sweepPlugs(ctx, a.std, a.options)
}

func (a *applier) raiseLast(ctx context.Context, failed bool) error {
	return a.report.guarding(ctx, a.config, func() error { return raiseLast(ctx, a.std, a.options, a.config, failed) })
}

// without programs the rules of devices that libvirt has no VM for, while it does not
// answer: those of VMs are found by their rules. That it does not is an error where VMs were
// to get rules.
func (a *applier) without(ctx context.Context, vms bool, why error) error {
	failed := a.devices(ctx)
	switch {
	case vms:
		return why
	case failed:
		return errTold
	}
	return nil
}

// warnConfig tells what the configuration says and hardly means.
func warnConfig(std streams, c *config.Config) {
	for _, w := range c.Warnings {
		warningf(std, "%s", w)
	}
}

// An applier programs VMs' rules.
type applier struct {
	std     streams
	options options
	config  *config.Config
	client  *libvirt.Client
	held    []kernel.Held // what stood before, where that was read
	report  *applyReport
}

// each reports whether any of the VMs' rules could not be programmed.
func (a *applier) each(ctx context.Context, names []string) (failed bool) {
	p, std := startProgress(a.std, len(names))
	defer p.end()
	a.std = std
	alone := func(name string) {
		if err := anew(ctx, func(ctx context.Context) error { return a.one(ctx, name) }); err != nil {
			fail(std, err)
			failed = true
		}
	}
	if !a.options.all || a.options.dryRun {
		for i, name := range names {
			p.step(i, name)
			alone(name)
		}
		return failed
	}
	_ = anew(ctx, func(ctx context.Context) (err error) {
		a.held, err = kernel.Read(ctx) // all at once; what is not read is programmed
		return err
	})
	for i := 0; i < len(names); i += transactionVMs {
		many := names[i:min(i+transactionVMs, len(names))]
		begin := func(place int) { p.step(i+place, many[place]) }
		_ = anew(ctx, func(ctx context.Context) error {
			failed = !a.many(ctx, many, begin, alone) || failed
			return nil
		})
	}
	return failed
}

// anew gives each step of many the whole time that a command has: there may be
// thousands of VMs.
func anew(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandLimit)
	defer cancel()
	return step(ctx)
}

// one programs the rules of one VM.
func (a *applier) one(ctx context.Context, name string) error {
	return planned(ctx, a.config, a.client, name, func(ctx context.Context, d *domain.Domain, made plan.Plan, former former) error {
		for _, w := range made.Warnings {
			warningf(a.std, "%s", w)
		}
		if err := a.stand(ctx, d, made, former); err != nil || a.options.dryRun {
			return err
		}
		if !a.options.all {
			err := a.report.guarding(ctx, a.config, func() error {
				if w := raiseFirst(ctx, a.config, d); w != "" {
					warningf(a.std, "VM %q: %s", name, w)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		tellApplied(a.std, d, made)
		return nil
	})
}

// ownedBefore finds VMs' rules among those that stood before the VMs' XML was read.
// What came later may be of an interface that was plugged in since, which would be open
// without.
func ownedBefore(stood []kernel.Standing, vms ...*domain.Domain) former {
	handles := map[uint64]bool{}
	for _, s := range stood {
		handles[s.Handle] = true
	}
	return func(s kernel.Standing) bool {
		return handles[s.Handle] && slices.ContainsFunc(vms, func(d *domain.Domain) bool { return ownedBy(d)(s) })
	}
}

// liveDomain reads what libvirt says of a running VM.
func liveDomain(ctx context.Context, client *libvirt.Client, name string) (*domain.Domain, error) {
	xml, err := client.LiveXML(ctx, name)
	if err != nil {
		return nil, err
	}
	d, err := parseNamed(name, strings.NewReader(xml))
	if err != nil {
		return nil, err
	}
	return d, adopt(ctx, d)
}

// planned plans what should stand for a running VM, and has something done with it
// before anybody else of this program changes what stands. That an interface cannot be
// planned is an error afterwards.
func planned(ctx context.Context, c *config.Config, client *libvirt.Client, name string, do func(context.Context, *domain.Domain, plan.Plan, former) error) error {
	stood, err := kernel.Tables(ctx)
	if err != nil {
		return fmt.Errorf("VM %q: %w", name, err)
	}
	d, err := liveDomain(ctx, client, name)
	if err != nil {
		return err
	}
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return fmt.Errorf("VM %q: %w", name, err)
	}
	defer unlock()
	made, err := planLive(ctx, d, c, true)
	if err == nil {
		err = spare(ctx, d, &made)
	}
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, d, made, keeping(made, ownedBefore(stood, d))), made.Err())
}

// spare takes out of a running VM's plan what is another VM's by now. A device whose MAC
// address is not the domain XML's may have been made since that was read, for a VM whose
// hook has programmed it.
func spare(ctx context.Context, d *domain.Domain, made *plan.Plan) error {
	for _, w := range made.Warnings {
		if w.OtherMAC == nil {
			continue
		}
		i := *w.OtherMAC
		name := ruleset.TableName(i.Target)
		held, err := kernel.Read(ctx, name)
		if err != nil {
			return fmt.Errorf("VM %q: %w", d.Name, err)
		}
		if len(held) == 0 || !filter.OfAnother(held[0].Table, i.Index, d.UUID) {
			continue
		}
		made.Tables = slices.DeleteFunc(made.Tables, func(t ruleset.Table) bool { return t.Name == name })
		made.Failed = append(made.Failed, &plan.Error{VM: d.Name, Interface: i, Err: fmt.Errorf("its device has the MAC address %s, not %s, and the rules of the VM %q", i.DeviceMAC, i.MAC, filter.ParseOwner(held[0].Comment).Name)})
	}
	return nil
}

// reconcile has a running VM's rules stand, those that do already and others in place of
// what stood.
func reconcile(ctx context.Context, d *domain.Domain, made plan.Plan, former former) error {
	err := kernel.Reconcile(ctx, made.Tables, former)
	switch {
	case err == nil:
		return nil
	case d.VM() == "":
		return fmt.Errorf("device %q: %w", d.Name, err)
	}
	return fmt.Errorf("VM %q: %w", d.Name, err)
}

// tellApplied says what stands for a VM.
func tellApplied(std streams, d *domain.Domain, made plan.Plan) {
	if len(made.Tables) == len(made.Open) && len(made.Failed) == 0 && d.VM() != "" {
		notef(std, "VM %q has no direct interface on a configured parent", d.Name)
	}
	for _, t := range made.Tables {
		device, _ := ruleset.TableDevice(t.Name)
		if slices.Contains(made.Open, device) {
			notef(std, "%s passes the guard with everything: its parent is not configured", interfaceOf(d, device))
		} else {
			notef(std, "%s is protected", interfaceOf(d, device))
		}
	}
}

// sweep removes the rules whose devices are gone. A device that comes back while
// we look gets new rules from its VM's start, which are not those we saw.
func sweep(ctx context.Context, std streams, o options) ([]kernel.Standing, error) {
	h, err := host.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	gone := func(s kernel.Standing) bool {
		device, ok := ruleset.TableDevice(s.Name)
		return ok && filter.ParseOwner(s.Comment).UUID != "" && !h.Exists(device)
	}
	return removeRules(ctx, std, o, gone)
}

// remove removes the rules of VMs.
func remove(ctx context.Context, std streams, o options, args []string) error {
	if err := wantVMs(o, args); err != nil {
		return err
	}
	o.dryRun = o.dryRun || o.diff
	told, err := watch.Ask(ctx)
	watched := err == nil && !o.dryRun
	wouldUndo := fmt.Errorf("watch runs, process %d, and would put the rules back at once: stop it first: systemctl stop macvtap-filter-watch", told.PID)
	if watched && o.all {
		return wouldUndo
	}
	if o.all {
		// First: nothing would open the devices again whose rules go.
		if err := lowerGuard(ctx, std, o, "devices without rules are open"); err != nil {
			return err
		}
		if err := unplugTold(ctx, std, o, func(filter.Plug) bool { return true }); err != nil {
			return err
		}
	}
	uuids := map[string]bool{}
	failed := false
	for _, name := range args {
		owners, err := ownersNamed(ctx, name)
		switch {
		case err != nil:
			return err
		case len(owners) == 0:
			errorf(std, "VM %q has no rules; \"macvtap-filter status\" shows whose there are", name)
			failed = true
		case len(owners) > 1:
			errorf(std, "VM %q: the name is that of several VMs' rules; name one by its UUID: %s", name, strings.Join(owners, ", "))
			failed = true
		default:
			uuids[owners[0]] = true
		}
	}
	byDevice := deviceRules(o.devices)
	for _, device := range o.devices {
		if found, err := anyRules(ctx, deviceRules([]string{device})); err != nil {
			return err
		} else if !found {
			errorf(std, "device %q has no rules by a [[device]] section; \"macvtap-filter status\" shows whose there are", device)
			failed = true
		}
	}
	named := func(s kernel.Standing) bool {
		// Rules without an owner are somebody's own, whatever their name.
		owner := filter.ParseOwner(s.Comment).UUID
		return owner != "" && (o.all || uuids[owner]) || byDevice(s)
	}
	if watched {
		back, err := putsBack(ctx, told, named)
		switch {
		case err != nil:
			return err
		case back:
			return wouldUndo
		}
	}
	if _, err := removeRules(ctx, std, o, named); err != nil {
		return err
	}
	if failed {
		return errTold
	}
	return nil
}

// putsBack reports whether a watch would put some of the rules back: those of devices
// that are not merely kept, on no configured parent.
func putsBack(ctx context.Context, told watch.Report, which func(kernel.Standing) bool) (bool, error) {
	tables, err := kernel.Tables(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(told.Devices, func(d watch.Device) bool {
		return d.Kept == "" && slices.ContainsFunc(tables, func(s kernel.Standing) bool {
			return s.Name == ruleset.TableName(d.Name) && which(s)
		})
	}), nil
}

// anyRules reports whether some of the rules that stand are such.
func anyRules(ctx context.Context, which func(kernel.Standing) bool) (bool, error) {
	tables, err := kernel.Tables(ctx)
	return slices.ContainsFunc(tables, which), err
}

// ownersNamed gives the UUIDs of the VMs of that name or UUID that have rules,
// sorted. Rules keep the name as it was, and of a very long one the beginning.
func ownersNamed(ctx context.Context, name string) ([]string, error) {
	tables, err := kernel.Tables(ctx)
	if err != nil {
		return nil, err
	}
	var uuids []string
	for _, t := range tables {
		if owner := filter.ParseOwner(t.Comment); owner.Is(name) {
			uuids = append(uuids, owner.UUID)
		}
	}
	slices.Sort(uuids)
	return slices.Compact(uuids), nil
}

// removeRules removes rules, and gives them, or shows which these would be.
func removeRules(ctx context.Context, std streams, o options, which func(kernel.Standing) bool) ([]kernel.Standing, error) {
	if o.dryRun && o.json {
		standing, err := kernel.Tables(ctx)
		return slices.DeleteFunc(standing, func(s kernel.Standing) bool { return !which(s) }), err
	}
	if o.dryRun {
		return nil, preview(ctx, std, o, nil, which)
	}
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	removed, err := kernel.Remove(ctx, which)
	if err != nil {
		return nil, err
	}
	for _, t := range removed {
		notef(std, "removed the rules of %s", whoseRules(t))
	}
	return removed, kernel.Uncheck(removed)
}
