package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// preview prints what programming rules would do, and removing those that go: the rules as
// they would stand, as nft text, and a line for each interface whose rules would go; or a
// diff from what stands, which is nothing where all stays as it is.
func preview(ctx context.Context, std streams, o options, tables []ruleset.Table, goes func(kernel.Standing) bool) error {
	standing, err := kernel.Tables(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range standing {
		stays := slices.ContainsFunc(tables, func(t ruleset.Table) bool { return t.Name == s.Name })
		if !stays && !goes(s) {
			continue
		}
		names = append(names, s.Name)
		if !o.diff && !stays {
			fmt.Fprintf(std.out, "# the rules of %s would go\n", whoseRules(s))
		}
	}
	if o.diff {
		return previewDiff(ctx, std, tables, names)
	}
	fmt.Fprint(std.out, ruleset.Text(tables))
	return nil
}

// whoseRules says of which device rules are, and of whom that is.
func whoseRules(s kernel.Standing) string {
	owner := filter.ParseOwner(s.Comment)
	if owner.IsDevice() {
		return owner.String()
	}
	return fmt.Sprintf("the device %q of the VM %q", ruleset.Shown(s.Name), owner.Name)
}

// previewDiff prints what programming rules would change in those of these names that
// stand.
func previewDiff(ctx context.Context, std streams, tables []ruleset.Table, standing []string) error {
	var held []kernel.Held
	if len(standing) > 0 { // no names are all
		var err error
		if held, err = kernel.Read(ctx, standing...); err != nil {
			return err
		}
	}
	for _, t := range tables {
		if i := slices.IndexFunc(held, func(h kernel.Held) bool { return h.Name == t.Name }); i >= 0 {
			fmt.Fprint(std.out, ruleset.Diff(inKernel(t.Name), held[i].Table, wouldBe(t.Name), t))
			held = slices.Delete(held, i, i+1)
		} else {
			fmt.Fprint(std.out, unified("/dev/null", "", wouldBe(t.Name), ruleset.Text([]ruleset.Table{t})))
		}
	}
	if len(held) == 0 {
		return nil
	}
	used, err := stillUsed(ctx, standing)
	if err != nil {
		return err
	}
	for _, h := range held {
		if used[h.Table.Policy] {
			h.Table = h.Table.Alone()
		}
		fmt.Fprint(std.out, unified(inKernel(h.Name), ruleset.Text([]ruleset.Table{h.Table}), "/dev/null", ""))
	}
	return nil
}

// stillUsed gives the names of the policies' rules that interfaces have whose own stay.
func stillUsed(ctx context.Context, going []string) (map[string]bool, error) {
	all, err := kernel.Read(ctx)
	used := map[string]bool{}
	for _, h := range all {
		if !slices.Contains(going, h.Name) {
			used[h.Table.Policy] = true
		}
	}
	return used, err
}

func inKernel(rules string) string { return ruleset.Shown(rules) + " in the kernel" }
func wouldBe(rules string) string  { return ruleset.Shown(rules) + " as it would be" }

// unified gives a unified diff of two texts, "" for the same.
func unified(oldName, old, newName, text string) string {
	d := diff.Diff(oldName, []byte(old), newName, []byte(text))
	_, unified, _ := strings.Cut(string(d), "\n") // less the line "diff a b"
	return unified
}
