package prove

// A CNF is a conjunction of clauses in DIMACS's numbers: what a circuit's nodes are, as far as
// some formulas need them (G. S. Tseitin, 1968). A clause needs no zero at its end.
type CNF struct {
	Clauses [][]int
	Vars    int

	of map[Bit]int // the numbers of the circuit's nodes
}

// CNF gives the clauses that say that all of some formulas hold.
func (c *Circuit) CNF(all ...Bit) *CNF {
	out := &CNF{of: map[Bit]int{}}
	for _, b := range all {
		switch b {
		case True:
		case False:
			out.Vars = max(out.Vars, 1)
			out.Clauses = append(out.Clauses, []int{1}, []int{-1})
		default:
			out.Clauses = append(out.Clauses, []int{out.number(c, b)})
		}
	}
	return out
}

// number gives a formula's literal, after it has written what the formula is.
func (f *CNF) number(c *Circuit, b Bit) int {
	n, known := f.of[b&^1]
	if !known {
		n = f.write(c, c.nodes[b>>1])
		f.of[b&^1] = n
	}
	if b&1 != 0 {
		return -n
	}
	return n
}

func (f *CNF) write(c *Circuit, n node) int {
	var x, y int
	if n.operation != variable {
		x, y = f.number(c, n.a), f.number(c, n.b)
	}
	f.Vars++
	z := f.Vars
	switch n.operation {
	case conjunction:
		f.Clauses = append(f.Clauses, []int{-z, x}, []int{-z, y}, []int{z, -x, -y})
	case exclusive:
		f.Clauses = append(f.Clauses, []int{-z, x, y}, []int{-z, -x, -y}, []int{z, -x, y}, []int{z, x, -y})
	}
	return z
}

// Model gives the values of all nodes under a model of the clauses, by its numbers from 1, in the first lane.
func (c *Circuit) Model(f *CNF, model []bool) Values {
	return c.Evaluate(func(b Bit, _ Values) uint64 {
		if n, ok := f.of[b]; ok && model[n-1] {
			return 1
		}
		return 0
	})
}
