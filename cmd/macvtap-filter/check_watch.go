package main

import (
	"context"
	"errors"
	"io/fs"

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
		r.warn("watch: does not run: an interface plugged into a running VM stays %s, and rules that somebody flushes stay away: systemctl enable --now macvtap-filter-watch", plugged)
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
