package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"
)

// A printer says what the person sees. Colours only add to the words: they are
// left out where standard output is no terminal, or NO_COLOR is set.
type printer struct {
	file    *os.File
	colours bool
	titles  int
}

func newPrinter(file *os.File) *printer {
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	colours := err == nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	text.EnableColors()
	if !colours {
		text.DisableColors()
	}
	return &printer{file: file, colours: colours}
}

func (p *printer) println(s string)                  { fmt.Fprintln(p.file, s) }
func (p *printer) printf(format string, args ...any) { fmt.Fprintf(p.file, format, args...) }

// title begins a numbered step.
func (p *printer) title(s string) {
	p.titles++
	p.println("\n" + text.Bold.Sprintf("%d. %s", p.titles, s))
}

// command shows what was run, with a remark.
func (p *printer) command(line, remark string) {
	if remark != "" {
		remark = text.Faint.Sprint("   # " + remark)
	}
	p.println("  $ " + text.FgCyan.Sprint(line) + remark)
}

// code shows a text set in, without its empty lines.
func (p *printer) code(s string) {
	for line := range strings.Lines(s) {
		if line = strings.TrimRight(line, "\n"); strings.TrimSpace(line) != "" {
			p.println("    " + strings.ReplaceAll(line, "\t", "    "))
		}
	}
}

func (p *printer) warn(s string) { p.println(text.FgYellow.Sprint(s)) }
func (p *printer) good(s string) { p.println("\n" + text.Colors{text.FgGreen, text.Bold}.Sprint(s)) }

// reachTable shows which ways are open without and with the hook. Green is what
// should be, red what should not.
func (p *printer) reachTable(vms []*vm, questions []question, without, with answers) {
	t := p.table()
	phases, names := table.Row{"", ""}, table.Row{"→ from, ← to the VM", "by"}
	for _, phase := range []string{"without hook", "with hook"} {
		for _, vm := range vms {
			phases, names = append(phases, phase), append(names, vm.name)
		}
	}
	t.AppendHeader(phases, table.RowConfig{AutoMerge: true})
	t.AppendHeader(names)
	for i, q := range questions {
		if i == 0 || q.open != questions[i-1].open {
			t.AppendSeparator()
			section := text.Bold.Sprintf("should be %s", state(q.open))
			t.AppendRow(wide(section, len(names)), table.RowConfig{AutoMerge: true, AutoMergeAlign: text.AlignLeft})
			t.AppendSeparator()
		}
		row := table.Row{q.arrow() + " " + q.peer, q.how}
		for _, phase := range []answers{without, with} {
			for _, vm := range vms {
				row = append(row, cell(phase[vm][i], q.open))
			}
		}
		t.AppendRow(row)
	}
	p.println(t.Render())
}

// wide gives a row of one cell that spans a number of columns.
func wide(s string, columns int) table.Row {
	row := make(table.Row, columns)
	for i := range row {
		row[i] = s
	}
	return row
}

// cell says what a way is, in the colour that says whether it should be.
func cell(open, should bool) string {
	if open != should {
		return text.FgRed.Sprint(state(open))
	}
	return text.FgGreen.Sprint(state(open))
}

func (p *printer) table() table.Writer {
	t := table.NewWriter()
	style := table.StyleRounded
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	return t
}

// list puts words together.
func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
