package prove

// A Bit is a formula: a node of a circuit, or its negation.
type Bit int32

// The constants.
const (
	False Bit = 0
	True  Bit = 1
)

// Not gives a formula's negation.
func (b Bit) Not() Bit { return b ^ 1 }

// A Word is bits, the most significant first.
type Word []Bit

// A Circuit holds formulas over variables, each once: the same parts make the same node.
type Circuit struct {
	nodes []node
	known map[node]Bit
}

type operation byte

const (
	constant operation = iota
	variable
	conjunction
	exclusive
)

type node struct {
	operation
	a, b Bit
}

// NewCircuit gives one without variables.
func NewCircuit() *Circuit {
	return &Circuit{nodes: []node{{}}, known: map[node]Bit{}}
}

// Var gives a new variable.
func (c *Circuit) Var() Bit {
	c.nodes = append(c.nodes, node{operation: variable})
	return Bit(len(c.nodes)-1) << 1
}

// Vars gives a word of new ones.
func (c *Circuit) Vars(bits int) Word {
	out := make(Word, bits)
	for i := range out {
		out[i] = c.Var()
	}
	return out
}

func (c *Circuit) make(n node) Bit {
	if n.a > n.b {
		n.a, n.b = n.b, n.a
	}
	if b, ok := c.known[n]; ok {
		return b
	}
	c.nodes = append(c.nodes, n)
	b := Bit(len(c.nodes)-1) << 1
	c.known[n] = b
	return b
}

// And gives the conjunction of formulas, True of none.
func (c *Circuit) And(all ...Bit) Bit {
	out := True
	for _, b := range all {
		switch {
		case out == False || b == False || out == b.Not():
			return False
		case out == True:
			out = b
		case b != True && b != out:
			out = c.make(node{conjunction, out, b})
		}
	}
	return out
}

// Or gives the disjunction of formulas, False of none.
func (c *Circuit) Or(all ...Bit) Bit {
	out := True
	for _, b := range all {
		out = c.And(out, b.Not())
	}
	return out.Not()
}

// Implies gives "if a, then b".
func (c *Circuit) Implies(a, b Bit) Bit { return c.And(a, b.Not()).Not() }

// Xor gives whether two formulas differ.
func (c *Circuit) Xor(a, b Bit) Bit {
	negated := a&1 ^ b&1
	a, b = a&^1, b&^1
	switch {
	case a == b:
		return negated
	case a == False:
		return b ^ negated
	case b == False:
		return a ^ negated
	}
	return c.make(node{exclusive, a, b}) ^ negated
}

// If gives a where when holds, else b.
func (c *Circuit) If(when, a, b Bit) Bit {
	if a == b {
		return a
	}
	return c.Or(c.And(when, a), c.And(when.Not(), b))
}

// IfWord is If for words of the same size.
func (c *Circuit) IfWord(when Bit, a, b Word) Word {
	out := make(Word, len(a))
	for i := range a {
		out[i] = c.If(when, a[i], b[i])
	}
	return out
}

// Constant gives a number as a word.
func Constant(n uint64, bits int) Word {
	out := make(Word, bits)
	for i := range out {
		out[i] = Bit(n >> (bits - 1 - i) & 1)
	}
	return out
}

// Bytes gives bytes as a word.
func Bytes(all []byte) Word {
	var out Word
	for _, b := range all {
		out = append(out, Constant(uint64(b), 8)...)
	}
	return out
}

// Equal gives whether words of the same size are the same.
func (c *Circuit) Equal(a, b Word) Bit {
	out := True
	for i := range a {
		out = c.And(out, c.Xor(a[i], b[i]).Not())
	}
	return out
}

// Less gives whether a word is less than another of the same size.
func (c *Circuit) Less(a, b Word) Bit {
	less := False
	for i := len(a) - 1; i >= 0; i-- {
		less = c.If(c.Xor(a[i], b[i]), b[i], less)
	}
	return less
}

// Within gives whether from <= a <= to.
func (c *Circuit) Within(a, from, to Word) Bit {
	return c.And(c.Less(a, from).Not(), c.Less(to, a).Not())
}

// Is gives whether a word is a number.
func (c *Circuit) Is(a Word, n uint64) Bit { return c.Equal(a, Constant(n, len(a))) }

// AtLeast gives whether a word is a number or more.
func (c *Circuit) AtLeast(a Word, n int) Bit { return c.Less(a, Constant(uint64(n), len(a))).Not() }

// Among gives whether a word is one of some numbers.
func (c *Circuit) Among(a Word, all ...byte) Bit {
	out := False
	for _, n := range all {
		out = c.Or(out, c.Is(a, uint64(n)))
	}
	return out
}

// Add gives the sum of two words of the same size, without what is carried out of it.
func (c *Circuit) Add(a, b Word) Word {
	out, carry := make(Word, len(a)), False
	for i := len(a) - 1; i >= 0; i-- {
		half := c.Xor(a[i], b[i])
		out[i] = c.Xor(half, carry)
		carry = c.Or(c.And(a[i], b[i]), c.And(half, carry))
	}
	return out
}

// Lanes is how many assignments are evaluated at once.
const Lanes = 64

// Values are those of all nodes under as many assignments as there are lanes.
type Values []uint64

// Evaluate gives the values of all nodes, given those of the variables, which may depend on
// the values of nodes that were made before them.
func (c *Circuit) Evaluate(given func(variable Bit, before Values) uint64) Values {
	v := make(Values, len(c.nodes))
	for i, n := range c.nodes {
		switch n.operation {
		case variable:
			v[i] = given(Bit(i)<<1, v)
		case conjunction:
			v[i] = v.lanes(n.a) & v.lanes(n.b)
		case exclusive:
			v[i] = v.lanes(n.a) ^ v.lanes(n.b)
		}
	}
	return v
}

func (v Values) lanes(b Bit) uint64 { return v[b>>1] ^ -uint64(b&1) }

// Is gives a formula's value in a lane.
func (v Values) Is(b Bit, lane int) bool { return v.lanes(b)>>lane&1 != 0 }

// Bytes gives a word's value in a lane.
func (v Values) Bytes(w Word, lane int) []byte {
	out := make([]byte, len(w)/8)
	for i, b := range w {
		if v.Is(b, lane) {
			out[i/8] |= 0x80 >> (i % 8)
		}
	}
	return out
}
