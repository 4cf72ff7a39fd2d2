//go:build e2e

package tutorial

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"macvtap-filter/internal/e2e/sandbox"
	"macvtap-filter/internal/guest"
)

var update = flag.Bool("update", false, "write into the tutorial what really came of its commands")

const (
	tutorialFile   = "internal/doc/tutorial.md"
	transcriptFile = "internal/doc/tutorial.txt"

	// bound ends a command that hangs, however busy the machine is.
	bound = 5 * time.Minute
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(prepare, m.Run))
}

// prepare gets what needs the internet, which the sandbox has not.
func prepare(ctx context.Context) error {
	if _, err := guest.Kernel(ctx); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "go", "mod", "download").CombinedOutput(); err != nil {
		return fmt.Errorf("go mod download: %w: %s", err, out)
	}
	return nil
}

// TestTutorial types what the tutorial says, in its order, and gets what it says. The last of it takes all away again.
func TestTutorial(t *testing.T) {
	root := moduleRoot(t)
	p := readPage(t, filepath.Join(root, tutorialFile))
	h := newHost(t)
	h.expectClean(t, "at first")
	f := h.follow(t)
	var transcript bytes.Buffer
	answers := make([]string, len(p.steps))
	for i, s := range p.steps {
		begun := time.Now()
		answer := f.do(t, s)
		t.Logf("%s%s (%s)\n%s", s.prompt, s.command, time.Since(begun).Round(time.Millisecond), answer)
		fmt.Fprintf(&transcript, "%s%s\n%s", s.prompt, s.command, answer)
		answers[i] = s.answer // what the page says of another run of the same
		if normal(answer) == normal(s.answer) {
			continue
		}
		answers[i] = answer
		if !*update {
			t.Errorf("%s%s\n%s", s.prompt, s.command, diff.Diff("the tutorial", []byte(normal(s.answer)), "here", []byte(normal(answer))))
		}
	}
	h.expectClean(t, "in the end")
	if *update && !t.Failed() {
		failed(t, os.WriteFile(filepath.Join(root, tutorialFile), p.with(answers), 0o644))
		failed(t, os.WriteFile(filepath.Join(root, transcriptFile), transcript.Bytes(), 0o644))
	}
}

// A follower types at the host's terminal and at the VM's.
type follower struct {
	host     *host
	terminal *terminal
	prompt   string // that stands there
	booting  bool   // the VM was started anew
}

func (h *host) follow(t *testing.T) *follower {
	t.Helper()
	shell := h.Command(login[0], login[1:]...)
	shell.Env = append(shell.Env, builds(t)...)
	terminal, err := open(shell)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { failed(t, terminal.close()) })
	f := &follower{host: h, terminal: terminal}
	if _, f.prompt, err = terminal.prompt(); err != nil {
		t.Fatal(err)
	}
	return f
}

// builds is the environment of somebody who has Go, and all that the project needs is there already: the sandbox has no
// internet.
func builds(t *testing.T) []string {
	t.Helper()
	env := []string{"HOME=/root", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "GOPROXY=off", "PAGER=cat"}
	for _, name := range []string{"GOMODCACHE", "GOCACHE", "GOROOT"} {
		out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		value := strings.TrimSpace(string(out))
		if name == "GOROOT" {
			env = append(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:"+filepath.Join(value, "bin"))
			continue
		}
		env = append(env, name+"="+value)
	}
	return env
}

// do types a command, and gives its answer. Where the page waits for something to happen by itself, so does it.
func (f *follower) do(t *testing.T, s step) string {
	t.Helper()
	if s.inGuest() {
		return f.inGuest(t, s)
	}
	if f.prompt != s.prompt {
		t.Fatalf("%s: the prompt is %q, the tutorial says %q", s.command, f.prompt, s.prompt)
	}
	if err := f.terminal.enter(s.command); err != nil {
		t.Fatal(err)
	}
	answer, prompt, err := f.terminal.prompt()
	if err != nil {
		t.Fatalf("%s: %v", s.command, err)
	}
	f.prompt = prompt
	switch s.command {
	case "nft flush ruleset":
		f.awaitRules(t)
	case "virsh start web":
		f.booting = true
	}
	return answer
}

// awaitRules waits until watch has put the rules back, which nobody types fast enough to get ahead of.
func (f *follower) awaitRules(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(bound); ; time.Sleep(10 * time.Millisecond) {
		out, err := f.host.Command("macvtap-filter", "verify").CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the rules are not back: %v: %s", err, out)
		}
	}
}

// inGuest types in the VM. One that booted anew is greeted first.
func (f *follower) inGuest(t *testing.T, s step) string {
	t.Helper()
	if s.prompt != guestPrompt+"~# " {
		t.Fatalf("%s: the VM has no prompt %q", s.command, s.prompt)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if f.booting {
		if err := f.host.web.Greet(ctx); err != nil {
			t.Fatal(err)
		}
		f.booting = false
	}
	shell := func(command string) (said string) {
		if err := f.host.web.Call(ctx, "Shell", command, &said); err != nil {
			t.Fatalf("%s%s: %v", s.prompt, command, err)
		}
		return said
	}
	// Nobody types that fast: what a guest sends before its NIC is up is lost, and while it still asks who has an address,
	// it takes the answer to a question of before.
	for shell("cat /sys/class/net/eth0/operstate") != "up\n" || strings.Contains(shell("ip neigh"), "INCOMPLETE") {
		time.Sleep(50 * time.Millisecond)
	}
	return shown(shell(s.command))
}
