package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/bench"
)

// printTables prints what was measured: for a person if standard output is a terminal,
// else as Markdown. Colours only add to the words: NO_COLOR switches them off.
func printTables(r *bench.Results, out *os.File) {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	if err != nil {
		fmt.Fprint(out, r.Markdown())
		return
	}
	text.EnableColors()
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		text.DisableColors()
	}
	for _, t := range r.Tables() {
		fmt.Fprintf(out, "\n%s\n%s\n", text.Bold.Sprint(t.Title), rendered(t))
		if t.Note != "" {
			fmt.Fprintln(out, text.WrapSoft(t.Note, 100))
		}
	}
}

// rendered draws a table with lines.
func rendered(t bench.Table) string {
	w := table.NewWriter()
	style := table.StyleRounded
	style.Format.Header = text.FormatDefault
	w.SetStyle(style)
	w.AppendHeader(cells(t.Header, func(s string) string { return strings.ReplaceAll(s, ", ", ",\n") }))
	var columns []table.ColumnConfig
	for i := 2; i <= len(t.Header); i++ {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight, WidthMaxEnforcer: text.WrapSoft, WidthMax: 24})
	}
	w.SetColumnConfigs(columns)
	for _, r := range t.Rows {
		w.AppendRow(cells(r, func(s string) string { return s }))
	}
	return w.Render()
}

func cells(row []string, change func(string) string) table.Row {
	var out table.Row
	for _, s := range row {
		out = append(out, change(s))
	}
	return out
}
