package status

import (
	"fmt"
	"strings"
)

// A View is how a person sees a status.
type View struct {
	// Columns and Lines are what the terminal has room for; 0 for no bound.
	Columns, Lines int
	// Colour the states, by ECMA-48's sequences.
	Colour bool
	// Rates, where not nil, are shown in place of the numbers of what passed.
	Rates map[int]Rates
	// Title is a line above all, and Help one below it; "" for none.
	Title, Help string
	// Order is what interfaces are sorted by, "" for the first of Orders where Lines are
	// bounded; First leaves out so many of them.
	Order Order
	First int
	// Notes are shown below.
	Notes bool
}

// Text shows a status: as a table, or where the terminal is too narrow for one, block
// by block. Where it has too few lines, what is wrong comes first.
func (v View) Text(s Status) string {
	var head, foot []string
	if v.Title != "" {
		head = append(head, cut(v.Title, v.atMost()), cut(v.Help, v.atMost()))
	}
	foot = v.foot(s)
	interfaces := v.sorted(s.Interfaces)
	t := v.table(interfaces, s)
	if t.fits() && len(interfaces) > 0 {
		head = append(head, t.head())
	}
	lines := head
	room := v.Lines - len(head) - len(foot) - 1
	for n, i := range interfaces {
		if n < v.First {
			continue
		}
		block := t.interfaceLines(n, i)
		if v.Lines > 0 && len(block) > room && n < len(interfaces) {
			lines = append(lines, cut(fmt.Sprintf("… and %d more", len(interfaces)-n), v.atMost()))
			break
		}
		room -= len(block)
		lines = append(lines, block...)
	}
	lines = append(lines, foot...)
	return strings.Join(lines, "\n") + "\n"
}

// atMost is the width that no line may exceed.
func (v View) atMost() int {
	if v.Columns <= 0 {
		return 1 << 30
	}
	return v.Columns
}

// urgency puts first what is to be mended.
func urgency(i Interface) int {
	switch i.State {
	case Protected:
		return 1
	case Unfiltered:
		return 2
	}
	return 0
}

// foot sums up.
func (v View) foot(s Status) []string {
	var parts []string
	for _, state := range append(States(), "") {
		n := 0
		for _, i := range s.Interfaces {
			if i.State == state {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, together(fmt.Sprintf("%d %s", n, state.word())))
		}
	}
	text := plural(len(s.Interfaces), "macvtap interface")
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	lines := v.lines("", text)
	if len(s.Interfaces) > 0 {
		lines = append([]string{""}, lines...)
	}
	if g := s.Guard; g != nil {
		if d := dropped(Flow{Drops: g.FromVM}, Flow{Drops: g.ToVM}); len(d) > 0 {
			lines = append(lines, v.lines("", "the guard dropped, of devices without rules, "+strings.Join(d, "; "))...)
		}
	}
	if v.Notes {
		for _, note := range s.Notes {
			text := v.lines("", "note: "+note)
			if v.Lines > 0 && len(text) > noteLines {
				text = text[:noteLines] // what the interfaces are is more
			}
			lines = append(lines, text...)
		}
	}
	return lines
}

// noteLines bounds a note where lines are few.
const noteLines = 2

// word is the state for people.
func (s State) word() string {
	if s == "" {
		return "unknown"
	}
	return string(s)
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// lines writes a text of any length, each line behind an indentation.
func (v View) lines(indent, text string) []string {
	var out []string
	columns := 0
	if v.Columns > 0 {
		columns = max(v.Columns-len(indent), 1)
	}
	for _, line := range wrap(clean(text), columns) {
		out = append(out, indent+line)
	}
	return out
}

// dropped writes which reasons dropped how many frames, for each way that any did.
func dropped(from, to Flow) []string {
	var ways []string
	for _, way := range []struct {
		name string
		flow Flow
	}{{"from the VM", from}, {"to the VM", to}} {
		var reasons []string
		for _, d := range way.flow.Drops {
			if d.Packets > 0 {
				reasons = append(reasons, together(d.Reason+" "+short(float64(d.Packets))))
			}
		}
		if len(reasons) > 0 {
			ways = append(ways, way.name+": "+strings.Join(reasons, ", "))
		}
	}
	return ways
}

// The sequences of ECMA-48, 8.3.117, that choose how signs look.
const (
	plain  = "\x1b[0m"
	bold   = "\x1b[1m"
	faint  = "\x1b[2m"
	red    = "\x1b[1;31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

// paint colours a text.
func (v View) paint(colour, text string) string {
	if !v.Colour || colour == "" {
		return text
	}
	return colour + text + plain
}

func (s State) colour() string {
	switch s {
	case Protected:
		return green
	case Drifted, Unprotected:
		return red
	case Unfiltered:
		return faint
	}
	return yellow
}
