package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/lab"
)

// TestCases renders each story of testdata/cases (domain.xml, config.toml and
// facts.json) and compares with its rules.nft and stderr; no stderr stands for
// nothing said. The rules are the program's specification: with -update they
// are written anew, for review.
func TestCases(t *testing.T) {
	stories, err := filepath.Glob(filepath.Join("..", "..", "testdata", "cases", "*"))
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, story := range stories {
		t.Run(filepath.Base(story), func(t *testing.T) {
			rules, said := renderStory(t, story, "nft")
			compare(t, filepath.Join(story, "rules.nft"), rules)
			compare(t, filepath.Join(story, "stderr"), said)
			inJSON, _ := renderStory(t, story, "json")
			loadByNft(t, rules, inJSON)
		})
	}
}

// renderStory gives what the program prints for a story.
func renderStory(t *testing.T, story, format string) (rules, said string) {
	t.Helper()
	var out, errs bytes.Buffer
	file := func(name string) string { return filepath.Join(story, name) }
	args := []string{"render", "--format", format, "--config", file("config.toml"), "--facts", file("facts.json"), file("domain.xml")}
	if code := run(args, streams{strings.NewReader(""), &out, &errs}); code != exitDone {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	return out.String(), errs.String()
}

// compare holds a text against a golden file; an empty text has none.
func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		write(t, file, got)
		return
	}
	golden, err := os.ReadFile(file)
	if err != nil && (got != "" || !errors.Is(err, fs.ErrNotExist)) {
		t.Errorf("%v; it would be written with -update:\n%s", err, got)
		return
	}
	if diff := cmp.Diff(string(golden), got); diff != "" {
		t.Errorf("%s: -golden +printed:\n%s", file, diff)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	err := os.Remove(file)
	if text != "" {
		err = os.WriteFile(file, []byte(text), 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

var device = regexp.MustCompile(`device "([^"]*)"`)

// loadByNft has nft load the rules in both formats, in a namespace that has devices
// of the names in them: nft takes both, and takes them for the same.
func loadByNft(t *testing.T, text, inJSON string) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("nft is not installed: install the package nftables")
		}
		t.Skip("NOT CHECKED BY NFT: install the package nftables")
	}
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	made := map[string]bool{}
	for _, m := range device.FindAllStringSubmatch(text, -1) {
		if name := m[1]; !made[name] {
			made[name] = true
			if err := ns.Links().LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
				t.Fatalf("device %q: %v", name, err)
			}
		}
	}
	nft(t, ns, text, "-c", "-f", "-")
	nft(t, ns, inJSON, "-j", "-c", "-f", "-")
	if listed := nft(t, ns, "", "list", "ruleset"); listed != "" {
		t.Fatalf("a check changed the kernel:\n%s", listed)
	}
	nft(t, ns, text, "-f", "-")
	fromText := nft(t, ns, "", "list", "ruleset")
	nft(t, ns, "", "flush", "ruleset")
	nft(t, ns, inJSON, "-j", "-f", "-")
	fromJSON := nft(t, ns, "", "list", "ruleset")
	// nft 1.0 reads no table's comment in JSON.
	fromText, fromJSON = tableComment.ReplaceAllString(fromText, ""), tableComment.ReplaceAllString(fromJSON, "")
	if diff := cmp.Diff(lab.Inline(fromText), lab.Inline(fromJSON)); diff != "" {
		t.Errorf("nft lists: -after text +after JSON:\n%s", diff)
	}
}

var tableComment = regexp.MustCompile(`(?m)^\tcomment ".*"\n`)

// nft runs nft inside the namespace and gives what it prints.
func nft(t *testing.T, ns *lab.Namespace, in string, args ...string) string {
	t.Helper()
	cmd := exec.Command("nft", args...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &said
	if err := ns.Run(cmd); err != nil {
		t.Fatalf("nft %s: %v\n%s", strings.Join(args, " "), err, &said)
	}
	return out.String()
}
