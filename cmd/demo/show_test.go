package main

import (
	"context"
	"errors"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/lab"
)

// The demonstration succeeds with the binary of this module, with and without
// IPv6.
func TestShow(t *testing.T) {
	binary := buildBinary(t)
	for name, ipv6 := range map[string]bool{"both families": true, "IPv4 alone": false} {
		t.Run(name, func(t *testing.T) {
			if ipv6 && !lab.HasIPv6() {
				needIPv6(t)
			}
			said, err := demonstrate(t, t.Context(), showing{binary: binary, ipv6: ipv6})
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			for _, part := range []string{"should be closed", "denied-ipv4", "its addresses: 192.168.2.101 (first)", "No table is left in the kernel"} {
				if !strings.Contains(said, part) {
					t.Errorf("says nothing of %q:\n%s", part, said)
				}
			}
			if strings.Contains(said, "\x1b") {
				t.Errorf("a file has colours:\n%q", said)
			}
			if strings.Contains(said, "chain from-vm") {
				t.Errorf("shows rules that nobody asked for:\n%s", said)
			}
			// The end stays on the screen: it is the answer.
			if _, end, _ := strings.Cut(said, "should be closed"); !regexp.MustCompile(`(?s)^.*╯\n\n[^\n]* closed, .* open, as it should be \(.*\)\.\n$`).MatchString(end) {
				t.Errorf("does not end in the table and what it says:\n%s", said)
			}
		})
	}
}

// Who asks for the rules sees them, before the answer.
func TestShowRules(t *testing.T) {
	said, err := demonstrate(t, t.Context(), showing{binary: buildBinary(t), ipv6: lab.HasIPv6(), rules: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	rules, table := strings.Index(said, "chain from-vm"), strings.Index(said, "should be closed")
	if rules < 0 || rules > table {
		t.Errorf("the rules are not there, or behind the table:\n%s", said)
	}
}

// The README's picture is what a user sees: each line of it that is always the same.
func TestPicture(t *testing.T) {
	said, err := demonstrate(t, t.Context(), showing{binary: buildBinary(t), ipv6: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	svg, err := os.ReadFile("../../internal/doc/demo.svg")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(steady(said), steady(textOf(string(svg)))); diff != "" {
		t.Errorf("run \"make pictures\" (-what the demonstration says +the picture):\n%s", diff)
	}
}

// steady gives the lines that are the same each time, without the times in them and
// without what the rules counted.
func steady(said string) []string {
	took := regexp.MustCompile(`\d+(\.\d+)?(ms|s|µs)\b`)
	var lines []string
	counts := false
	for line := range strings.Lines(said) {
		line = strings.TrimRight(line, " \n")
		counts = strings.HasPrefix(line, "VM ") || counts && line != ""
		if line != "" && !counts {
			lines = append(lines, took.ReplaceAllString(line, "…"))
		}
	}
	return lines
}

// textOf gives the text of a picture, line by line.
func textOf(svg string) string {
	var lines strings.Builder
	tag := regexp.MustCompile(`<[^>]*>`)
	svg = regexp.MustCompile(`<text ([^>]*)/>`).ReplaceAllString(svg, "<text $1></text>")
	for _, line := range regexp.MustCompile(`(?s)<text [^>]*>(.*?)</text>`).FindAllStringSubmatch(svg, -1) {
		lines.WriteString(html.UnescapeString(tag.ReplaceAllString(line[1], "")) + "\n")
	}
	return lines.String()
}

// A hook that protects nothing, or fails, is found out.
func TestShowFailures(t *testing.T) {
	usual := shortPatience
	t.Cleanup(func() { shortPatience = usual })
	shortPatience = longPatience // what should not be answered is
	for _, test := range []struct{ name, script, want string }{
		{"does nothing", "exit 0", "NOT as it should be with the hook:\n  web to LAN host 192.168.2.77 (ping): open, and should be closed\n"},
		{"fails", "echo no such luck >&2; exit 1", "no such luck"},
		{"prints", "echo '<domain/>'", "libvirt would take that for XML"},
	} {
		t.Run(test.name, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "hook")
			if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+test.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			said, err := demonstrate(t, t.Context(), showing{binary: binary, ipv6: lab.HasIPv6()})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q; it said\n%s", err, test.want, said)
			}
		})
	}
}

// A demonstration that is interrupted ends, and does not go on.
func TestShowInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	said, err := demonstrate(t, ctx, showing{binary: "/bin/false", ipv6: lab.HasIPv6()})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want one of cancelling; it said\n%s", err, said)
	}
}

// needIPv6 says loudly that a test is not run, and fails in CI.
func needIPv6(t *testing.T) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("NOT RUN: this kernel has no IPv6")
	}
	t.Skip("NOT RUN: this kernel has no IPv6")
}

func buildBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "macvtap-filter")
	build := exec.Command("go", "build", "-o", binary, "../macvtap-filter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the binary: %v\n%s", err, out)
	}
	return binary
}

// demonstrate runs show into a file and gives what it said.
func demonstrate(t *testing.T, ctx context.Context, what showing) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("NOT RUN: network namespaces and tap devices need root")
		}
		t.Skip("NOT RUN: network namespaces and tap devices need root")
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	showErr := show(ctx, what, newPrinter(file))
	said, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(said), showErr
}
