package watch

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// together is how many devices' rules are programmed in one transaction: few enough
// that the first of a thousand need not wait for the last.
const together = 16

// mend programs what should stand and does not. It reports whether all could be.
func (w *watcher) mend(ctx context.Context) bool {
	var open []*device
	for _, d := range w.devices {
		if d.want != nil {
			open = append(open, d)
		}
	}
	slices.SortFunc(open, func(a, b *device) int { return a.Index - b.Index })
	w.busy = w.busy || len(open) > 0
	all := true
	var failure error
	for some := range slices.Chunk(open, together) {
		done, err := w.program(ctx, some)
		all = all && done
		failure = cmp.Or(failure, err)
	}
	return w.mind("program", failure) && all
}

// program brings devices' rules into the kernel. One that the kernel refuses does
// not keep the others from theirs. It reports whether all were taken; an error is
// not about any of them.
func (w *watcher) program(ctx context.Context, devices []*device) (all bool, err error) {
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	if devices, err = w.still(ctx, devices); err != nil || len(devices) == 0 {
		return err == nil, err
	}
	var tables []ruleset.Table
	for _, d := range devices {
		t := *d.want
		if d.gone {
			t = w.remembering(t, d.Index)
		}
		tables = append(tables, t)
	}
	none := func(kernel.Standing) bool { return false }
	err = kernel.Replace(ctx, tables, none)
	if err != nil && len(devices) > 1 {
		unlock()
		all = true
		for _, d := range devices {
			done, err := w.program(ctx, []*device{d})
			if err != nil {
				return false, err
			}
			all = all && done
		}
		return all, nil
	}
	if err != nil {
		if same, lookErr := w.unchanged(devices[0]); lookErr == nil && !same {
			return true, nil // it went meanwhile
		}
		w.refused(devices[0], err)
		return false, nil
	}
	w.compare(devices)
	w.report(devices)
	for _, d := range devices {
		w.well(d.table())
		d.state = "" // it begins anew
		d.leaveAsMade()
	}
	return true, nil
}

// refused notes that the kernel does not take a device's rules.
func (w *watcher) refused(d *device, err error) {
	d.problem = err.Error()
	d.enter(Mending)
	d.culprit = "" // that it is protected will be news by itself
	w.say(slog.LevelError, d.table(), fmt.Sprintf("%s: %v; this is tried again and again, and what stands meanwhile stays: \"macvtap-filter verify\" shows it", d, err), d.fields(journal.Failed))
}

// still gives those of the devices that are still what they were when their rules
// were planned, and that still need them. With the lock held nobody else of this
// program changes that any more.
func (w *watcher) still(ctx context.Context, devices []*device) ([]*device, error) {
	var out []*device
	var names []string
	for _, d := range devices {
		same, err := w.unchanged(d)
		if err != nil {
			return nil, err
		}
		if same {
			out = append(out, d)
			names = append(names, d.table())
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	actual, err := kernel.Read(ctx, names...)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(out, func(d *device) bool {
		i := slices.IndexFunc(actual, func(h kernel.Held) bool { return h.Name == d.table() })
		d.before = nil
		if d.gone = i < 0; d.gone {
			return false
		}
		if d.uuid == "" && ofVM(actual[i].Comment) && filter.Bound(actual[i].Table, d.Index) {
			d.leave(Left) // its hook was quicker
			return true
		}
		if !ruleset.Stands(*d.want, actual[i].Table) {
			d.before = &actual[i].Table
			return false
		}
		d.leaveAsMade()
		d.culprit = ""
		return true
	}), nil
}

// unchanged reports whether a device is still what it was when it was looked at. One
// that is not is looked at again: the kernel tells of that a moment later.
func (w *watcher) unchanged(d *device) (bool, error) {
	m, ok, err := w.host.Macvtap(d.Index)
	if err != nil {
		return false, err
	}
	same := ok && m.Name == d.Name && m.Parent == d.Parent
	if !same {
		w.look.index(d.Index)
	}
	return same, nil
}

// report logs that devices' rules were programmed, and why.
func (w *watcher) report(devices []*device) {
	for _, d := range devices {
		switch {
		case d.culprit != "":
			w.reportBack(d)
		case d.failed:
			// That it is closed was said.
		case d.open:
			w.Log(slog.LevelInfo, fmt.Sprintf("%s is let through the guard: its NIC is none of the parents", d), d.fields(journal.Open))
		case d.uuid == "" && d.section == "":
			w.Log(slog.LevelInfo, fmt.Sprintf("%s is protected by the default policy until libvirt says whose it is", d), d.fields(journal.Protected))
		default:
			w.Log(slog.LevelInfo, fmt.Sprintf("%s is protected", d), d.fields(journal.Protected))
		}
		d.culprit = ""
	}
}

// quiet is the least time between two messages that a device's rules are back:
// somebody may flush them a hundred times a second.
const quiet = 10 * time.Second

func (w *watcher) reportBack(d *device) {
	if time.Since(d.told) < quiet {
		d.untold++
		return
	}
	message := fmt.Sprintf("%s: rules were removed or changed by %s, and are back", d, d.culprit)
	if d.untold > 0 {
		message += fmt.Sprintf("; before, %d times more", d.untold)
	}
	d.told, d.untold = time.Now(), 0
	w.Log(slog.LevelWarn, message, d.fields(journal.Restored))
}

func (w *watcher) named(name string) bool {
	for _, d := range w.devices {
		if d.Name == name {
			return true
		}
	}
	return false
}

// sweep removes the rules whose devices are gone, or are not to be protected any
// more. It reports whether it could.
func (w *watcher) sweep(ctx context.Context, standing map[string]kernel.Standing) bool {
	kept := map[string]bool{}
	for _, d := range w.devices {
		if d.keep {
			kept[d.table()] = true
		}
	}
	stale := func(s kernel.Standing) bool {
		device, ours := ruleset.TableDevice(s.Name)
		if !ours || kept[s.Name] || filter.ParseOwner(s.Comment).UUID == "" {
			return false
		}
		// A device that nobody told of yet is on its way to its own rules.
		return w.named(device) || !w.host.Exists(device)
	}
	any := false
	for _, s := range standing {
		any = any || stale(s)
	}
	if !any {
		return true
	}
	unlock, err := kernel.Lock(ctx)
	if err == nil {
		defer unlock()
		var removed []kernel.Standing
		removed, err = kernel.Remove(ctx, stale)
		for _, s := range removed {
			owner := filter.ParseOwner(s.Comment)
			device, _ := ruleset.TableDevice(s.Name)
			f := journal.Fields{VM: owner.Name, UUID: owner.UUID, Device: device, Reason: journal.Removed}
			whose := fmt.Sprintf("the device %q of the VM %q", device, owner.Name)
			if owner.IsDevice() {
				f.VM, f.UUID, whose = "", "", owner.String()
			}
			w.Log(slog.LevelInfo, fmt.Sprintf("removed the rules of %s: the device is gone, or on no configured parent", whose), f)
		}
	}
	if !w.mind("sweep", err) {
		w.again.tables = true
		return false
	}
	return true
}
