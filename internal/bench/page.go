package bench

import (
	"fmt"
	"strings"

	"macvtap-filter/internal/doc"
)

// Markdown shows all that was measured, as its page has it.
func (r *Results) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "One run of `make bench` on %s (Linux %s, %s, %s processors):\n", r.Fact("date"), r.Fact("kernel"), r.Fact("cpu"), r.Fact("cpus"))
	for _, t := range r.Tables() {
		b.WriteString("\n" + t.Markdown())
	}
	return b.String()
}

// UpdatePage writes all that was measured between a page's lines <!-- bench --> and
// <!-- /bench -->.
func (r *Results) UpdatePage(path string) error { return doc.SetBlock(path, "bench", r.Markdown()) }
