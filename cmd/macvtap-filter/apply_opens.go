package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"macvtap-filter/internal/change"
	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// opened says what a VM's rules would open and close, compared with those that stand: in what is
// printed as JSON, or else in lines, before how the text of the rules differs.
func (a *applier) opened(ctx context.Context, vm plannedVM, what []appliedInterface) error {
	var names []string
	for _, t := range vm.made.Tables {
		names = append(names, t.Name)
	}
	if len(names) == 0 {
		return nil // no names are all
	}
	held, err := kernel.Read(ctx, names...)
	if err != nil {
		return err
	}
	h, err := host.Open(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, t := range vm.made.Tables {
		device, _ := ruleset.TableDevice(t.Name)
		n := slices.IndexFunc(held, func(h kernel.Held) bool { return h.Name == t.Name })
		if n < 0 || ruleset.Diff("", held[n].Table, "", t) == "" {
			continue // none stand, or the same
		}
		known, err := h.Facts(parentOf(vm.domain, device))
		if err != nil {
			return err
		}
		c, err := change.Of(held[n].Table, t, known)
		if err != nil {
			warningf(a.std, "%s: what the change opens and closes is not known: %v", interfaceOf(vm.domain, device), err)
			continue
		}
		if a.options.json {
			n := slices.IndexFunc(what, func(one appliedInterface) bool { return one.Device == device })
			what[n].Opens, what[n].Closes = &c.Opens, &c.Closes
			continue
		}
		vm.printChange(a.std, device, c)
	}
	return nil
}

// printChange prints what a change opens and closes for an interface.
func (vm plannedVM) printChange(std streams, device string, c change.Change) {
	reachReport{VM: vm.domain.Name, Interface: device, Policy: vm.made.Policies[device], Opens: &c.Opens, Closes: &c.Closes}.print(std.out)
	fmt.Fprintln(std.out)
}

func parentOf(d *domain.Domain, device string) string {
	i := slices.IndexFunc(d.Direct, func(i domain.Interface) bool { return i.Target == device })
	return d.Direct[i].Parent
}

// renderOpens says what rendered rules open and close, compared with those of a golden file. No
// text says that exactly, nor nft's JSON: rules are those of the golden file where the
// configuration that it was written with has that very text.
func renderOpens(ctx context.Context, std streams, o options, c *config.Config, network plan.Network, s source, now rendered, golden string) error {
	if c == nil {
		return nil
	}
	old, err := renderFile(ctx, streams{std.in, std.out, io.Discard}, o, c, network, s.file)
	if err != nil || old.text != golden {
		warningf(std, "%s: what the change opens and closes is not known: %s does not give the rules in it", s.golden, o.old)
		return nil
	}
	for _, t := range now.made.Tables {
		device, _ := ruleset.TableDevice(t.Name)
		n := slices.IndexFunc(old.made.Tables, func(o ruleset.Table) bool { return o.Name == t.Name })
		if n < 0 {
			continue
		}
		known, err := network.Facts(parentOf(now.domain, device))
		if err != nil {
			return err
		}
		c, err := change.Of(old.made.Tables[n], t, known)
		if err != nil {
			return fmt.Errorf("%s: %w", s.file, err)
		}
		plannedVM{now.domain, now.made}.printChange(std, device, c)
	}
	return nil
}
