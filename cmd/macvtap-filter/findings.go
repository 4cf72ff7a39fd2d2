package main

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// How bad a finding is, in GitLab's words.
const (
	major = "major"
	minor = "minor" // no failure
)

// A finding is something about a line of a file, as services that run CI show it
// beside the line. Its JSON is that of GitLab's code quality reports
// (https://docs.gitlab.com/ci/testing/code_quality/).
type finding struct {
	Description string   `json:"description"`
	Check       string   `json:"check_name"`
	Fingerprint string   `json:"fingerprint"` // tells it from others, the same in each run
	Severity    string   `json:"severity"`
	Location    location `json:"location"`
}

type location struct {
	Path  string `json:"path"`
	Lines struct {
		Begin int `json:"begin"`
	} `json:"lines"`
}

// findings are told as they are found.
type findings struct {
	std streams
	all []finding
}

// add tells of a finding: on GitHub by a workflow command, elsewhere in the form of
// compilers, file:line: message.
func (f *findings) add(severity, file string, line int, message string) {
	n := finding{Description: message, Check: "macvtap-filter", Severity: severity}
	n.Location.Path, n.Location.Lines.Begin = fromTop(file), line
	n.Fingerprint = fingerprint(n.Location.Path, message)
	f.all = append(f.all, n)
	word := map[string]string{major: "error", minor: "warning"}[severity]
	if os.Getenv("GITHUB_ACTIONS") == "true" {
		// https://docs.github.com/actions/reference/workflow-commands-for-github-actions
		fmt.Fprintf(f.std.err, "::%s file=%s,line=%d::%s\n", word, githubProperty.Replace(n.Location.Path), line, githubMessage.Replace(message))
		return
	}
	// A message is one line.
	fmt.Fprintf(f.std.err, "%s:%d: %s: %s\n", file, line, word, strings.ReplaceAll(message, "\n", " "))
}

// fingerprint tells findings apart. Package crypto would do it, too, and initialise
// itself before each hook call.
func fingerprint(path, message string) string {
	hash := fnv.New128a()
	fmt.Fprintf(hash, "%s\x00%s", path, message)
	return fmt.Sprintf("%x", hash.Sum(nil))
}

// GitHub's runner decodes these in a command's message, and more of them in its
// properties (actions/runner, ActionCommand).
var (
	githubMessage  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// fromTop gives a file's path from the top of the checkout, where these services look
// for it, however deep the program was started.
func fromTop(file string) string {
	for _, variable := range []string{"GITHUB_WORKSPACE", "CI_PROJECT_DIR"} {
		top := os.Getenv(variable)
		absolute, err := filepath.Abs(file)
		if top == "" || err != nil {
			continue
		}
		if path, err := filepath.Rel(top, absolute); err == nil && filepath.IsLocal(path) {
			return path
		}
	}
	return file
}

// addError tells of an error that begins with the line of a file, as those of the
// configuration do.
func (f *findings) addError(err error) {
	for _, line := range eachMistake(err) {
		f.addLine(major, line)
	}
}

// addLine tells of what begins with the line of a file, and the column.
func (f *findings) addLine(severity, text string) {
	m := regexp.MustCompile(`(?s)^(.+?):(\d+):(?:\d+:)? (.*)$`).FindStringSubmatch(text)
	if m == nil {
		return
	}
	if line, err := strconv.Atoi(m[2]); err == nil {
		f.add(severity, m[1], line, m[3])
	}
}

// majors counts the findings that are failures.
func (f *findings) majors() int {
	n := 0
	for _, one := range f.all {
		if one.Severity == major {
			n++
		}
	}
	return n
}

// report writes the findings as GitLab reads them, to a file that is wanted.
func (f *findings) report(file string) error {
	if file == "" {
		return nil
	}
	if f.all == nil {
		f.all = []finding{} // an empty list, and not null
	}
	text, err := json.MarshalIndent(f.all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
