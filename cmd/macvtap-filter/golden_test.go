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
			checkByNft(t, rules, inJSON)
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

// checkByNft has nft read the rules, in both formats, where there are devices of
// the names in them. It changes nothing.
func checkByNft(t *testing.T, text, inJSON string) {
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
	defer ns.Close()
	made := map[string]bool{}
	for _, m := range device.FindAllStringSubmatch(text, -1) {
		if name := m[1]; !made[name] {
			made[name] = true
			if err := ns.Links().LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
				t.Fatalf("device %q: %v", name, err)
			}
		}
	}
	for _, check := range []struct {
		args []string
		text string
	}{
		{[]string{"-c", "-f", "-"}, text},
		{[]string{"-j", "-c", "-f", "-"}, inJSON},
	} {
		cmd := exec.Command("nft", check.args...)
		cmd.Stdin = strings.NewReader(check.text)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := ns.Run(cmd); err != nil {
			t.Errorf("nft %s: %v\n%s", strings.Join(check.args, " "), err, &said)
		}
	}
}
