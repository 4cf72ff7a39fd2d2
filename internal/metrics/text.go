package metrics

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The kinds of metrics that there are here.
const (
	counter = "counter"
	gauge   = "gauge"
)

// A page is a text under construction. Its format is Prometheus's own, version 0.0.4
// (prometheus.io, "Exposition formats"); the library for it would take a third of a
// hook's start time to initialise, and tests hold the text against that library.
type page struct {
	out  *bufio.Writer
	name string
}

func newPage(w io.Writer) *page { return &page{out: bufio.NewWriterSize(w, 64<<10)} }

// end gives the first error there was in writing.
func (p *page) end() error { return p.out.Flush() }

// family begins a metric. All its samples follow.
func (p *page) family(name, kind, help string) {
	p.name = prefix + name
	fmt.Fprintf(p.out, "# HELP %s %s\n# TYPE %s %s\n", p.name, helpEscapes.Replace(help), p.name, kind)
}

// sample writes one value with its labels, some of which may be joined already. An
// error shows at the end.
func (p *page) sample(value float64, joined string, labels ...string) {
	_, _ = p.out.WriteString(p.name)
	if joined != "" {
		labels = append([]string{joined}, labels...)
	}
	for n, label := range labels {
		_ = p.out.WriteByte("{,"[min(n, 1)])
		_, _ = p.out.WriteString(label)
	}
	if len(labels) > 0 {
		_ = p.out.WriteByte('}')
	}
	_ = p.out.WriteByte(' ')
	_, _ = p.out.Write(strconv.AppendFloat(p.out.AvailableBuffer(), value, 'f', -1, 64))
	_ = p.out.WriteByte('\n')
}

var (
	labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// pair gives a label with its value, which may be any text; bytes that are no UTF-8
// become U+FFFD.
func pair(name, value string) string {
	return name + `="` + labelEscapes.Replace(strings.ToValidUTF8(value, "\ufffd")) + `"`
}
