package kernel

import (
	"context"
	"slices"

	"macvtap-filter/internal/ruleset"
)

// Settle has tables stand as Replace does, and lets those alone that do already: what
// they counted is kept, and nobody waits for the kernel to free what is deleted. What
// cannot be read or understood is programmed. The caller holds the lock.
func Settle(ctx context.Context, tables []ruleset.Table, stale func(Standing) bool) error {
	var names []string
	for _, t := range tables {
		names = append(names, t.Name)
	}
	var held []Held
	if len(names) > 0 { // no names are all
		held, _ = Read(ctx, names...) // what is not read is programmed
	}
	return settle(ctx, held, tables, stale)
}

// SettleSince is Settle with what was read before, of thousands of tables perhaps, and
// without the lock. What was programmed since is programmed again.
func SettleSince(ctx context.Context, held []Held, tables []ruleset.Table, stale func(Standing) bool) error {
	standing, err := Tables(ctx)
	if err != nil {
		return err
	}
	handles := make(map[uint64]bool, len(standing)) // a table that is programmed gets another one
	for _, s := range standing {
		handles[s.Handle] = true
	}
	held = slices.DeleteFunc(slices.Clone(held), func(h Held) bool { return !handles[h.Handle] })
	return settle(ctx, held, tables, stale)
}

func settle(ctx context.Context, held []Held, tables []ruleset.Table, stale func(Standing) bool) error {
	stands := make(map[string]ruleset.Table, len(held))
	for _, h := range held {
		stands[h.Name] = h.Table
	}
	wanted := map[string]bool{}
	var wrong []ruleset.Table
	for _, t := range tables {
		wanted[t.Name] = true
		if h, ok := stands[t.Name]; !ok || !ruleset.Same(t, h) {
			wrong = append(wrong, t)
		}
	}
	return Replace(ctx, wrong, func(s Standing) bool { return !wanted[s.Name] && stale(s) })
}
