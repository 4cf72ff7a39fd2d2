package doc

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBlock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte("a\n<!-- t -->\nold\n<!-- /t -->\nz\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Block(file, "t"); err != nil || got != "old\n" {
		t.Errorf("%q, %v", got, err)
	}
	if err := SetBlock(file, "t", "new\nlines\n"); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "a\n<!-- t -->\nnew\nlines\n<!-- /t -->\nz\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Block(file, "other"); err == nil {
		t.Error("a block that the page has not is found")
	}
}
