package doc

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// counted is a chain of the golden rulesets that drops for a reason.
var counted = regexp.MustCompile(`(?m)^\s*chain drop-(?:from|to)-vm-([a-z0-9-]+) `)

// The manual has every reason for which rules drop, and no other.
func TestManualHasEveryReason(t *testing.T) {
	known := map[string]bool{
		"closed": true, "no-rules": true, "stale-device": true, // of tables that no golden file has
		"offload": true, // counted by no rule
	}
	beside := len(known)
	err := filepath.WalkDir(filepath.Join(moduleRoot, "testdata", "cases"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".nft") {
			return err
		}
		rules, err := os.ReadFile(path)
		for _, found := range counted.FindAllStringSubmatch(string(rules), -1) {
			known[found[1]] = true
		}
		return err
	})
	if err != nil || len(known) == beside {
		t.Fatalf("%d reasons: %v", len(known)-beside, err)
	}
	page, err := os.ReadFile(filepath.Join(moduleRoot, "internal", "packaging", "man", "macvtap-filter.8"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n.Sh DROPS\n")
	section, _, _ = strings.Cut(section, "\n.Sh ")
	var told []string
	for _, item := range regexp.MustCompile(`(?m)^\.It Li (.*)$`).FindAllStringSubmatch(section, -1) {
		told = append(told, strings.Split(item[1], " , ")...)
	}
	slices.Sort(told)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(known)), told); diff != "" {
		t.Errorf("reasons (-of the rules +in the manual):\n%s", diff)
	}
}
