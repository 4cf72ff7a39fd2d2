package reach

// Diff gives what one reach has and the other has not. What is merely sent by the one, and opened
// something by the other, or answered, is no more.
func (r Reach) Diff(other Reach) Reach {
	return Reach{differ(r.Out, other.Out), differ(r.In, other.In)}
}

func differ(kinds, from []Kind) []Kind {
	type both struct{ a, b int }
	groups := map[both]int{}
	var out []Kind
	for i, k := range kinds {
		for _, p := range k.protos {
			j := indexOf(from, k, p)
			n, there := groups[both{i, j}]
			if !there {
				n = len(out)
				groups[both{i, j}] = n
				less := Kind{hook: k.hook, family: k.family, whole: k.whole, sent: k.sent}
				if j >= 0 {
					less.whole, less.sent = minus.combine(k.whole, from[j].whole), minus.combine(k.sent, from[j].bare)
				}
				out = append(out, less)
			}
			out[n].protos = append(out[n].protos, p)
		}
	}
	return out
}

// indexOf gives the kind that a protocol is of in another reach, -1 for none.
func indexOf(kinds []Kind, of Kind, proto byte) int {
	for i, k := range kinds {
		for _, p := range k.protos {
			if p == proto && k.family.bytes == of.family.bytes {
				return i
			}
		}
	}
	return -1
}

// A Report is a reach in lines, as JSON has it.
type Report struct {
	CanOpen      []Line `json:"can_open"`
	OpenedBy     []Line `json:"opened_by"`
	AlsoSends    []Line `json:"also_sends"` // what passes, and opens nothing: one way, or from some ports alone
	AlsoReceives []Line `json:"also_receives"`
}

// Report puts a reach into lines.
func (r Reach) Report() Report {
	return Report{Lines(r.Out), Lines(r.In), Others(r.Out), Others(r.In)}
}

// Empty reports whether nothing passes.
func (r Report) Empty() bool {
	return len(r.CanOpen)+len(r.OpenedBy)+len(r.AlsoSends)+len(r.AlsoReceives) == 0
}
