package main

import (
	"context"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// transactionVMs is how many VMs' rules one transaction replaces at most. Each
// transaction waits once for what it deletes, and lists once what stands. With more,
// the kernel's search for each rule's sets among the transaction's changes costs as
// much again, and the hooks of other VMs wait longer.
const transactionVMs = 4096

// A plannedVM is one whose rules are to be programmed.
type plannedVM struct {
	domain *domain.Domain
	made   plan.Plan
}

// many programs VMs' rules in one transaction, and reports whether it told of no
// error. What is wrong with one VM is told, and keeps no other from its rules; where
// the transaction fails, alone tries each for itself, so that the error is its own. It
// says with begin that it turns to a VM, by its place among the names.
func (a *applier) many(ctx context.Context, names []string, begin func(place int), alone func(name string)) bool {
	stood, err := a.stood(ctx)
	if err != nil {
		for _, name := range names {
			alone(name)
		}
		return true // alone notes what fails
	}
	var failures []error
	var domains []*domain.Domain
	for place, name := range names {
		begin(place)
		d, err := liveDomain(ctx, a.client, name)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		domains = append(domains, d)
	}
	vms, unplanned, err := a.reconcile(ctx, domains, stood)
	if err == nil {
		failures = append(failures, unplanned...)
	}
	for _, failure := range failures {
		errorf(a.std, "%v", failure)
	}
	if err != nil {
		for _, d := range domains {
			alone(d.Name)
		}
	}
	for _, vm := range vms {
		for _, w := range vm.made.Warnings {
			warningf(a.std, "%s", w)
		}
		tellApplied(a.std, vm.domain, vm.made)
	}
	return len(failures) == 0
}

// stood gives the rules that stood before any VM's XML was read, of what is held.
func (a *applier) stood(ctx context.Context) ([]kernel.Standing, error) {
	if len(a.held) == 0 {
		return kernel.Tables(ctx)
	}
	var stood []kernel.Standing
	for _, h := range a.held {
		stood = append(stood, h.Standing)
	}
	return stood, nil
}

// reconcile plans VMs' rules and has them stand, in place of all that these VMs have of
// what stood before their XML was read. It gives what stands for the VMs, and why
// interfaces could not be planned. An error is of the transaction, or of the host, and no
// VM's own.
func (a *applier) reconcile(ctx context.Context, domains []*domain.Domain, stood []kernel.Standing) (vms []plannedVM, failures []error, err error) {
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	guard, err := guarded(ctx, a.config)
	if err != nil {
		return nil, nil, err
	}
	h, err := host.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer h.Close()
	network := plan.Remember(plan.Live{Host: h, Running: true, Guard: guard, Patience: plan.Patience, Rules: rulesOf(ctx)})
	var tables []ruleset.Table
	var whole []*domain.Domain // of the others all that stands stays
	for _, d := range domains {
		made := plan.Each(d, a.config, network)
		if err := spare(ctx, d, &made); err != nil {
			return nil, nil, err
		}
		vms = append(vms, plannedVM{d, made})
		tables = append(tables, made.Tables...)
		failures = append(failures, apart(made.Err())...)
		if len(made.Failed) == 0 {
			whole = append(whole, d)
		}
	}
	goes := ownedBefore(stood, whole...)
	what, err := a.report.look(ctx, goes, vms...)
	if err == nil {
		err = kernel.Reconcile(ctx, tables, goes)
	}
	if err != nil {
		return nil, nil, err // each is tried alone
	}
	a.report.add(what, nil)
	return vms, failures, nil
}
