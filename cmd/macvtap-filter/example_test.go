package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The repository of rules in testdata/ci-example is in order, by the very commands that
// its CI runs, and a change to it is found. With -update its rules are
// written anew, like those of TestCases.
func TestCasesUnderCI(t *testing.T) {
	example, err := filepath.Abs(filepath.Join("..", "..", "testdata", "ci-example"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(example)
	t.Setenv("GITHUB_ACTIONS", "")
	if *update {
		call(t, exitDone, strings.Fields("render --config config.toml --facts facts.json --output rules domains"))
	}
	changed := t.TempDir()
	if err := os.CopyFS(changed, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile("config.toml")
	if err != nil {
		t.Fatal(err)
	}
	opened := bytes.Replace(config, []byte(`"192.168.2.53 `), []byte(`"192.168.2.77", "192.168.2.53 `), 1)
	if err := os.WriteFile(filepath.Join(changed, "config.toml"), opened, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, ci := range []string{filepath.Join(".github", "workflows", "rules.yml"), ".gitlab-ci.yml"} {
		text, err := os.ReadFile(filepath.Join(example, ci))
		if err != nil {
			t.Fatal(err)
		}
		command := regexp.MustCompile(`(?m)(?:run:|-) macvtap-filter (.*)$`).FindSubmatch(text)
		if command == nil {
			t.Fatalf("%s runs no macvtap-filter", ci)
		}
		args := strings.Fields(string(command[1]))
		for i, arg := range args {
			if arg == "code-quality.json" {
				args[i] = filepath.Join(t.TempDir(), arg)
			}
		}
		t.Chdir(example)
		call(t, exitDone, args)
		t.Chdir(changed)
		if out := call(t, exitFailed, args); !regexp.MustCompile(`(?m)^\+.*192\.168\.2\.77`).MatchString(out) {
			t.Errorf("%s: an address that is allowed is not in the diff:\n%s", ci, out)
		}
	}
}

// call runs a command and gives its output.
func call(t *testing.T, want int, args []string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(args, streams{strings.NewReader(""), &out, &errs}); got != want {
		t.Fatalf("%q: exit code %d, want %d: %s%s", args, got, want, &errs, &out)
	}
	return out.String()
}
