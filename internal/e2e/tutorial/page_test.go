//go:build e2e

package tutorial

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

// A page is the tutorial: text with console blocks in between.
type page struct {
	lines []string
	steps []step
}

// A step is a command of a console block, and what the page says that it answers.
type step struct {
	prompt, command string
	answer          string // each line with its newline
	first, next     int    // the lines of the answer
}

// inGuest says that the command is the VM's.
func (s step) inGuest() bool { return strings.HasPrefix(s.prompt, guestPrompt) }

const (
	hostPrompt  = "root@host:"
	guestPrompt = "web:"
)

var (
	promptLine = regexp.MustCompile(`^((?:` + hostPrompt + `|` + guestPrompt + `)[^ ]*# )(.*)$`)
	blockStart = "```console"
	blockEnd   = "```"
)

func readPage(t *testing.T, file string) *page {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{lines: strings.Split(string(text), "\n")}
	inside := false
	for i, line := range p.lines {
		m := promptLine.FindStringSubmatch(line)
		switch {
		case !inside:
			inside = line == blockStart
			if m != nil {
				t.Fatalf("%s:%d: a prompt outside of a console block", file, i+1)
			}
		case line == blockEnd:
			inside = false
		case m != nil:
			p.steps = append(p.steps, step{prompt: m[1], command: m[2], first: i + 1, next: i + 1})
		case p.lines[i-1] == blockStart:
			t.Fatalf("%s:%d: a console block begins without a prompt", file, i+1)
		default:
			last := &p.steps[len(p.steps)-1]
			last.answer += line + "\n"
			last.next = i + 1
		}
	}
	if len(p.steps) == 0 || inside {
		t.Fatalf("%s: %d commands; the last console block has an end: %t", file, len(p.steps), !inside)
	}
	return p
}

// with gives the page's text with other answers.
func (p *page) with(answers []string) []byte {
	var out bytes.Buffer
	write := func(lines []string) {
		for _, line := range lines {
			out.WriteString(line + "\n")
		}
	}
	done := 0
	for i, s := range p.steps {
		write(p.lines[done:s.first])
		out.WriteString(answers[i])
		done = s.next
	}
	write(p.lines[done:])
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")) // Split gave an empty last line
}

// What differs between two runs that went the same way, and what stands for it in a comparison.
var variable = []struct {
	what    string
	pattern *regexp.Regexp
	same    string
}{
	{"the version of the commit", regexp.MustCompile(`\d+\.\d+\.\d+[~+.\w]*-1`), "VERSION"},
	{"a package's size", regexp.MustCompile(`[\d,.]+ [kM]B`), "SIZE"},
	{"files on this machine", regexp.MustCompile(`\d+ files and directories`), "N files and directories"},
	{"packages that apt would bring up to date", regexp.MustCompile(`\d+ not upgraded`), "N not upgraded"},
	{"another package's version", regexp.MustCompile(`triggers for (\S+) \(.*\)`), "triggers for $1 (VERSION)"},
	{"what the kernel here can do", regexp.MustCompile(`ok       guard: not wanted.*`), "ok       guard: not wanted"},
	{"security modules, which there may be", regexp.MustCompile(`(?m)^ok +(AppArmor|SELinux): .*\n`), ""},
	{"libvirt's version", regexp.MustCompile(`libvirt: version [\d.]+`), "libvirt: version N"},
	{"processes", regexp.MustCompile(`process \d+`), "process N"},
	{"a round trip", regexp.MustCompile(`\d+\.\d+( ms|/)`), "TIME$1"},
	{"a round trip of the tail of ping", regexp.MustCompile(`(TIME/)+TIME ms`), "TIMES"},
	{"where a rule stands among the others", regexp.MustCompile(`by rule \d+`), "by rule N"},
	{"what passed and was dropped", regexp.MustCompile(`(?m)^(VM +DEVICE.* STATE) .*|^(web .* protected) .*`), "$1$2 FIGURES"},
	{"how much was dropped for the same reason", regexp.MustCompile(`dropped from the VM: .*\b(arp-target) \d+.*`), "dropped from the VM: $1"},
	{"when an address was used last", regexp.MustCompile(`,\s+used\s+(just\s+now|\d+\s+\w+\s+ago)`), ", USED"},
	{"the number of a VM's start", regexp.MustCompile(`(?m)^ \d+( +web)`), " N$1"},
}

// normal is an answer without what differs.
func normal(answer string) string {
	for _, v := range variable {
		answer = v.pattern.ReplaceAllString(answer, v.same)
	}
	return answer
}
