package doc

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the commands of the recipes answer into their pages")

// onPage is the program as a reader of the page calls it; what the page's host and libvirt would tell it are files.
const onPage = `#!/bin/sh
command=$1
shift
for word; do
	shift
	case $last in
	--vm) set -- "$@" "$DOMAINS/$word.xml" ;;
	*) case $word in --vm) set -- "$@" --xml ;; *) set -- "$@" "$word" ;; esac ;;
	esac
	last=$word
done
if [ "$command" = reach ]; then
	vm=$1
	shift
	set -- --xml "$DOMAINS/$vm.xml" "$@"
fi
exec "$PROGRAM" "$command" --facts "$DOMAINS/facts.json" "$@"
`

// virsh tells the XML of the page's VMs.
const virsh = `#!/bin/sh
exec cat "$DOMAINS/$2.xml"
`

// A recipe is a configuration, and commands that are tried with it.
var recipe = regexp.MustCompile("(?s)```toml\n(.*?)```|```console\n(.*?)```")

// Every command of these pages answers as its page says, with the configuration that stands above it.
func TestRecipes(t *testing.T) {
	for file, atLeast := range map[string]int{"recipes.md": 20, "from-shell-hook.md": 5, "questions.md": 15} {
		t.Run(file, func(t *testing.T) { tryPage(t, file, atLeast) })
	}
}

func tryPage(t *testing.T, file string, atLeast int) {
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	shell := newShell(t)
	configs, commands := 0, 0
	got := recipe.ReplaceAllFunc(page, func(block []byte) []byte {
		parts := recipe.FindSubmatch(block)
		if parts[1] != nil {
			configs++
			shell.configure(parts[1])
			return block
		}
		var b strings.Builder
		b.WriteString("```console\n")
		for line := range strings.Lines(string(parts[2])) {
			if command, is := strings.CutPrefix(line, "$ "); is {
				commands++
				b.WriteString(line + shell.run(command))
			}
		}
		b.WriteString("```")
		return []byte(b.String())
	})
	if configs == 0 || commands < atLeast {
		t.Errorf("%d configurations and %d commands: some are not seen", configs, commands)
	}
	if bytes.Equal(got, page) {
		return
	}
	if !*update {
		t.Fatalf("the page does not say what the program does; go test ./internal/doc -run TestRecipes -update, and read the difference. It is now:\n%s", got)
	}
	if err := os.WriteFile(file, got, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A shell runs a page's commands.
type shell struct {
	t      *testing.T
	folder string
	env    []string
}

func newShell(t *testing.T) shell {
	t.Helper()
	folder := t.TempDir()
	program := filepath.Join(folder, "program")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, moduleRoot+"/cmd/macvtap-filter").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	bin := filepath.Join(folder, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{"macvtap-filter": onPage, "virsh": virsh} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	domains, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	s := shell{t, folder, append(os.Environ(),
		"PATH="+bin+":"+os.Getenv("PATH"), "PROGRAM="+program, "DOMAINS="+domains,
	)}
	s.env = append(s.env, "MACVTAP_FILTER_CONFIG="+s.config())
	return s
}

func (s shell) config() string { return filepath.Join(s.folder, "config.toml") }

// configure puts a configuration where the program reads it.
func (s shell) configure(toml []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.config(), toml, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// run gives what a command answers; one that fails ends the test.
func (s shell) run(command string) string {
	s.t.Helper()
	c := exec.CommandContext(s.t.Context(), "sh", "-c", command)
	c.Env = s.env
	var refused bytes.Buffer
	c.Stderr = &refused
	out, err := c.Output()
	if err != nil || refused.Len() > 0 || len(out) == 0 {
		s.t.Fatal(fmt.Errorf("%s: %w: %s%s", strings.TrimSpace(command), err, refused.Bytes(), out))
	}
	return string(out)
}
