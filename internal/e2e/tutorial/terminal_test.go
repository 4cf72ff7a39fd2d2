//go:build e2e

package tutorial

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/creack/pty"
)

// mark stands before each prompt: what terminals know as the place where one begins (OSC 133, of FinalTerm).
const mark = "\x1b]133;A\a"

// A terminal has a shell on it.
type terminal struct {
	pty   *os.File
	shell *exec.Cmd
}

// login is a shell that is nobody's but the machine's, on a terminal that does not show again what is typed.
var login = []string{"sh", "-c", "cd && stty -echo && exec bash --norc --noprofile --noediting -i"}

// open starts a shell on a terminal.
func open(shell *exec.Cmd) (*terminal, error) {
	shell.Env = append(shell.Env, `PS1=\[\e]133;A\a\]root@host:\w# `, "TERM=dumb")
	tty, err := pty.StartWithSize(shell, &pty.Winsize{Rows: 50, Cols: 120})
	if err != nil {
		return nil, fmt.Errorf("a terminal: %w", err)
	}
	return &terminal{pty: tty, shell: shell}, nil
}

func (term *terminal) close() error {
	_ = term.shell.Process.Kill()
	_ = term.shell.Wait() // it says "killed"
	return term.pty.Close()
}

// prompt reads until the shell asks for a command, and gives what came before, and the prompt.
func (term *terminal) prompt() (answer, prompt string, err error) {
	if err := term.pty.SetReadDeadline(time.Now().Add(bound)); err != nil {
		return "", "", err
	}
	var all []byte
	buffer := make([]byte, 4096)
	for {
		before, after, found := bytes.Cut(all, []byte(mark))
		if found && bytes.HasSuffix(after, []byte("# ")) {
			return shown(string(before)), string(after), nil
		}
		n, err := term.pty.Read(buffer)
		if err != nil {
			return "", "", fmt.Errorf("no prompt: %w; the terminal shows\n%s", err, shown(string(all)))
		}
		all = append(all, buffer[:n]...)
	}
}

// enter types a line.
func (term *terminal) enter(line string) error {
	_, err := term.pty.WriteString(line + "\n")
	return err
}

// escape is a control sequence: of colours and the like (ECMA-48), or a title (OSC).
var escape = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]|\x1b\\][^\a\x1b]*(\a|\x1b\\\\)|\x1b[=>78]")

// eraseLine clears a line from the cursor on.
var eraseLine = regexp.MustCompile("\x1b\\[0?K")

// shown is what stands on a terminal's screen after some output: a line that was written over is its last, whatever
// colour it has.
func shown(output string) string {
	var out strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(output, "\r\n", "\n")) {
		text, end := strings.CutSuffix(line, "\n")
		var cells []rune
		column := 0
		text = escape.ReplaceAllString(eraseLine.ReplaceAllString(text, "\x7f"), "")
		for _, r := range text {
			switch {
			case r == '\r':
				column = 0
			case r == '\b':
				column = max(column-1, 0)
			case r == '\x7f':
				cells = cells[:min(column, len(cells))]
			case column < len(cells):
				cells[column] = r
				column++
			default:
				cells = append(cells, r)
				column++
			}
		}
		out.WriteString(strings.TrimRight(string(cells), " "))
		if end {
			out.WriteByte('\n')
		}
	}
	return out.String()
}
