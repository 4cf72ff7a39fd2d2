package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/status"
)

// watch looks again and again until it is interrupted: in place on a terminal, and one
// block after the other elsewhere.
func (c *statusCommand) watch() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGWINCH)
	defer signal.Stop(signals)
	page := &page{command: c, order: status.Orders()[0]}
	if t := terminalOf(c.std.out); t != nil && t.capable() && !c.options.json {
		page.terminal, page.keyboard = t, keyboardOf(c.std)
	}
	defer page.leave()
	ticker := time.NewTicker(c.every)
	defer ticker.Stop()
	for {
		if err := page.look(); err != nil {
			return err
		}
		for waiting := true; waiting; {
			select {
			case <-ticker.C:
				waiting = page.stopped
			case s := <-signals:
				ends, err := page.obey(s)
				if ends || err != nil {
					return err
				}
			case key := <-page.keyboard.pressed():
				ends, err := page.press(key)
				if ends || err != nil {
					return err
				}
			}
		}
	}
}

// A page is what --watch shows.
type page struct {
	command  *statusCommand
	terminal *terminal // nil: blocks, one after the other
	keyboard *keyboard // nil: nobody types
	entered  bool
	stopped  bool // from SIGTSTP to SIGCONT: the shell has the terminal

	last  *status.Status
	rates map[int]status.Rates

	order status.Order
	first int // interface that is shown
}

// look looks and shows.
func (p *page) look() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	all := p.command.collect(ctx)
	if p.last == nil {
		// A VM that stops later may come back.
		if err := p.command.known(ctx, all); err != nil {
			return err
		}
	}
	s := p.command.wanted(all)
	p.rates = map[int]status.Rates{}
	if p.last != nil {
		p.rates = status.RatesBetween(*p.last, s)
	}
	first := p.last == nil
	p.last = &s
	if p.terminal != nil {
		return p.draw()
	}
	if p.command.options.json {
		return p.command.print(s, nil)
	}
	view := status.View{Rates: p.rates, Title: title(s), Notes: true}
	if t := terminalOf(p.command.std.out); t != nil { // one that cannot go back
		view.Columns, _ = t.size()
	}
	text := view.Text(s)
	if !first {
		text = "\n" + text
	}
	_, err := io.WriteString(p.command.std.out, text)
	return err
}

func title(s status.Status) string {
	return "macvtap-filter status, " + s.Time.Format("2006-01-02 15:04:05")
}

// The sequences that --watch uses: xterm's other screen, which keeps what the person
// had before (ctlseqs, DECSET 1049), the cursor's visibility (DECTCEM), and ECMA-48's
// that go to the first place, erase what is left of a line, and of the screen.
const (
	enterPage = "\x1b[?1049h\x1b[?25l"
	leavePage = "\x1b[?25h\x1b[?1049l"
	firstLine = "\x1b[H"
	endOfLine = "\x1b[K"
	endOfPage = "\x1b[J"
)

// draw writes over what is shown, in one go, so that nothing flickers.
func (p *page) draw() error {
	var out strings.Builder
	if !p.entered {
		out.WriteString(enterPage)
		p.entered = true
		p.keyboard.take()
	}
	p.first = max(min(p.first, len(p.last.Interfaces)-1), 0)
	columns, lines := p.terminal.size()
	view := status.View{
		Columns: columns, Lines: lines, Colour: p.terminal.colours(), Rates: p.rates, Notes: true,
		Title: fmt.Sprintf("%s, every %s", title(*p.last), p.command.every), Help: p.keysLine(), Order: p.order, First: p.first,
	}
	text := strings.Split(strings.TrimSuffix(view.Text(*p.last), "\n"), "\n")
	text = text[:min(len(text), lines)]
	// A line is erased first: behind one that fills it, its last sign would go.
	out.WriteString(firstLine + endOfLine + strings.Join(text, "\r\n"+endOfLine) + endOfPage)
	_, err := io.WriteString(p.terminal, out.String())
	return err
}

// leave gives the terminal back.
func (p *page) leave() {
	if p.entered {
		p.entered = false
		p.keyboard.leave()
		_, _ = io.WriteString(p.terminal, leavePage) // it may be gone
	}
}

// obey does what a signal asks for, and reports whether that is the end.
func (p *page) obey(s os.Signal) (ends bool, err error) {
	switch s {
	case syscall.SIGTSTP:
		p.leave()
		p.stopped = true
		return false, unix.Kill(os.Getpid(), unix.SIGSTOP)
	case syscall.SIGCONT:
		p.stopped = false
	case syscall.SIGWINCH:
	default:
		return true, nil
	}
	if p.terminal == nil || p.stopped {
		return false, nil
	}
	return false, p.draw()
}
