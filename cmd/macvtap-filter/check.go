package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/policytest"
	"macvtap-filter/internal/ruleset"
)

// check says whether the host is ready.
func check(ctx context.Context, std streams, o options, args []string) error {
	if err := wantNone(args); err != nil {
		return err
	}
	r := &report{std: std, json: o.json}
	c, err := checkConfig(ctx, r, o)
	checkKernel(ctx, r, c)
	if c != nil {
		checkGuard(ctx, r, c)
		checkDevices(ctx, r, c)
	}
	checkForeign(ctx, r)
	checkSecurity(r)
	checkHook(r)
	checkWatch(ctx, r)
	checkLibvirt(ctx, r, c, checkInterfaces(ctx, r, o))
	if err := r.end(); err != nil {
		return err
	}
	switch {
	case err != nil:
		return badInput(err)
	case r.failed:
		return errTold
	}
	return nil
}

// checkConfig gives the configuration, or the error of one that cannot be read.
func checkConfig(ctx context.Context, r *report, o options) (*config.Config, error) {
	c, err := config.Load(o.config)
	if err != nil {
		for _, line := range eachMistake(err) {
			r.fail("configuration: %s", line)
		}
		return nil, err
	}
	r.ok("configuration: %s", strings.Join(c.Files, ", "))
	for _, w := range slices.Concat(c.Warnings, c.Changes) {
		r.warn("configuration: %s", w)
	}
	broken := checkTests(ctx, r, c)
	h, err := host.Open(ctx)
	if err != nil {
		r.fail("parents: %v", err)
		return c, broken
	}
	defer h.Close()
	for _, pattern := range c.Parents {
		nics, err := h.Match(pattern)
		if err != nil {
			r.fail("parent %q: %v", pattern, err)
			continue
		}
		if len(nics) == 0 && !absentParent(r, c, h, pattern) {
			r.fail("parent %q: it matches no NIC of this host; \"ip link\" names them", pattern)
		}
		for _, nic := range nics {
			if nic.Master != "" {
				// A pattern may well mean others.
				say := map[bool]func(string, ...any){true: r.fail, false: r.warn}[len(nics) == 1]
				say("parent %q: %q is a port of %q, and no VM can be on it: if VMs are on %q, name that in parents", pattern, nic.Name, nic.Master, nic.Master)
				continue
			}
			checkParent(r, c, h, nic)
			checkTrunk(r, h, nic)
		}
	}
	return c, broken
}

// checkTests decides the configuration's own tests as the network is now.
func checkTests(ctx context.Context, r *report, c *config.Config) error {
	if len(c.Tests()) == 0 {
		return nil
	}
	known, err := parentsFacts(ctx, c)
	if err != nil {
		r.fail("tests: %v", err)
		return nil
	}
	results, err := policytest.Check(c, known)
	for _, one := range results {
		if one.Err != nil {
			r.fail("configuration: %v", one.Err)
		}
	}
	if err != nil {
		for _, line := range eachMistake(err) {
			r.fail("configuration: %s", line)
		}
		return err
	}
	r.ok("configuration: it keeps its own tests, of which there are %d", len(c.Tests()))
	return nil
}

// absentParent tells of a parent that is a name, and that no NIC has.
func absentParent(r *report, c *config.Config, h *host.Host, name string) bool {
	if !slices.Contains(c.Literals(), name) {
		return false
	}
	absent, err := h.Absent([]string{name})
	if err != nil {
		r.fail("parent %q: %v", name, err)
		return true
	}
	for _, a := range absent {
		r.fail("parent %q: %s", name, a)
	}
	return len(absent) > 0
}

// checkParent resolves every policy as the start of a VM would.
func checkParent(r *report, c *config.Config, h *host.Host, nic host.NIC) {
	known, err := h.Facts(nic.Name)
	if err != nil {
		r.fail("parent %q: %v", nic.Name, err)
		return
	}
	for _, p := range c.Policies() {
		resolved, warnings, err := policy.Resolve(p, known)
		if err != nil {
			r.fail("parent %q: VMs with this policy do not start: %v", nic.Name, err)
			continue
		}
		for _, w := range warnings {
			r.warn("parent %q: %s", nic.Name, w)
		}
		r.ok("parent %q: policy %q", nic.Name, p.Name)
		if whole := resolved.AllOf(known.Gateway); len(whole) > 0 {
			r.ok("parent %q: policy %q opens the router's own services, too, at %v: its web page, file shares, UPnP; \"router\" in allow in place of \"gateway\" closes them", nic.Name, p.Name, whole)
		}
	}
}

// checkKernel tries a table with all that ours may hold, and the check of offloads.
// The configuration is nil when there is none.
func checkKernel(ctx context.Context, r *report, c *config.Config) {
	every := policy.Policy{
		Deny:     []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fe80::/10")},
		Hosts:    []netip.Addr{netip.MustParseAddr("192.168.2.1")},
		Services: []policy.Service{policy.ServiceAt(netip.MustParseAddr("192.168.2.53"), 17, 53)},
	}
	vm := &domain.Domain{Name: "trial", Direct: []domain.Interface{{Target: "lo"}}}
	vm.Complete()
	trial, err := filter.Table(vm, vm.Direct[0], every)
	checked := trial.CheckOffload
	if trial.CheckOffload = false; err == nil {
		err = kernel.Try(ctx, []ruleset.Table{trial})
	}
	switch {
	case errors.Is(err, unix.EPERM):
		r.warn("kernel: cannot be tried without root: %v", err)
		return
	case err != nil:
		r.fail("kernel: %v", err)
		return
	}
	r.ok("kernel: nftables has netdev ingress and egress")
	trial.CheckOffload = checked
	err = kernel.Try(ctx, []ruleset.Table{trial})
	needed := c == nil || slices.ContainsFunc(c.Policies(), func(p config.Policy) bool { return !p.PassOffload })
	switch {
	case err == nil:
		r.ok("kernel: BPF programs can check checksum offload")
	case needed:
		r.fail("kernel: VMs whose policy does not have offload = \"pass\" do not start: %v", err)
	default:
		r.ok("kernel: checksum offload cannot be checked here, and is not to be: %v", err)
	}
}
