package leaks

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/doc"
)

// A row is what came of an event under a defence.
type row struct {
	event, defence string
	*tally
}

type table []row

const header = `| event | what filters | times | denied frames sent | leaked | repaired after: median | worst | longest pause |
| --- | --- | --- | --- | --- | --- | --- | --- |
`

func (t table) String() string {
	var b strings.Builder
	b.WriteString(header)
	for _, r := range t {
		median, worst := r.times()
		m, w := span(median), span(worst)
		switch {
		case r.never > 0 && r.leaked == 0:
			m, w = "stays closed", "stays closed"
		case r.never > 0 && len(r.windows) == 0:
			m, w = "never", "never"
		case r.never > 0:
			w = fmt.Sprintf("never, %d times", r.never)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %s | %s | %s |\n", r.event, r.defence, r.rounds, r.sent, r.leaked, m, w, span(r.pause))
	}
	return b.String()
}

func span(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	}
	return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
}

// onPage writes the table into its page, if that is wanted.
func (t table) onPage(test *testing.T) {
	test.Helper()
	if !*update || test.Failed() {
		return
	}
	if err := doc.SetBlock("../doc/leaks.md", "leaks", t.String()); err != nil {
		test.Fatal(err)
	}
}
