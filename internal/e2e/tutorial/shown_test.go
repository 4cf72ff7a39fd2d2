//go:build e2e

package tutorial

import (
	"path/filepath"
	"strings"
	"testing"
)

// What is compared is what stands on the screen, not how it came there.
func TestShown(t *testing.T) {
	for _, c := range []struct{ output, want string }{
		{"Reading... 0%\r\rReading... 100%\r\rReading... Done\r\n", "Reading... Done\n"},
		{"\x1b[1;32mactive\x1b[0m   \r\nnext", "active\nnext"},
		{"12 of 12\r\x1b[Kdone\n", "done\n"},
		{"\x1b]0;title\aab\bc\n", "ac\n"},
	} {
		if got := shown(c.output); got != c.want {
			t.Errorf("%q shows %q, want %q", c.output, got, c.want)
		}
	}
}

// A page with its own answers is that page.
func TestPageWithItsAnswers(t *testing.T) {
	p := readPage(t, filepath.Join(moduleRoot(t), tutorialFile))
	var answers []string
	for _, s := range p.steps {
		answers = append(answers, s.answer)
	}
	if got, want := string(p.with(answers)), strings.Join(p.lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
