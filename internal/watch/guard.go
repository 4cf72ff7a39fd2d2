package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
)

// lowerGuard takes the guard away when the configuration wants none any more. It
// comes before rules are programmed, which mark nothing then.
func (w *watcher) lowerGuard(ctx context.Context) error {
	if w.config.Guard {
		return nil
	}
	if w.guard != nil {
		_, err := w.guard.Remove(ctx)
		if err != nil {
			return err
		}
		_ = w.guard.Close()
		w.guard = nil
		w.Log(slog.LevelInfo, "removed the guard: guard = true is not in the configuration", journal.Fields{Reason: journal.Guard})
		return nil
	}
	removed, err := kernel.RemoveGuard(ctx)
	if removed {
		w.Log(slog.LevelInfo, "removed the guard that was left over: guard = true is not in the configuration", journal.Fields{Reason: journal.Guard})
	}
	return err
}

// raiseGuard has the guard stand that the configuration wants, and own it. It comes
// after rules are programmed: a device whose rules mark nothing would lose its
// network.
func (w *watcher) raiseGuard(ctx context.Context) error {
	if !w.config.Guard || w.guardless {
		return nil
	}
	guard := filter.Guard(w.config.GuardPrefixes)
	if w.guard != nil {
		return w.guard.Ensure(ctx, guard)
	}
	_, stands, err := kernel.LookGuard(ctx)
	if err != nil {
		return err
	}
	if !stands {
		unmarked, err := w.unmarked(ctx)
		if err != nil {
			return err
		}
		if len(unmarked) > 0 {
			w.say(slog.LevelWarn, "unmarked", fmt.Sprintf("the guard is not raised yet: it would close interfaces whose rules are older than guard = true, and for which no others could be made: %q", unmarked), journal.Fields{Reason: journal.Guard})
			return nil
		}
	}
	w.guard, err = kernel.OpenGuard(ctx, guard)
	if errors.Is(err, kernel.ErrNoGuard) {
		// Nor will it later; the rest goes on without.
		w.guardless = true
		w.Log(slog.LevelWarn, fmt.Sprintf("guard = true: %v; without it an interface that appears is open for as long as watch takes to see it", err), journal.Fields{Reason: journal.Guard})
		return nil
	}
	if err == nil {
		w.Log(slog.LevelInfo, "the guard stands: interfaces without rules are closed", journal.Fields{Reason: journal.Guard})
	}
	return err
}

// unmarked names the devices that the guard would close and that have rules that
// mark nothing.
func (w *watcher) unmarked(ctx context.Context) ([]string, error) {
	var names []string
	for _, d := range w.devices {
		if w.config.GuardsName(d.Name) {
			names = append(names, d.table())
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	held, err := kernel.Read(ctx, names...)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range w.devices {
		if slices.ContainsFunc(held, func(h kernel.Held) bool { return h.Name == d.table() && !filter.Marks(h.Table) }) {
			out = append(out, d.Name)
		}
	}
	slices.Sort(out)
	return out, nil
}
