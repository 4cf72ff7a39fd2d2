package main

import (
	"bytes"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/status"
)

// A keyboard is the terminal that a person types at. golang.org/x/term can only switch off all
// that a terminal does, Ctrl-C and Ctrl-Z included, which are wanted here.
type keyboard struct {
	*terminal
	usual *unix.Termios // while the terminal waits for no end of line and shows no keys
	keys  chan string
}

// keyboardOf gives the keyboard that a command reads, nil for none.
func keyboardOf(std streams) *keyboard {
	in, ok := fileOf(std.in)
	if !ok {
		return nil
	}
	k := &keyboard{terminal: &terminal{in}, keys: make(chan string)}
	if _, err := unix.IoctlGetTermios(int(k.Fd()), unix.TCGETS); err != nil || !k.ours() {
		return nil
	}
	go k.read()
	return k
}

// ours reports whether a job in the foreground may use the terminal: others would be stopped.
func (k *keyboard) ours() bool {
	group, err := unix.IoctlGetInt(int(k.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp() // not the controlling one: nobody else's
}

// take has each key come at once, and unseen.
func (k *keyboard) take() {
	if k == nil || k.usual != nil || !k.ours() {
		return
	}
	now, err := unix.IoctlGetTermios(int(k.Fd()), unix.TCGETS)
	if err != nil {
		return
	}
	at := *now
	at.Lflag &^= unix.ICANON | unix.ECHO
	at.Cc[unix.VMIN], at.Cc[unix.VTIME] = 1, 0
	if unix.IoctlSetTermios(int(k.Fd()), unix.TCSETS, &at) == nil {
		k.usual = now
	}
}

// leave gives the keyboard back as it was.
func (k *keyboard) leave() {
	if k == nil || k.usual == nil {
		return
	}
	_ = unix.IoctlSetTermios(int(k.Fd()), unix.TCSETS, k.usual) // it may be gone
	k.usual = nil
}

// pressed gives what is typed, nothing without a keyboard.
func (k *keyboard) pressed() <-chan string {
	if k == nil {
		return nil
	}
	return k.keys
}

// read reads keys until there is no terminal any more.
func (k *keyboard) read() {
	buffer := make([]byte, 64)
	for {
		n, err := k.Read(buffer)
		if err != nil || n == 0 {
			return
		}
		for _, key := range keysIn(buffer[:n]) {
			k.keys <- key
		}
	}
}

// keyName names keys that send more than a sign, as xterm's (ctlseqs, "PC-Style Function Keys")
// and the Linux console's do; any other is its own name.
func keyName(sent string) string {
	switch sent {
	case "\x1b[A", "\x1bOA":
		return "up"
	case "\x1b[B", "\x1bOB":
		return "down"
	case "\x1b[5~":
		return "page up"
	case "\x1b[6~":
		return "page down"
	case "\x1b[H", "\x1bOH", "\x1b[1~":
		return "home"
	case "\x1b[F", "\x1bOF", "\x1b[4~":
		return "end"
	}
	return sent
}

// keysIn takes apart what came at once: signs, and keys by their names.
func keysIn(b []byte) (keys []string) {
	for len(b) > 0 {
		n := 1
		if b[0] == 0x1b && len(b) > 2 && (b[1] == '[' || b[1] == 'O') { // to the final byte, ECMA-48, 5.4
			if end := bytes.IndexFunc(b[2:], func(r rune) bool { return r >= 0x40 && r <= 0x7e }); end >= 0 {
				n = end + 3
			}
		}
		keys, b = append(keys, keyName(string(b[:n]))), b[n:]
	}
	return keys
}

// press does what a key asks for, and reports whether that is the end.
func (p *page) press(key string) (ends bool, err error) {
	if p.terminal == nil || p.stopped || p.last == nil {
		return key == "q", nil
	}
	_, lines := p.terminal.size()
	whole := max(lines-pageFrame, 1)
	switch key {
	case "q":
		return true, nil
	case "down", "j":
		p.first++
	case "up", "k":
		p.first--
	case "page down", " ":
		p.first += whole
	case "page up", "b":
		p.first -= whole
	case "home", "g":
		p.first = 0
	case "end", "G":
		p.first = len(p.last.Interfaces)
	case "s":
		all := status.Orders()
		p.order = all[(slices.Index(all, p.order)+1)%len(all)]
		p.first = 0
	default:
		return false, nil
	}
	return false, p.draw()
}

// pageFrame is about what a page has of lines that are no interface's.
const pageFrame = 6

// keysLine says which keys there are.
func (p *page) keysLine() string {
	if p.keyboard == nil {
		return ""
	}
	return fmt.Sprintf("q quit, s sort (by %s), up and down", p.order)
}
