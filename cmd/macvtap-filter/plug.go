package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// libvirt tells its hook of networks of a NIC that comes to a VM before the device is there, at
// the VM's start and when the NIC is plugged in, and an error of the hook keeps it from coming.
// Of a NIC without a network no hook is told.

// plug closes a NIC that is about to be plugged into a running VM, until its rules stand. That
// the NIC is one of a VM that starts, or is there already, is nothing to it: the one has the
// start's hook, and the other its rules.
func (h *hookCall) plug(ctx context.Context) error {
	port, direct, err := domain.ParsePort(h.std.in)
	if err != nil {
		return badInput(fmt.Errorf("network %q: %w", h.Domain, err))
	}
	if !direct {
		return nil
	}
	h.domain.Store(&domain.Domain{Name: port.VM, UUID: port.UUID})
	if !runs(port.VM) {
		return nil
	}
	c, err := load(ctx, configFile())
	if err != nil {
		return badInput(fmt.Errorf("VM %q: %w", port.VM, err))
	}
	comes, err := comesToParent(ctx, c, port)
	if err != nil {
		return fmt.Errorf("VM %q: %w", port.VM, err)
	}
	if !comes {
		return nil
	}
	if err := h.closePlug(ctx, c, port); err != nil {
		return err
	}
	if err := startFollower(port); err != nil {
		h.log(slog.LevelWarn, fmt.Sprintf("VM %q: nobody makes the rules of the NIC with the MAC address %s that is about to be plugged in (%v): run \"macvtap-filter apply %s\"", port.VM, port.MAC, err, port.VM), h.fields("", journal.Advice))
	}
	return nil
}

// closePlug has a NIC closed before it comes, where the kernel can.
func (h *hookCall) closePlug(ctx context.Context, c *config.Config, port domain.Port) error {
	if guardStands(ctx) {
		return nil
	}
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return fmt.Errorf("VM %q: %w", port.VM, err)
	}
	defer unlock()
	err = kernel.Plug(ctx, c.GuardPrefixes, filter.Plug{MAC: port.MAC, Owner: filter.Owner{UUID: port.UUID, Name: port.VM}, Since: time.Now()})
	switch {
	case err == nil:
		h.log(slog.LevelInfo, fmt.Sprintf("VM %q: a NIC with the MAC address %s is about to be plugged in, and closed until its rules stand", port.VM, port.MAC), h.fields("", journal.Closed))
		return nil
	case errors.Is(err, kernel.ErrNoGuard) && !c.RefusePlugs:
		h.log(slog.LevelWarn, fmt.Sprintf("VM %q: a NIC with the MAC address %s is about to be plugged in, and open until its rules stand, since this kernel closes none by its MAC address (Linux 6.17); hotplug = \"refuse\" keeps it out", port.VM, port.MAC), h.fields("", journal.Advice))
		return nil
	case errors.Is(err, kernel.ErrNoGuard):
		return fmt.Errorf("VM %q: the NIC with the MAC address %s on %q is not plugged in, since this kernel closes none until its rules stand (Linux 6.17), and hotplug = \"refuse\" is in %s; add it to the VM that is shut off, or write \"close\"", port.VM, port.MAC, port.Parent, c.File)
	}
	return fmt.Errorf("VM %q: the NIC with the MAC address %s on %q cannot be closed until its rules stand: %w", port.VM, port.MAC, port.Parent, err)
}

// runs reports whether a VM runs, by the file in which libvirt notes its process
// (libvirt's src/util/virpidfile.c), which a VM that starts has not yet.
func runs(vm string) bool {
	pid, err := os.ReadFile(pidFile(vm))
	if err != nil {
		return false
	}
	_, err = os.Stat("/proc/" + strings.TrimSpace(string(pid)))
	return err == nil
}

func pidFile(vm string) string { return "/run/libvirt/qemu/" + vm + ".pid" }

// comesToParent reports whether a NIC that is not there yet comes to a parent of the
// configuration. A NIC that stays is told of, too, as libvirt finds its networks again.
func comesToParent(ctx context.Context, c *config.Config, port domain.Port) (bool, error) {
	h, err := host.Open(ctx)
	if err != nil {
		return false, err
	}
	defer h.Close()
	nic, err := h.NIC(port.Parent)
	if err != nil {
		return false, err
	}
	if !c.GuardsParent(append(nic.Names, port.Parent)...) {
		return false, nil
	}
	all, err := h.Macvtaps()
	return !slices.ContainsFunc(all, func(m host.Macvtap) bool { return m.Parent == nic.Index && bytes.Equal(m.MAC, port.MAC) }), err
}

// guardStands reports whether the guard closes whatever comes: one of prefixes, not of names.
func guardStands(ctx context.Context) bool {
	guard, stands, err := kernel.LookGuard(ctx)
	return err == nil && stands && guard.Reaches("macvtap999999")
}

// unplug opens what was closed for VMs that are gone, or have started anew.
func unplug(ctx context.Context, which func(filter.Plug) bool) error {
	if all, err := kernel.Plugs(ctx); err != nil || !slices.ContainsFunc(all, which) {
		return err
	}
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return kernel.Unplug(ctx, which)
}

// unplugTold opens what was closed, or says what it would do, and tells of each.
func unplugTold(ctx context.Context, std streams, o options, which func(filter.Plug) bool) error {
	all, err := kernel.Plugs(ctx)
	if err != nil {
		return err
	}
	going := slices.DeleteFunc(slices.Clone(all), func(p filter.Plug) bool { return !which(p) })
	switch {
	case len(going) == 0:
		return nil
	case o.dryRun && len(going) == len(all):
		fmt.Fprintf(std.out, "delete table netdev %s\n", ruleset.PlugTable)
		return nil
	case o.dryRun:
		for _, p := range going {
			fmt.Fprintf(std.out, "# the NIC with the MAC address %s of the VM %q would not be closed any more\n", p.MAC, p.Owner.Name)
		}
		return nil
	}
	if err := unplug(ctx, which); err != nil {
		return err
	}
	for _, p := range going {
		notef(std, "the NIC with the MAC address %s, which was to be plugged into the VM %q, is no more closed until its rules stand", p.MAC, p.Owner.Name)
	}
	return nil
}

// plugTime is what a plug may take, far above what it does: longer ago, a NIC that is not there
// is not coming.
const plugTime = 10 * time.Minute

// sweepPlugs opens what was closed for NICs that do not come: their VM is gone, or libvirt could not
// plug them in.
func sweepPlugs(ctx context.Context, std streams, o options) error {
	devices, err := hostMacvtaps(ctx)
	if err != nil {
		return err
	}
	return unplugTold(ctx, std, o, func(p filter.Plug) bool {
		there := slices.ContainsFunc(devices, func(m host.Macvtap) bool { return bytes.Equal(m.MAC, p.MAC) })
		return !runs(p.Owner.Name) || !there && time.Since(p.Since) > plugTime
	})
}

// closes reports whether a NIC of that MAC address is closed since it is about to be plugged.
func closes(all []filter.Plug, mac net.HardwareAddr) bool {
	return slices.ContainsFunc(all, func(p filter.Plug) bool { return bytes.Equal(p.MAC, mac) })
}
