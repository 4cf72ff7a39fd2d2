package watch

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// together is how many devices' tables are programmed in one transaction: few enough
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
	all := true
	for some := range slices.Chunk(open, together) {
		if err := w.program(ctx, some); err != nil {
			all = false
			w.say(slog.LevelError, "program", err.Error(), nil)
		}
	}
	if all {
		w.say(slog.LevelInfo, "program", "", nil)
	}
	return all
}

// program brings devices' tables into the kernel. One that the kernel refuses does
// not keep the others from theirs.
func (w *watcher) program(ctx context.Context, devices []*device) error {
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if devices, err = w.still(ctx, devices); err != nil || len(devices) == 0 {
		return err
	}
	var tables []ruleset.Table
	for _, d := range devices {
		tables = append(tables, *d.want)
	}
	none := func(kernel.Standing) bool { return false }
	err = kernel.Replace(ctx, tables, none)
	if err != nil && len(devices) > 1 {
		unlock()
		for _, d := range devices {
			if err := w.program(ctx, []*device{d}); err != nil {
				w.say(slog.LevelError, d.Name, err.Error(), d.fields())
			}
		}
		return err
	}
	if err != nil {
		devices[0].problem = err.Error()
		devices[0].enter(Mending)
		return err
	}
	w.programmed += len(devices)
	w.report(devices)
	for _, d := range devices {
		d.state = "" // it begins anew
		d.settle()
	}
	return nil
}

// still gives those of the devices that are still what they were when their tables
// were planned, and that still need them. With the lock held nobody else of this
// program changes that any more.
func (w *watcher) still(ctx context.Context, devices []*device) ([]*device, error) {
	var out []*device
	var names []string
	for _, d := range devices {
		m, ok, err := w.host.Macvtap(d.Index)
		if err != nil {
			return nil, err
		}
		if ok && m.Name == d.Name && m.Parent == d.Parent && bytes.Equal(m.MAC, d.MAC) {
			out = append(out, d)
			names = append(names, d.table())
		} else {
			w.look.index(d.Index)
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
		if i < 0 {
			return false
		}
		if d.uuid == "" && actual[i].Comment != d.want.Comment && filter.Bound(actual[i].Table, d.Index) {
			d.leave(Left) // its hook was quicker
			return true
		}
		if !ruleset.Same(*d.want, actual[i].Table) {
			return false
		}
		d.settle()
		d.culprit = ""
		return true
	}), nil
}

// report logs that devices' rules were programmed, and why.
func (w *watcher) report(devices []*device) {
	back := map[string][]string{}
	for _, d := range devices {
		switch {
		case d.culprit != "":
			back[d.culprit] = append(back[d.culprit], fmt.Sprintf("%q", d.Name))
		case d.open:
			w.Log(slog.LevelInfo, fmt.Sprintf("interface %q is let through the guard: its NIC is none of the parents", d.Name), d.fields())
		case d.uuid == "":
			w.Log(slog.LevelInfo, fmt.Sprintf("interface %q is protected by the default policy until libvirt says whose it is", d.Name), d.fields())
		default:
			w.Log(slog.LevelInfo, fmt.Sprintf("VM %q: interface %q is protected", filter.ParseOwner(d.want.Comment).Name, d.Name), d.fields())
		}
		d.culprit = ""
	}
	for culprit, names := range back {
		w.reportBack(culprit, names)
	}
}

// quiet is the least time between two messages of rules that are back: somebody may
// flush them a hundred times a second.
const quiet = time.Second

func (w *watcher) reportBack(culprit string, names []string) {
	if time.Since(w.told) < quiet {
		w.untold += len(names)
		return
	}
	message := fmt.Sprintf("rules were removed or changed by %s, and are back: interface %s", culprit, strings.Join(names, ", "))
	if w.untold > 0 {
		message += fmt.Sprintf("; before, %d times more", w.untold)
	}
	w.told, w.untold = time.Now(), 0
	w.Log(slog.LevelWarn, message, nil)
}

func (w *watcher) named(name string) bool {
	for _, d := range w.devices {
		if d.Name == name {
			return true
		}
	}
	return false
}

// sweep removes the tables whose devices are gone, or are not to be protected any
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
			w.Log(slog.LevelInfo, fmt.Sprintf("removed the table %s of the VM %q: its device is gone, or on no configured parent", s.Name, owner.Name), journal.Fields{"VM": owner.Name, "UUID": owner.UUID})
		}
	}
	if err != nil {
		w.say(slog.LevelError, "sweep", err.Error(), nil)
		w.again.tables = true
		return false
	}
	w.say(slog.LevelInfo, "sweep", "", nil)
	return true
}
