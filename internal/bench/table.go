package bench

import (
	"fmt"
	"strings"
)

// A Table shows results. Its first column is words, all others figures.
type Table struct {
	Title  string
	Header []string // the first column's is empty
	Rows   [][]string
	Note   string // what a reader has to know, "" for nothing
}

// Markdown writes the table as GitHub reads it.
func (t Table) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**\n\n", t.Title)
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(t.Header)
	rule := []string{"---"}
	for range t.Header[1:] {
		rule = append(rule, "--:")
	}
	row(rule)
	for _, r := range t.Rows {
		row(r)
	}
	if t.Note != "" {
		fmt.Fprintf(&b, "\n%s\n", t.Note)
	}
	return b.String()
}

// add adds a row, unless it has no figures: what was not measured is not shown.
func (t *Table) add(words string, cells ...string) {
	if strings.Join(cells, "") != "" {
		t.Rows = append(t.Rows, append([]string{words}, cells...))
	}
}

// Tables shows all that was measured.
func (r *Results) Tables() []Table {
	var out []Table
	for _, t := range []Table{r.starts(), r.frames(FromVM), r.frames(ToVM), r.crowds(), r.commands(), r.memory(), r.flows(FromVM), r.flows(ToVM), r.flowMemory(), r.listings(), r.guests()} {
		if len(t.Rows) > 0 {
			out = append(out, t)
		}
	}
	return out
}

// ratio writes the median of a series over another, and its quartiles: round by round.
func ratio(s, base Series) string {
	over := s.Over(base)
	if len(over) == 0 {
		return ""
	}
	digits := 2
	switch {
	case over.Median() < 0.1:
		digits = 3
	case over.Median() >= 10:
		digits = 0
	}
	return withSpread(over, 1, digits)
}

// milliseconds writes a series of nanoseconds.
func milliseconds(s Series) string { return withSpread(s, 1e6, 1) }

// withSpread writes a series' median and quartiles in units of so many.
func withSpread(s Series, unit float64, digits int) string {
	if len(s) == 0 {
		return ""
	}
	write := func(q float64) string { return fmt.Sprintf("%.*f", digits, s.Quantile(q)/unit) }
	if len(s) == 1 {
		return write(0.5)
	}
	return fmt.Sprintf("%s (%s–%s)", write(0.5), write(0.25), write(0.75))
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return grouped(n) + " " + what
}

// grouped writes a number with commas between thousands.
func grouped(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}
