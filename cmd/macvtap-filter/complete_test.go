package main

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// packaging is where the completions and manual pages are.
var packaging = filepath.Join("..", "..", "internal", "packaging")

// A command's help tells of every flag that it has, and of no other; completion takes
// its words from there.
func TestHelpTellsOfEveryFlag(t *testing.T) {
	mentioned := regexp.MustCompile(`--([a-z][a-z-]*)`)
	for _, c := range commands() {
		told := map[string]bool{}
		for _, m := range mentioned.FindAllStringSubmatch(c.usage, -1) {
			told[m[1]] = true
			if flagSet(c).Lookup(m[1]) == nil && m[1] != "help" {
				t.Errorf("%s --help tells of --%s, which is no flag of it", c.name, m[1])
			}
		}
		flagSet(c).VisitAll(func(f *flag.Flag) {
			// Every command takes --config, and the program's own help says so.
			if !told[f.Name] && f.Name != "config" {
				t.Errorf("%s --help does not tell of --%s", c.name, f.Name)
			}
		})
	}
}

// The manual page has every command.
func TestManualHasEveryCommand(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(packaging, "man", "macvtap-filter.8"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands() {
		if !regexp.MustCompile(`(?m)^\.It Cm ` + c.name + `\b`).Match(page) {
			t.Errorf("the manual page has no %q", c.name)
		}
		if !strings.Contains(usage, "\n  "+c.name+" ") && c.name != "complete" {
			t.Errorf("--help has no %q", c.name)
		}
	}
}

func TestCandidates(t *testing.T) {
	for _, test := range []struct {
		line string // the last word is the one to complete
		want []string
	}{
		{"ver", []string{"verify", "version"}},
		{"--c", []string{"--config"}},
		{"--config ", nil},
		{"--config file rend", []string{"render"}},
		{"apply --d", []string{"--dry-run"}},
		{"apply x --d", []string{"--dry-run"}},
		{"render --format ", []string{"nft", "json"}},
		{"render --format j", []string{"json"}},
		{"render --facts ", nil}, // a file
		{"render ", nil},         // a file
		{"render do", nil},       // a file
		{"check --h", []string{"--help"}},
		{"log --f", []string{"--follow", "--for"}},
		{"log --for ", nil},
		{"explain --to ", nil},
		{"explain --from-m", []string{"--from-mac"}},
		{"reach --d", []string{"--device", "--diff"}},
		{"reach --diff ", nil}, // a file
		{"nonsense x", nil},
	} {
		words := strings.Split(test.line, " ")
		var got []string
		for _, c := range candidates(context.Background(), words[:len(words)-1], words[len(words)-1]) {
			name, _, _ := strings.Cut(c, "\t")
			got = append(got, name)
		}
		for _, want := range test.want {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %q is missing in %q", test.line, want, got)
			}
		}
		if test.want == nil && len(got) > 0 {
			t.Errorf("%q: got %q, want what the shell itself completes", test.line, got)
		}
		for _, g := range got {
			if !strings.HasPrefix(g, words[len(words)-1]) {
				t.Errorf("%q: %q does not go on with it", test.line, g)
			}
		}
	}
}

// The shells themselves complete a command, a flag's value, and a file.
func TestShellsComplete(t *testing.T) {
	completions, err := filepath.Abs(filepath.Join(packaging, "completions"))
	if err != nil {
		t.Fatal(err)
	}
	for shell, script := range map[string]string{
		// It tells what it would put into the line.
		"bash": `set -eu
			source "$COMPLETIONS/macvtap-filter.bash"
			COMP_WORDS=(macvtap-filter app) COMP_CWORD=1
			_macvtap_filter
			echo "${COMPREPLY[*]}"
			COMP_WORDS=(macvtap-filter render --format j) COMP_CWORD=3
			_macvtap_filter
			echo "${COMPREPLY[*]}"
			compopt() { [[ $* == "-o default" ]] && compgen -f dom; } # as bash itself goes on
			COMP_WORDS=(macvtap-filter render dom) COMP_CWORD=2
			_macvtap_filter`,
		"fish": `source $COMPLETIONS/macvtap-filter.fish
			complete -C 'macvtap-filter app' | string split -f1 \t
			complete -C 'macvtap-filter render --format j' | string split -f1 \t
			complete -C 'macvtap-filter render dom' | string split -f1 \t; true`,
		// A terminal of its own, in which Tab is pressed, and then Return.
		"zsh": `zmodload zsh/zpty
			zpty z zsh -f -i
			zpty -w z 'PS1=; TERM=dumb; fpath=($COMPLETIONS $fpath); autoload -Uz compinit && compinit -u -D
				macvtap-filter() { if [[ $1 == complete ]]; then command macvtap-filter "$@"; else print -r -- "RAN:$*:"; fi }; print rea""dy'
			zpty -r -m z out '*ready*'
			for line in 'app' 'render --format j' 'render dom'; do
				zpty -w -n z "macvtap-filter $line"$'\t\n'
				zpty -r -m z out '*RAN:*:*'
				print -r -- "${${${out##*RAN:}%%:*}##* }"
			done
			zpty -d z`,
	} {
		t.Run(shell, func(t *testing.T) {
			needs(t, shell)
			folder := t.TempDir()
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			// TestMain is the program where it is called so.
			if err := os.Symlink(self, filepath.Join(folder, "macvtap-filter")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "domain.xml"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			cmd := exec.CommandContext(ctx, shell, "-c", script)
			cmd.Dir = folder
			cmd.Env = append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"), "HOME="+folder, "XDG_CONFIG_HOME="+folder, "XDG_DATA_HOME="+folder, "COMPLETIONS="+completions)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := strings.Join(strings.Fields(string(out)), " "); got != "apply json domain.xml" {
				t.Errorf("%s completes to %q", shell, got)
			}
		})
	}
}

// needs skips a test where a program is missing, and fails it in CI.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed: .ci/packages names its package", program)
	}
	t.Skipf("NOT CHECKED: %s is not installed", program)
}
