package main

import (
	"fmt"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"
)

// A printer prints what was measured. Colours only add to the words: they are
// left out where standard output is no terminal, or NO_COLOR is set.
type printer struct{ file *os.File }

func newPrinter(file *os.File) *printer {
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	text.EnableColors()
	if err != nil || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		text.DisableColors()
	}
	return &printer{file}
}

// title begins a part.
func (p *printer) title(s string) { fmt.Fprintln(p.file, "\n"+text.Bold.Sprint(s)) }

func (p *printer) println(s string) { fmt.Fprintln(p.file, s) }

// table prints a table whose first column is words, all others figures.
func (p *printer) table(header table.Row, groups [][]table.Row) {
	t := table.NewWriter()
	style := table.StyleRounded
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(header)
	var columns []table.ColumnConfig
	for i := 2; i <= len(header); i++ {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	for _, group := range groups {
		t.AppendRows(group)
		t.AppendSeparator()
	}
	fmt.Fprintln(p.file, t.Render())
}

// ratio prints the median of a series of ratios, and its quartiles.
func ratio(s series) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median(), s.quantile(0.25), s.quantile(0.75))
}

// milliseconds prints nanoseconds.
func milliseconds(ns float64) string { return fmt.Sprintf("%.2f", ns/1e6) }

// spread prints the quartiles of a series.
func spread(s series, format func(float64) string) string {
	return format(s.quantile(0.25)) + "–" + format(s.quantile(0.75))
}

func whole(ns float64) string { return fmt.Sprintf("%.0f", ns) }
