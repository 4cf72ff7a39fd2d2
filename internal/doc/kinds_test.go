package doc

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	kindRow    = regexp.MustCompile(`(?m)^\| ([A-C]\.\d) \|.*\| (.*) \|$`)
	kindTest   = regexp.MustCompile("`(?:([a-z0-9-]+)\\.(Test\\w+)|(testdata/script/[a-z-]+\\.txtar))`")
	testInCode = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
)

// Every test that the page of kinds names exists, every kind has one, and the frames of testdata/field have its number.
func TestKinds(t *testing.T) {
	page, err := os.ReadFile("kinds.md")
	if err != nil {
		t.Fatal(err)
	}
	known := allTests(t)
	for _, name := range kindTest.FindAllStringSubmatch(string(page), -1) {
		if name[3] != "" {
			if _, err := os.Stat(filepath.Join(moduleRoot, name[3])); err != nil {
				t.Error(err)
			}
		} else if !known[name[1]+"."+name[2]] {
			t.Errorf("there is no test %s in a package %s", name[2], name[1])
		}
	}
	table, err := os.ReadFile(filepath.Join(moduleRoot, "testdata", "field", "table"))
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]string{}
	for _, row := range kindRow.FindAllStringSubmatch(string(page), -1) {
		held[row[1]] = row[2]
	}
	for section, kinds := range map[string]int{"A": 9, "B": 8, "C": 7} {
		for i := range kinds {
			number := fmt.Sprintf("%s.%d", section, i+1)
			if !kindTest.MatchString(held[number]) {
				t.Errorf("%s: no test holds it", number)
			}
			if met, sent := strings.Contains(string(table), "# "+number+": "), strings.Contains(held[number], "TestFieldOnTheWire"); met != sent {
				t.Errorf("%s: frames in testdata/field/table: %v, on the page: %v", number, met, sent)
			}
		}
	}
}

// allTests gives the project's tests, each behind its folder's name.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, folder := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(moduleRoot, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			code, err := os.ReadFile(path)
			for _, name := range testInCode.FindAllStringSubmatch(string(code), -1) {
				all[filepath.Base(filepath.Dir(path))+"."+name[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}
