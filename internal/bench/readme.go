package bench

import (
	"fmt"
	"os"
	"strings"
)

// The README's measurements stand between these.
const (
	blockBegin = "<!-- bench -->\n"
	blockEnd   = "<!-- /bench -->"
)

// Markdown shows all that was measured, as the README has it.
func (r *Results) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "One run of `make bench` on %s (Linux %s, %s, %s processors):\n", r.Fact("date"), r.Fact("kernel"), r.Fact("cpu"), r.Fact("cpus"))
	for _, t := range r.Tables() {
		b.WriteString("\n" + t.Markdown())
	}
	return b.String()
}

// UpdateREADME writes all that was measured into the README's block.
func (r *Results) UpdateREADME(path string) error {
	readme, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, begins := strings.Cut(string(readme), blockBegin)
	_, tail, ends := strings.Cut(rest, blockEnd)
	if !begins || !ends {
		return fmt.Errorf("%s: no place for the measurements: it has no lines %q and %q", path, strings.TrimSpace(blockBegin), blockEnd)
	}
	return os.WriteFile(path, []byte(head+blockBegin+r.Markdown()+blockEnd+tail), 0o644)
}
