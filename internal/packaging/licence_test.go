package packaging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every file of the BPF program says both licences that it may be used under: of one under the Apache License alone
// the kernel would be told a licence that it is not under.
func TestLicencesOfOffload(t *testing.T) {
	files, err := filepath.Glob("../offload/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if first, _, _ := strings.Cut(string(text), "\n"); first != "// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only" {
			t.Errorf("%s begins with %q", file, first)
		}
	}
}
