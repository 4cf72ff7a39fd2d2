package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What "make demo" and "make test" need is installed where that can be, and named where
// it cannot; what is there already is let alone.
func TestNeeds(t *testing.T) {
	const present = "exit 0"
	for _, test := range []struct {
		name, target string
		programs     map[string]string // what is on PATH
		fails        bool
		want, not    []string // in what is said, and in what is installed
	}{
		{
			"root with apt", "test",
			map[string]string{"id": "echo 0", "go": present, "nft": present, "apt-get": `echo apt-get "$@" >&2`},
			false,
			[]string{"installing what make test needs:", "apt-get update", "apt-get install -y", " strace", " fish"}, []string{"nftables", "qemu"},
		},
		{
			"root without apt", "test",
			map[string]string{"id": "echo 0", "go": present, "nft": present},
			true,
			[]string{"missing:", " promtool", "apt-get install", " prometheus"}, []string{"nftables", "qemu"},
		},
		{
			"no root", "all",
			map[string]string{"id": "echo 1000", "go": present, "apt-get": "echo called >&2"},
			true,
			[]string{"missing:", " nft ", " strace ", " rpmbuild "}, []string{"called"},
		},
		{
			"apt fails", "test",
			map[string]string{"id": "echo 0", "go": present, "apt-get": "exit 100"},
			true, []string{"installing"}, nil,
		},
		{
			"no Go", "demo",
			map[string]string{"id": "echo 0"},
			true,
			[]string{"go is missing: install Go 1.", "https://go.dev/dl"}, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := t.TempDir()
			for name, script := range test.programs {
				writeProgram(t, filepath.Join(path, name), script)
			}
			for _, name := range []string{"sed", "cat", "ls", "dirname"} {
				program, err := exec.LookPath(name)
				if err != nil {
					t.Fatal(err)
				}
				writeProgram(t, filepath.Join(path, name), "exec "+program+` "$@"`)
			}
			// The script looks into sbin, too: that is this machine's.
			text, err := os.ReadFile("../../.ci/packages")
			if err != nil {
				t.Fatal(err)
			}
			script := strings.ReplaceAll(string(text), "PATH=$PATH:/usr/sbin:/sbin", "")
			cmd := exec.Command("/bin/sh", "-c", script, "../../.ci/packages", test.target)
			cmd.Env = []string{"PATH=" + path}
			out, err := cmd.CombinedOutput()
			if (err != nil) != test.fails {
				t.Errorf("%v\n%s", err, out)
			}
			for _, part := range test.want {
				if !strings.Contains(string(out), part) {
					t.Errorf("says nothing of %q:\n%s", part, out)
				}
			}
			for _, part := range test.not {
				if strings.Contains(string(out), part) {
					t.Errorf("says %q:\n%s", part, out)
				}
			}
		})
	}
}

func writeProgram(t *testing.T, file, script string) {
	t.Helper()
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}
