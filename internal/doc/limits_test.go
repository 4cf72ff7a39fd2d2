package doc

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A limit of seconds in a test, and the words of those that are meant to be over.
var (
	shortLimit = regexp.MustCompile(`(?:WithTimeout\(.*, |After\(|Add\()(?:\d+ ?\* ?)?time\.(?:Micro|Milli)?[sS]econd`)
	meant      = "// meant to be over"
)

// No test waits seconds for what should happen: on a busy machine it would fail. A limit that only ends what hangs is of
// minutes, and one that the test wants to be over says so.
func TestNoShortLimits(t *testing.T) {
	files := 0
	err := filepath.WalkDir(moduleRoot, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		for number, line := range strings.Split(string(text), "\n") {
			if shortLimit.MatchString(line) && !strings.HasSuffix(line, meant) {
				t.Errorf("%s:%d: a limit of seconds, want one of minutes, or %q: %s", path, number+1, meant, strings.TrimSpace(line))
			}
		}
		return err
	})
	if err != nil || files < 100 {
		t.Errorf("looked into %d files: %v", files, err)
	}
}
