package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/drift"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/reach"
	"macvtap-filter/internal/ruleset"
)

// applySchema is the version of apply's JSON form, as status.Schema is of status's.
const applySchema = 1

// What may have become of the rules of an interface, or of the guard.
const (
	unchanged = "unchanged" // they stand as they did, and count on
	created   = "created"   // none stood
	changed   = "changed"   // others stood
	removed   = "removed"
	failed    = "failed" // what stood stays
)

// An appliedInterface is what became of the rules of one interface.
type appliedInterface struct {
	Result    string `json:"result"`
	VM        string `json:"vm,omitempty"` // of a device that libvirt has no VM for there is none
	UUID      string `json:"uuid,omitempty"`
	Interface int    `json:"interface,omitempty"`
	Device    string `json:"device"`
	Policy    string `json:"policy,omitempty"`
	Reason    string `json:"reason,omitempty"` // why it failed
	Diff      string `json:"diff,omitempty"`   // with --diff: from the rules that stand to those that would

	Opens  *reach.Report `json:"opens,omitempty"` // so, where others stand
	Closes *reach.Report `json:"closes,omitempty"`
}

// An applyForm is what apply prints as JSON: what it did or, with --dry-run, would do.
type applyForm struct {
	Schema     int                `json:"schema"`
	Time       time.Time          `json:"time"`
	DryRun     bool               `json:"dry_run"`
	Changed    bool               `json:"changed"` // anything
	Failed     bool               `json:"failed"`  // anything; standard error says what
	Guard      string             `json:"guard"`
	Interfaces []appliedInterface `json:"interfaces"`
}

// An applyReport gathers what apply does, where that is wanted as JSON. A nil one gathers nothing.
type applyReport struct {
	applyForm
	diff bool
}

func newApplyReport(o options) *applyReport {
	if !o.json {
		return nil
	}
	return &applyReport{applyForm{Schema: applySchema, DryRun: o.dryRun, Guard: unchanged, Interfaces: []appliedInterface{}}, o.diff}
}

// look compares what should stand for VMs with what does, before it is changed.
func (r *applyReport) look(ctx context.Context, goes former, vms ...plannedVM) ([]appliedInterface, error) {
	if r == nil {
		return nil, nil
	}
	held, err := kernel.Read(ctx)
	if err != nil {
		return nil, err
	}
	standing := map[string]kernel.Held{}
	for _, h := range held {
		standing[h.Name] = h
	}
	var all []appliedInterface
	for _, vm := range vms {
		for _, t := range vm.made.Tables {
			h, stands := standing[t.Name]
			all = append(all, becomes(vm, t, h, stands))
			delete(standing, t.Name)
		}
		for _, f := range vm.made.Failed {
			one := interfaceOfVM(vm.domain, f.Interface.Target)
			one.Result, one.Reason = failed, f.Error()
			all = append(all, one)
		}
	}
	for _, h := range held {
		if _, left := standing[h.Name]; left && goes(h.Standing) {
			all = append(all, goesAway(h.Standing))
		}
	}
	return all, nil
}

// becomes says what becomes of the rules of an interface.
func becomes(vm plannedVM, should ruleset.Table, h kernel.Held, stands bool) appliedInterface {
	device, _ := ruleset.TableDevice(should.Name)
	one := interfaceOfVM(vm.domain, device)
	one.Policy = vm.made.Policies[device]
	if !stands {
		one.Result = created
		return one
	}
	one.Result = unchanged
	if one.Diff = ruleset.Diff(inKernel(should.Name), h.Table, wouldBe(should.Name), should); one.Diff != "" {
		one.Result = changed
	}
	return one
}

// interfaceOfVM names an interface of a VM, or a device that libvirt has none for.
func interfaceOfVM(d *domain.Domain, device string) appliedInterface {
	one := appliedInterface{Device: device}
	if d.VM() == "" {
		return one
	}
	one.VM, one.UUID = d.Name, d.UUID
	for _, i := range d.Direct {
		if i.Target == device {
			one.Interface = i.Number
		}
	}
	return one
}

// goesAway tells of rules that are removed.
func goesAway(s kernel.Standing) appliedInterface {
	one := appliedInterface{Result: removed, Device: ruleset.Shown(s.Name)}
	if owner := filter.ParseOwner(s.Comment); !owner.IsDevice() {
		one.VM, one.UUID = owner.Name, owner.UUID
	}
	return one
}

// add notes what became of interfaces; err says why what was to change did not.
func (r *applyReport) add(all []appliedInterface, err error) {
	if r == nil {
		return
	}
	for _, one := range all {
		if !r.diff { // a policy's rules are long, and those of all its VMs change at once
			one.Diff = ""
		}
		if err != nil && one.Result != unchanged && one.Result != failed {
			one.Result, one.Reason = failed, err.Error()
		}
		r.Interfaces = append(r.Interfaces, one)
	}
}

// removed notes rules that were removed.
func (r *applyReport) removed(all []kernel.Standing) {
	for _, s := range all {
		r.add([]appliedInterface{goesAway(s)}, nil)
	}
}

// guarding has the guard raised or lowered, and notes what became of it. With --dry-run it
// notes what would. One that another process owns is that one's.
func (r *applyReport) guarding(ctx context.Context, c *config.Config, do func() error) error {
	if r == nil {
		return do()
	}
	standing, _, err := kernel.LookGuard(ctx)
	if err != nil {
		return err
	}
	found, err := guardFindings(ctx, c)
	if err != nil {
		return err
	}
	var left []drift.Finding
	if !r.DryRun {
		if err = do(); err == nil {
			left, err = guardFindings(ctx, c)
		}
	}
	switch {
	case len(found) == 0 || standing.Owner != 0:
	case err != nil:
		r.Guard = failed
	case len(left) == 0:
		r.Guard = map[drift.State]string{drift.Unprotected: created, drift.Drifted: changed, drift.Stale: removed}[found[0].State]
	}
	return err
}

// print prints the form; wrong says that something failed.
func (r *applyReport) print(std streams, wrong bool) error {
	if r == nil {
		return nil
	}
	r.Time, r.Failed = time.Now(), wrong
	r.Changed = r.Guard != unchanged && r.Guard != failed
	for _, one := range r.Interfaces {
		r.Failed = r.Failed || one.Result == failed
		r.Changed = r.Changed || one.Result != unchanged && one.Result != failed
	}
	text, err := json.MarshalIndent(r.applyForm, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(std.out, "%s\n", escapeJSON(text))
	}
	return err
}

// stand has a VM's rules stand, or shows what that would change.
func (a *applier) stand(ctx context.Context, d *domain.Domain, made plan.Plan, former former) error {
	what, err := a.report.look(ctx, former, plannedVM{d, made})
	if err != nil {
		return err
	}
	if a.options.diff {
		if err := a.opened(ctx, plannedVM{d, made}, what); err != nil {
			return err
		}
	}
	switch {
	case !a.options.dryRun:
		err = reconcile(ctx, d, made, former)
	case !a.options.json:
		err = preview(ctx, a.std, a.options, made.Tables, former)
	}
	a.report.add(what, err)
	return err
}
