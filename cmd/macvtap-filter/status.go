package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/near"
	"macvtap-filter/internal/patience"
	"macvtap-filter/internal/status"
)

const statusUsage = `usage: macvtap-filter status [--watch[=SECONDS]] [--json] [VM…]

Shows every macvtap interface: whose it is, whether its rules stand, what passed
and what was dropped, by reason. Without arguments, of all VMs. A state is

  protected      the rules that should stand do
  drifted        others do
  unprotected    none do
  stale          rules of a device that is gone, or of no running VM
  unknown owner  nobody knows whose it is: the default policy's rules stand
  unfiltered     its NIC is none of the parents, and it should have no rules
  unknown        nobody could tell: what is missing is noted on standard error

Where watch runs, it vouches for the rules; else they are compared with those that
should stand, which takes a second or two for a thousand interfaces. libvirt is
asked only for what nobody else knows. What passed to the VM is what arrived less
what the rules that stand have dropped.

Exits 0 when every interface is protected or unfiltered, 1 when one is not, nobody
could tell or a name in parents is no NIC of this host, 2 for wrong usage.

  --watch[=SECONDS]  look again every 2 seconds, or so many, in place on a terminal,
                     and show what passes each second; until it is interrupted (0), or
                     by the keys q quit, s sort by another column, arrows, Page Up and
                     Down, Home and End scroll
  --json             print what is known as JSON, as macvtap-filter(8) describes it;
                     with --watch an object a line
  --config FILE      another configuration

example: macvtap-filter status --watch web-1
`

// An interval is the value of the flag --watch[=SECONDS], "true" without one, and ""
// without the flag.
type interval string

// The bounds of an interval.
const (
	usualInterval = 2 * time.Second
	leastInterval = 100 * time.Millisecond
	mostInterval  = 24 * time.Hour
)

// String implements flag.Value.
func (i *interval) String() string { return "" }

// IsBoolFlag lets the flag stand without a value.
func (i *interval) IsBoolFlag() bool { return true }

// Set implements flag.Value.
func (i *interval) Set(text string) error {
	*i = interval(text)
	return nil
}

// duration gives the interval, 0 without the flag.
func (i *interval) duration() (time.Duration, error) {
	switch *i {
	case "":
		return 0, nil
	case "true":
		return usualInterval, nil
	}
	seconds, err := strconv.ParseFloat(string(*i), 64)
	if err != nil || !(seconds >= leastInterval.Seconds() && seconds <= mostInterval.Seconds()) {
		return 0, fmt.Errorf("--watch=%s: want seconds from %g to %g, such as --watch=0.5", *i, leastInterval.Seconds(), mostInterval.Seconds())
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// showStatus says how the interfaces are.
func showStatus(ctx context.Context, std streams, o options, args []string) error {
	// Who reads may go at any time: that is no failure.
	signal.Ignore(syscall.SIGPIPE)
	every, err := o.interval.duration()
	if err != nil {
		return badInput(err)
	}
	c := &statusCommand{std: std, options: o, vms: args, every: every}
	if every > 0 {
		err = c.watch()
	} else {
		err = c.once(ctx)
	}
	if errors.Is(err, unix.EPIPE) {
		err = nil
	}
	if err == nil && c.wrong {
		return errTold
	}
	return err
}

type statusCommand struct {
	std     streams
	options options
	vms     []string      // of these only; none: of all
	every   time.Duration // --watch; 0: once

	wrong bool // something is to be mended, or nobody could tell
}

// once looks, and looks again at what is not right: a VM that starts or stops while we
// look is as it should be a moment later.
func (c *statusCommand) once(ctx context.Context) error {
	all := c.collect(ctx)
	if err := c.known(ctx, all); err != nil {
		return err
	}
	s := c.recheck(ctx, all)
	c.wrong = !s.Right() || blind(s)
	if !c.options.json {
		for _, note := range s.Notes {
			warningf(c.std, "%s", shown(note))
		}
	}
	return c.print(s, nil)
}

// recheck gives what is wanted of what was found, and looks again where that is not right.
func (c *statusCommand) recheck(ctx context.Context, found status.Status) status.Status {
	s := c.wanted(found)
	if !s.Right() {
		time.Sleep(transient)
		s = c.wanted(c.collect(ctx))
	}
	return s
}

// transient is how long a VM's start or end may leave its interface without rules, or
// rules without an interface, as others see it.
const transient = 200 * time.Millisecond

// blind reports whether nobody could even look for interfaces.
func blind(s status.Status) bool { return !s.Complete && len(s.Interfaces) == 0 }

// collect looks at all interfaces.
func (c *statusCommand) collect(ctx context.Context) status.Status {
	return status.Collect(ctx, status.Options{
		ConfigFile: c.options.config,
		Connect: func(ctx context.Context) (status.Libvirt, error) {
			client, err := libvirt.Dial(ctx)
			if err != nil {
				return nil, err // and no *libvirt.Client that is nil
			}
			return client, nil
		},
	})
}

// wanted keeps the interfaces of the VMs that were named.
func (c *statusCommand) wanted(s status.Status) status.Status {
	if len(c.vms) > 0 {
		s.Interfaces = slices.DeleteFunc(s.Interfaces, func(i status.Interface) bool { return !slices.ContainsFunc(c.vms, i.Is) })
	}
	return s
}

// known says which of the VMs that were named has no interface.
func (c *statusCommand) known(ctx context.Context, s status.Status) error {
	for _, name := range c.vms {
		if !slices.ContainsFunc(s.Interfaces, func(i status.Interface) bool { return i.Is(name) }) {
			return noSuch(ctx, s, name)
		}
	}
	return nil
}

// noSuch says what is known of a VM of which no interface is.
func noSuch(ctx context.Context, s status.Status, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience.Status)
	defer cancel()
	client, err := libvirt.Dial(ctx)
	if err == nil {
		defer client.Close()
		var xml string
		if xml, err = client.LiveXML(ctx, name); err == nil {
			return unseen(s, name, xml)
		}
		if errors.Is(err, libvirt.ErrUnknown) || errors.Is(err, libvirt.ErrNotRunning) {
			return err
		}
	}
	return fmt.Errorf("VM %q: no interface of such a VM is known%s (%w)", name, meant(name, s.Interfaces, func(i status.Interface) string { return i.VM }), err)
}

// meant asks whether another VM, of those that all are of, was meant; it is "" where none is like it.
func meant[T any](name string, all []T, vm func(T) string) string {
	var names []string
	for _, one := range all {
		names = append(names, vm(one))
	}
	if n := near.Name(name, names); n != "" {
		return fmt.Sprintf(", did you mean %q?", n)
	}
	return ""
}

// unseen says why no interface of a VM that runs was seen.
func unseen(s status.Status, name, xml string) error {
	d, err := parseNamed(name, strings.NewReader(xml))
	switch {
	case err != nil:
		return err
	case len(d.Direct) == 0:
		return fmt.Errorf("VM %q: it runs, and has no macvtap interface", name)
	}
	return fmt.Errorf("VM %q: it runs with %s, of which nothing is known here: %s", name, d.Direct[0], shown(strings.Join(s.Notes, "; ")))
}

// print writes what was found, in one go.
func (c *statusCommand) print(s status.Status, rates map[int]status.Rates) error {
	text, err := c.text(s, rates)
	if err == nil {
		_, err = io.WriteString(c.std.out, text)
	}
	return err
}

func (c *statusCommand) text(s status.Status, rates map[int]status.Rates) (string, error) {
	if c.options.json {
		return statusJSON(s, c.every == 0)
	}
	view := status.View{Rates: rates}
	if t := terminalOf(c.std.out); t != nil {
		view.Columns, _ = t.size()
		view.Colour = t.colours()
	}
	return view.Text(s), nil
}

// statusJSON writes the documented form: on lines of its own each, or on one. What a
// terminal would obey is escaped in it.
func statusJSON(s status.Status, indent bool) (string, error) {
	text, err := json.Marshal(s)
	if err == nil && indent {
		text, err = json.MarshalIndent(s, "", "  ")
	}
	if err != nil {
		return "", err
	}
	return escapeJSON(text) + "\n", nil
}

// escapeJSON escapes in JSON what a terminal would obey.
func escapeJSON(text []byte) string {
	var out bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// shown makes a message fit for a terminal: it may hold a VM's name.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// A terminal is one that shows what is written to it.
type terminal struct{ *os.File }

// terminalOf gives the terminal that a stream goes to, nil for none.
func terminalOf(w io.Writer) *terminal {
	file, ok := fileOf(w)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return &terminal{file}
}

// size gives the columns and lines; where the terminal does not say, the usual ones.
func (t *terminal) size() (columns, lines int) {
	size, err := unix.IoctlGetWinsize(int(t.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return 80, 24
	}
	return int(size.Col), int(size.Row)
}

// colours reports whether the person wants them (https://no-color.org).
func (t *terminal) colours() bool { return os.Getenv("NO_COLOR") == "" && t.capable() }

// capable reports whether the terminal knows ECMA-48's sequences.
func (t *terminal) capable() bool {
	term := os.Getenv("TERM")
	return term != "" && term != "dumb"
}
