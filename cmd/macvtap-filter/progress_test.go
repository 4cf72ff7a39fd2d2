package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal gives the two ends of a terminal so many columns wide (pty(7)).
func openTerminal(t *testing.T, columns uint16) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return person, program
}

// seen gives all that came to a terminal whose program has ended.
func seen(t *testing.T, person, program *os.File) string {
	t.Helper()
	program.Close()
	text, err := io.ReadAll(person) // it ends with EIO
	if len(text) == 0 && err != nil && !strings.Contains(err.Error(), "input/output error") {
		t.Fatal(err)
	}
	return string(text)
}

// On a terminal, the steps are shown and what is said stands above them; at the end
// nothing of them is left.
func TestProgress(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1") // there is no colour in it to forbid
	person, program := openTerminal(t, 40)
	p, std := startProgress(streams{nil, io.Discard, program}, 3)
	if p == nil {
		t.Fatal("no progress on a terminal")
	}
	p.step(0, "web-1")
	notef(std, "VM %q is protected", "web-1")
	p.step(1, "\x1b[31mred\n"+strings.Repeat("x", 100))
	p.step(2, "web-3")
	p.end()
	text := seen(t, person, program)
	if strings.Contains(text, "\x1b[31m") {
		t.Errorf("a VM's name commands the terminal: %q", text)
	}
	if screen := play(t, text, 40); screen != "macvtap-filter: VM \"web-1\" is protected\n" {
		t.Errorf("what is left on the screen:\n%q\nof %q", screen, text)
	}
	shows := []string{}
	for _, part := range strings.Split(text, "\r\x1b[K") {
		if strings.HasPrefix(part, "macvtap-filter: ") && !strings.HasSuffix(part, "protected\r\nmacvtap-filter: 1 of 3: \"web-1\"") {
			shows = append(shows, part)
		}
	}
	want := []string{`macvtap-filter: 1 of 3: "web-1"`, `macvtap-filter: 2 of 3: "\x1b[31mred\nxx`[:39], `macvtap-filter: 3 of 3: "web-3"`}
	if strings.Join(shows, "|") != strings.Join(want, "|") {
		t.Errorf("shown were %q, want %q", shows, want)
	}
}

// play gives what stands on a screen after a text, which must wrap nowhere.
func play(t *testing.T, text string, columns int) string {
	t.Helper()
	lines := []string{""}
	for text != "" {
		last := &lines[len(lines)-1]
		switch {
		case strings.HasPrefix(text, "\r\x1b[K"):
			*last, text = "", text[4:]
		case strings.HasPrefix(text, "\r\n"):
			lines, text = append(lines, ""), text[2:]
		default:
			*last, text = *last+text[:1], text[1:]
			if len(*last) > columns {
				t.Fatalf("a line wraps: %q", *last)
			}
		}
	}
	return strings.Join(lines, "\n")
}

// Where it could not be taken back, nothing of it is written.
func TestNoProgress(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	_, program := openTerminal(t, 80)
	for _, test := range []struct {
		name  string
		err   io.Writer
		term  string
		steps int
	}{
		{"a file", file, "xterm", 2},
		{"no file", io.Discard, "xterm", 2},
		{"a terminal that is only paper", program, "dumb", 2},
		{"a terminal of no kind", program, "", 2},
		{"one step", program, "xterm", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("TERM", test.term)
			p, std := startProgress(streams{nil, io.Discard, test.err}, test.steps)
			if p != nil || std.err != test.err {
				t.Error("there is a progress")
			}
			p.step(0, "nothing")
			p.end()
		})
	}
}
