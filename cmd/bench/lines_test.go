package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// benchstat splits a line at blanks and a name at slashes.
func TestLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	l, err := newLines(file)
	if err != nil {
		t.Fatal(err)
	}
	l.write([]string{"Frame", "way=from the VM", "rules=macvtap-filter, 10 hosts allowed"}, result{2310.04, "ns/op"}, result{7, "cpu-ns/op"})
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "BenchmarkFrame/way=from-the-VM/rules=macvtap-filter-10-hosts-allowed\t1\t2310.0 ns/op\t7.0 cpu-ns/op\n"
	if !strings.HasSuffix(string(text), "\n"+want) {
		t.Errorf("wrote\n%s\nwant at its end\n%s", text, want)
	}
}

func TestNoLines(t *testing.T) {
	l, err := newLines("")
	if err != nil {
		t.Fatal(err)
	}
	l.write([]string{"Frame"}, result{1, "ns/op"})
	if err := l.close(); err != nil {
		t.Error(err)
	}
}
