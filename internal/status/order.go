package status

import (
	"cmp"
	"slices"
	"strings"
)

// An Order is what a view of many interfaces sorts by.
type Order string

// Orders gives all there are; the first puts what is to be mended before the rest.
func Orders() []Order { return []Order{"state", "VM", "dropped", "from VM", "to VM"} }

// sorted gives the interfaces in the view's order; those that are equal in it stay in theirs.
func (v View) sorted(all []Interface) []Interface {
	if v.Lines <= 0 && v.Order == "" {
		return all
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b Interface) int {
		switch v.Order {
		case "VM":
			return strings.Compare(named(a), named(b))
		case "dropped", "from VM", "to VM":
			return cmp.Compare(v.amount(b), v.amount(a))
		}
		return urgency(a) - urgency(b)
	})
	return all
}

// amount is what the order goes by, all frames that were dropped or those that pass each second;
// what is not known is less than none.
func (v View) amount(i Interface) float64 {
	if v.Order == "dropped" {
		from, known := i.FromVM.Dropped()
		to, knownTo := i.ToVM.Dropped()
		if !known || !knownTo {
			return -1
		}
		return float64(from + to)
	}
	r := v.Rates[i.Index]
	if way := map[Order]*Rate{"from VM": r.FromVM, "to VM": r.ToVM}[v.Order]; way != nil {
		return way.Packets
	}
	return -1
}
