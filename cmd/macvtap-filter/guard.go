package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// guarded reports whether rules have to mark what they accept: the configuration
// wants a guard, or one stands though it does not.
func guarded(ctx context.Context, c *config.Config) (bool, error) {
	if c.Guard {
		return true, nil
	}
	_, standing, err := kernel.LookGuard(ctx)
	return standing, err
}

// raiseFirst puts the guard up that the configuration wants, before a VM's rules
// are programmed, and gives a warning where it does not stand afterwards. Nothing
// of that keeps a VM from its start: its rules stand all the same.
//
// It raises none while devices of other VMs are in use: theirs may be rules that
// mark nothing, or none at all, and they would lose their network. So the first
// VM's start after the host's raises it, or the administrator.
func raiseFirst(ctx context.Context, c *config.Config, d *domain.Domain) string {
	if !c.Guard {
		return ""
	}
	guard, standing, err := kernel.LookGuard(ctx)
	far := !slices.ContainsFunc(d.Direct, func(i domain.Interface) bool { return c.GuardsName(i.Target) && !guard.Reaches(i.Target) })
	if standing && (far || guard.Owner != 0) {
		return ""
	}
	var used []string
	if err == nil && !standing {
		used, err = devicesInUse(ctx, c)
		used = slices.DeleteFunc(used, func(device string) bool {
			return slices.ContainsFunc(d.Direct, func(i domain.Interface) bool { return i.Target == device })
		})
	}
	if err == nil && len(used) > 0 {
		return fmt.Sprintf("guard = true, but no guard stands, and macvtap devices are in use that one would close (%s): run \"macvtap-filter apply --all\", which makes their rules first", strings.Join(used, ", "))
	}
	if err == nil {
		err = kernel.RaiseGuard(ctx, filter.Guard(c.GuardPrefixes))
	}
	if err != nil {
		return fmt.Sprintf("guard = true, but no guard stands; the VM's own rules do: %v", err)
	}
	return ""
}

// hostMacvtaps gives the host's macvtap devices, for who wants to know nothing else of it.
func hostMacvtaps(ctx context.Context) ([]host.Macvtap, error) {
	h, err := host.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return h.Macvtaps()
}

// devicesInUse lists the macvtap devices that a guard would close and that can
// carry frames by now. libvirt brings a VM's up only after the hook.
func devicesInUse(ctx context.Context, c *config.Config) ([]string, error) {
	all, err := hostMacvtaps(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range all {
		if m.Up && c.GuardsName(m.Name) {
			names = append(names, m.Name)
		}
	}
	return names, nil
}

// raiseLast puts the guard up, or makes it anew, once the rules of all VMs stand.
// Failed says that those of some do not.
func raiseLast(ctx context.Context, std streams, o options, c *config.Config, failed bool) error {
	standing, stands, err := kernel.LookGuard(ctx)
	switch {
	case err != nil:
		return err
	case !c.Guard, standing.Owner != 0: // its owner keeps it as the configuration says
		return nil
	case failed && !stands:
		return errors.New("the guard is not raised: VMs whose rules could not be made would lose their network: mend that and run \"macvtap-filter apply --all\" again")
	}
	guard := filter.Guard(c.GuardPrefixes)
	if o.diff {
		return previewDiff(ctx, std, []ruleset.Table{guard}, []string{guard.Name})
	}
	if o.dryRun {
		if stands {
			fmt.Fprintf(std.out, "delete table netdev %s\n", guard.Name)
		}
		if guard, err = kernel.Spell(ctx, guard); err == nil {
			fmt.Fprint(std.out, guard)
		}
		return err
	}
	if err := kernel.RaiseGuard(ctx, guard); err != nil {
		return fmt.Errorf("the guard is not raised; the rules of VMs stand all the same: %w", err)
	}
	notef(std, "the guard closes devices %s* without rules", strings.Join(c.GuardPrefixes, "*, "))
	return warnClosed(ctx, std, c)
}

// warnClosed names devices in use that the guard closes, since nobody made rules
// for them.
func warnClosed(ctx context.Context, std streams, c *config.Config) error {
	used, err := devicesInUse(ctx, c)
	if err != nil {
		return err
	}
	tables, err := kernel.Tables(ctx)
	if err != nil {
		return err
	}
	for _, device := range used {
		if !slices.ContainsFunc(tables, func(s kernel.Standing) bool { return s.Name == ruleset.TableName(device) }) {
			warningf(std, "device %q has no rules, and the guard closes it", device)
		}
	}
	return nil
}

// lowerGuard removes a guard that nobody wants any more. Rules that mark go on as
// ever without it.
func lowerGuard(ctx context.Context, std streams, o options, why string) error {
	_, standing, err := kernel.LookGuard(ctx)
	if err != nil || !standing {
		return err
	}
	if o.diff {
		return previewDiff(ctx, std, nil, []string{ruleset.GuardTable})
	}
	if o.dryRun {
		fmt.Fprintf(std.out, "delete table netdev %s\n", ruleset.GuardTable)
		return nil
	}
	if _, err := kernel.RemoveGuard(ctx); err != nil {
		return fmt.Errorf("the guard: %w", err)
	}
	notef(std, "removed the guard: %s", why)
	return nil
}

// checkGuard tries the guard that the configuration wants, or would get.
func checkGuard(ctx context.Context, r *report, c *config.Config) {
	err := kernel.TryGuard(ctx, filter.Guard(c.GuardPrefixes))
	guard, standing, lookErr := kernel.LookGuard(ctx)
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(lookErr, unix.EPERM):
		r.warn("guard: cannot be tried without root: %v", errors.Join(err, lookErr))
	case lookErr != nil:
		r.fail("guard: %v", lookErr)
	case c.Guard && err != nil:
		r.fail("guard: %v: devices are open until their rules stand; guard = false says that you know", err)
	case c.Guard && !standing:
		r.warn("guard: none stands yet: the start of the first VM raises it; where VMs run already, run \"macvtap-filter apply --all\"")
	case c.Guard:
		checkReach(ctx, r, c, guard)
	case standing:
		r.warn("guard: one stands, but guard = true is not in %s: run \"macvtap-filter apply --all\", which removes it", c.FileOf("guard"))
	case err != nil:
		r.ok("guard: not wanted, and this kernel cannot have one")
	default:
		r.ok("guard: not wanted; this kernel can have one (guard = true)")
	}
}

// checkReach tells which devices a guard that stands closes while they have no rules.
func checkReach(ctx context.Context, r *report, c *config.Config, guard kernel.Standing) {
	if !guard.Spelled() {
		r.ok("guard: stands")
		return
	}
	all, err := hostMacvtaps(ctx)
	if err != nil {
		r.fail("guard: %v", err)
		return
	}
	for _, m := range all {
		if c.GuardsName(m.Name) && !guard.Reaches(m.Name) {
			r.warn("guard: stands, and %q passes it, which came later with a name that it does not cover: \"macvtap-filter apply --all\" raises it anew", m.Name)
		}
	}
	say := r.warn
	if slices.Equal(c.GuardPrefixes, []string{"macvtap"}) {
		say = r.ok // libvirt's own names
	}
	say("guard: stands; the nft here knows no prefixes of device names, so it closes those that are %s and a number, and of others, such as Incus makes, those that there were when it was raised", strings.Join(c.GuardPrefixes, ", "))
}
