package main

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/watch"
)

// checkWatch asks the watch of this host, and says what is lost without one.
func checkWatch(ctx context.Context, r *report) {
	told, err := watch.Ask(ctx)
	switch {
	case errors.Is(err, watch.ErrNotRunning):
		plugged := "open"
		if _, stands, err := kernel.LookGuard(ctx); err == nil && stands {
			plugged = "closed"
		}
		r.warn("watch: does not run: an interface without a network that is plugged into a running VM stays %s, and rules that somebody flushes stay away: systemctl enable --now macvtap-filter-watch", plugged)
	case errors.Is(err, fs.ErrPermission):
		r.warn("watch: cannot be asked without root: %v", err)
	case err != nil:
		r.fail("watch: %v: systemctl restart macvtap-filter-watch", err)
	default:
		checkTold(r, told)
	}
}

// checkTold passes on what a watch says is wrong.
func checkTold(r *report, told watch.Report) {
	r.ok("watch: process %d watches %s", told.PID, count(len(told.Devices), "interface"))
	if told.Config != "" {
		r.fail("watch: %s", told.Config)
	}
	if told.Libvirt != "" {
		r.warn("watch: %s", told.Libvirt)
	}
}

// checkHotPlug names the VMs of whose NICs nobody is told when they are plugged in, while there is
// neither a watch nor a guard.
func checkHotPlug(ctx context.Context, r *report, vms []*domain.Domain) {
	if _, err := watch.Ask(ctx); !errors.Is(err, watch.ErrNotRunning) {
		return
	}
	if _, stands, err := kernel.LookGuard(ctx); err != nil || stands {
		return
	}
	var names []string
	for _, d := range vms {
		if len(d.Direct) > 0 {
			names = append(names, strconv.Quote(d.Name))
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		r.warn("hot-plug: libvirt tells no hook of an interface without a network that is plugged into a running VM: it is open until \"macvtap-filter apply\" makes its rules; VMs with direct interfaces: %s", strings.Join(names, ", "))
	}
}
