package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// A progress is a last line on a terminal that says how far a command of many steps
// is. It uses no colour. What the command itself says goes above it.
type progress struct {
	terminal *os.File
	of       int // steps in all

	lock sync.Mutex
	line string // what stands there, "" for nothing
}

// startProgress gives a progress of so many steps, and the streams that the command has
// to use meanwhile. Where standard error is no terminal that can take a line back, or
// there is no more than one step, there is none: nil, which shows nothing.
func startProgress(std streams, steps int) (*progress, streams) {
	terminal, ok := std.err.(*os.File)
	if !ok || steps < 2 || !canTakeBack(terminal) {
		return nil, std
	}
	p := &progress{terminal: terminal, of: steps}
	out := std.out
	if file, ok := fileOf(std.out); ok && canTakeBack(file) {
		out = above{p, file}
	}
	return p, streams{std.in, out, above{p, terminal}}
}

// canTakeBack reports whether a file is a terminal that knows how to erase a line.
func canTakeBack(file *os.File) bool {
	if term := os.Getenv("TERM"); term == "" || term == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// step says which step begins, from 0 on, and what it is about.
func (p *progress) step(number int, about string) {
	if p == nil {
		return
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	p.erase()
	// A name may hold anything, the terminal's commands too.
	p.line = fmt.Sprintf("macvtap-filter: %d of %d: %s", number+1, p.of, strconv.QuoteToASCII(about))
	p.draw()
}

// end takes the line away.
func (p *progress) end() {
	if p == nil {
		return
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	p.erase()
	p.line = ""
}

// draw shows the line, as much of it as there is room for: one that wraps could not be
// taken back.
func (p *progress) draw() {
	width := 80
	if size, err := unix.IoctlGetWinsize(int(p.terminal.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		width = int(size.Col)
	}
	fmt.Fprint(p.terminal, p.line[:min(len(p.line), width-1)])
}

func (p *progress) erase() {
	if p.line != "" {
		fmt.Fprint(p.terminal, "\r\x1b[K") // ECMA-48: erase to the end of the line
	}
}

// above writes whole lines above the progress.
type above struct {
	p *progress
	w io.Writer
}

// Write implements io.Writer.
func (a above) Write(text []byte) (int, error) {
	a.p.lock.Lock()
	defer a.p.lock.Unlock()
	a.p.erase()
	n, err := a.w.Write(text)
	a.p.draw()
	return n, err
}
