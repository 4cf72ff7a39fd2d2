package status

import (
	"fmt"
	"strings"
	"time"
)

// A column of the table; a narrow terminal does without those of the highest rank
// first, and of 0 never.
type column struct {
	title string
	rank  int
	right bool // figures
	state bool // coloured as the state is
	cells []string
	wide  int
}

// A table lays interfaces out for a view.
type table struct {
	view    View
	status  Status
	columns []column // those that there is room for; none: blocks
	all     []column
}

// The places in table.all.
const (
	colVM = iota
	colDevice
	colParent
	colPolicy
	colState
	colFrom
	colFromBytes
	colTo
	colToBytes
	colDropped
	colDroppedRate
	colSince
)

// gap is between columns.
const gap = "  "

// enough is how much of a VM's name a narrow table shows at least.
const enough = 16

func (v View) table(interfaces []Interface, s Status) *table {
	each := ""
	if v.Rates != nil {
		each = "/s"
	}
	t := &table{view: v, status: s, all: []column{
		colVM:          {title: "VM"},
		colDevice:      {title: "DEVICE"},
		colParent:      {title: "PARENT", rank: 5},
		colPolicy:      {title: "POLICY", rank: 4},
		colState:       {title: "STATE", state: true},
		colFrom:        {title: "FROM VM" + each, right: true},
		colFromBytes:   {title: "BYTES" + each, right: true, rank: 3},
		colTo:          {title: "TO VM" + each, right: true},
		colToBytes:     {title: "BYTES" + each, right: true, rank: 3},
		colDropped:     {title: "DROPPED", right: true},
		colDroppedRate: {title: "DROPPED/s", right: true, rank: 1},
		colSince:       {title: "SINCE", rank: 2},
	}}
	for _, i := range interfaces {
		t.add(i)
	}
	for n := range t.all {
		c := &t.all[n]
		c.wide = width(c.title)
		for _, cell := range c.cells {
			c.wide = max(c.wide, width(cell))
		}
	}
	t.choose()
	return t
}

// add writes an interface's cells.
func (t *table) add(i Interface) {
	cells := make([]string, len(t.all))
	cells[colVM] = named(i)
	cells[colDevice], cells[colParent], cells[colPolicy] = clean(i.Device), or(clean(i.Parent)), or(clean(i.Policy))
	cells[colState] = i.State.word()
	cells[colFrom], cells[colFromBytes] = amounts(i.FromVM.Passed)
	cells[colTo], cells[colToBytes] = amounts(i.ToVM.Passed)
	cells[colDropped], cells[colDroppedRate] = dropsOf(i), unknown
	cells[colSince] = Since(i.Since, t.status.Time)
	if t.view.Rates != nil {
		r := t.view.Rates[i.Index]
		cells[colFrom], cells[colFromBytes] = perSecond(r.FromVM)
		cells[colTo], cells[colToBytes] = perSecond(r.ToVM)
		if r.Dropped != nil {
			cells[colDroppedRate] = short(*r.Dropped)
		}
	}
	for n := range t.all {
		t.all[n].cells = append(t.all[n].cells, cells[n])
	}
}

// named is the VM for people: the name may be unknown.
func named(i Interface) string {
	if i.Section != "" {
		return "device " + clean(i.Section)
	}
	if i.VM == "" {
		return or(clean(i.UUID))
	}
	return clean(i.VM)
}

func or(text string) string {
	if text == "" {
		return unknown
	}
	return text
}

func amounts(c *Count) (frames, size string) {
	if c == nil {
		return unknown, unknown
	}
	return short(float64(c.Packets)), bytes(float64(c.Bytes))
}

func perSecond(r *Rate) (frames, size string) {
	if r == nil {
		return unknown, unknown
	}
	return short(r.Packets), bytes(r.Bytes)
}

// dropsOf counts all reasons, both ways.
func dropsOf(i Interface) string {
	from, ok := i.FromVM.Dropped()
	to, okTo := i.ToVM.Dropped()
	if !ok || !okTo {
		return unknown
	}
	return short(float64(from + to))
}

// choose takes the columns that there is room for: all, or fewer and fewer, with long
// names cut at last. Where nothing helps it takes none.
func (t *table) choose() {
	for _, longest := range []int{0, enough} {
		for most := 5; most >= 0; most-- {
			var chosen []column
			for n, c := range t.all {
				if n == colDroppedRate && t.view.Rates == nil || c.rank > most {
					continue
				}
				if n == colVM && longest > 0 {
					c.wide = min(c.wide, longest)
				}
				chosen = append(chosen, c)
			}
			if t.view.Columns <= 0 || total(chosen) <= t.view.Columns {
				t.columns = t.widened(chosen)
				return
			}
		}
	}
}

// widened gives the names what room is left.
func (t *table) widened(chosen []column) []column {
	if t.view.Columns > 0 {
		chosen[0].wide = min(t.all[colVM].wide, chosen[0].wide+t.view.Columns-total(chosen))
	}
	return chosen
}

// total is how wide columns are together.
func total(columns []column) int {
	sum := len(gap) * (len(columns) - 1)
	for _, c := range columns {
		sum += c.wide
	}
	return sum
}

func (t *table) fits() bool { return len(t.columns) > 0 }

func (t *table) head() string {
	var cells []string
	for _, c := range t.columns {
		cells = append(cells, c.pad(c.title))
	}
	return t.view.paint(bold, strings.TrimRight(strings.Join(cells, gap), " "))
}

// pad makes a text as wide as the column.
func (c column) pad(text string) string {
	text = cut(text, c.wide)
	space := strings.Repeat(" ", c.wide-width(text))
	if c.right {
		return space + text
	}
	return closed(text) + space
}

// interfaceLines are the n-th interface's: a row, and what is to be said besides.
func (t *table) interfaceLines(n int, i Interface) []string {
	if !t.fits() {
		return t.block(n, i)
	}
	var cells []string
	for at, c := range t.columns {
		text := c.pad(c.cells[n])
		if at == len(t.columns)-1 {
			text = strings.TrimRight(text, " ")
		}
		if c.state {
			text = t.view.paint(i.State.colour(), text)
		}
		cells = append(cells, text)
	}
	out := append([]string{strings.Join(cells, gap)}, t.problem(i)...)
	if len(i.Addresses) > 0 {
		out = append(out, t.painted(faint, t.view.lines("    ", "its addresses: "+addresses(i, t.status.Time)))...)
	}
	if told := i.ToldOfRefused(); told != "" {
		out = append(out, t.painted(faint, t.view.lines("    ", told))...)
	}
	if d := dropped(i.FromVM, i.ToVM); len(d) > 0 {
		out = append(out, t.painted(faint, t.view.lines("    ", "dropped "+strings.Join(d, "; ")))...)
	}
	return out
}

// addresses lists the VM's own, each with how it is known, since when, and when it was used.
func addresses(i Interface, now time.Time) string {
	var all []string
	for _, a := range i.Addresses {
		how := together(string(a.Source))
		if a.Since != nil {
			how += " " + together("since "+Since(a.Since, now))
		}
		if a.Used != nil {
			how += ", " + "used " + together(Ago(now.Sub(*a.Used)))
		}
		all = append(all, fmt.Sprintf("%s (%s)", a.Address, how))
	}
	return strings.Join(all, ", ")
}

func (t *table) problem(i Interface) []string {
	if i.Problem == "" {
		return nil
	}
	return t.painted(i.State.colour(), t.view.lines("    ", i.Problem))
}

func (t *table) painted(colour string, lines []string) []string {
	for n := range lines {
		lines[n] = t.view.paint(colour, lines[n])
	}
	return lines
}

// block tells of an interface below one another what a table has side by side.
func (t *table) block(n int, i Interface) []string {
	cell := func(at int) string { return t.all[at].cells[n] }
	each, most := "", t.view.atMost()
	if t.view.Rates != nil {
		each = "/s"
	}
	out := []string{t.view.paint(bold, closed(cut(cell(colVM), most)))}
	state := cell(colState)
	if s := cell(colSince); s != unknown {
		state += " since " + s
	}
	out = append(out, t.painted(i.State.colour(), t.view.lines("  ", state))...)
	out = append(out, t.problem(i)...)
	where := cell(colDevice)
	if i.Parent != "" {
		where += " on " + i.Parent
	}
	if i.Policy != "" {
		where += ", policy " + i.Policy
	}
	out = append(out, t.view.lines("  ", where)...)
	if len(i.Addresses) > 0 {
		out = append(out, t.view.lines("  ", "its addresses: "+addresses(i, t.status.Time))...)
	}
	if told := i.ToldOfRefused(); told != "" {
		out = append(out, t.view.lines("  ", told)...)
	}
	out = append(out, t.view.lines("  ", "from VM: "+together(cell(colFrom)+" frames"+each)+", "+cell(colFromBytes)+each)...)
	out = append(out, t.view.lines("  ", "to VM: "+together(cell(colTo)+" frames"+each)+", "+cell(colToBytes)+each)...)
	drops := "dropped: " + cell(colDropped)
	if t.view.Rates != nil {
		drops += ", " + cell(colDroppedRate) + "/s"
	}
	out = append(out, t.view.lines("  ", drops)...)
	for _, way := range dropped(i.FromVM, i.ToVM) {
		out = append(out, t.painted(faint, t.view.lines("    ", way))...)
	}
	return out
}
