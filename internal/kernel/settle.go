package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"

	"macvtap-filter/internal/ruleset"
)

// Settle has tables stand as Replace does, and lets those alone that do already: what
// they counted is kept, and nobody waits for the kernel to free what is deleted. Rules in
// the place of others begin with what these learned (see inherit). What cannot be read or
// understood is programmed; so is all where somebody changes tables all the time, for a
// hook has to be done soon. The caller holds the lock.
func Settle(ctx context.Context, tables []ruleset.Table, stale func(Standing) bool) error {
	var names []string
	for _, t := range tables {
		names = append(names, t.Name)
	}
	var held []Held
	if len(names) > 0 { // no names are all
		held, _ = glance(ctx, names) // what is not read is programmed
	}
	return SettleSince(ctx, held, tables, stale)
}

// SettleSince is Settle with what was read before, of thousands of tables perhaps, and
// without the lock. What was programmed since is programmed again, and so is what is
// another device's by now, if the rules name its index (filter.Bind): nothing else tells.
// What somebody else changed since in a table that was right is not seen.
func SettleSince(ctx context.Context, held []Held, tables []ruleset.Table, stale func(Standing) bool) error {
	right := rightOnes(tables, held)
	wanted := map[string]bool{}
	for _, t := range tables {
		wanted[t.Name] = true
	}
	var checked error
	removed, err := change(ctx, func(conn *netlink.Conn, standing []Standing) ([]netlink.Message, error) {
		wrong := inherit(conn, without(tables, right, standing), standing)
		programmed, err := compileAll(wrong, inPlace)
		if err != nil {
			return nil, err
		}
		if checked = attachOffload(wrong); checked != nil {
			checked = fmt.Errorf("%w (the rules are in place)", checked)
		}
		return programmed, nil
	}, func(s Standing) bool { return !wanted[s.Name] && stale(s) })
	if err != nil {
		return errors.Join(err, checked)
	}
	errs := []error{checked, Uncheck(removed)}
	for _, t := range tables {
		if !t.CheckOffload {
			errs = append(errs, detachOffload(t.Name))
		}
	}
	return errors.Join(errs...)
}

// rightOnes gives the handles of the tables that were held as they should be, by name.
func rightOnes(tables []ruleset.Table, held []Held) map[string]uint64 {
	stands := make(map[string]Held, len(held))
	for _, h := range held {
		stands[h.Name] = h
	}
	right := map[string]uint64{}
	for _, t := range tables {
		// Another process's table goes with it: that it cannot be replaced is an error.
		if h, ok := stands[t.Name]; ok && h.Owner == 0 && ruleset.Stands(t, h.Table) {
			right[t.Name] = h.Handle
		}
	}
	return right
}

// without gives the tables but those that were right and stand still. One that was
// programmed since has another handle.
func without(tables []ruleset.Table, right map[string]uint64, standing []Standing) []ruleset.Table {
	still := map[string]bool{}
	for _, s := range standing {
		if handle, ok := right[s.Name]; ok && handle == s.Handle {
			still[s.Name] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(tables), func(t ruleset.Table) bool { return still[t.Name] })
}
