package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/drops"
	"macvtap-filter/internal/status"
)

const logUsage = `usage: macvtap-filter log [--follow [--for TIME]] [--json] [VM…]

Shows what the rules dropped: of which VM, interface, direction and reason, how often.
Without arguments, of all VMs and of all devices that a [[device]] section is for.

  --follow       show what is dropped as it happens, until Ctrl-C: a line when something
                 is dropped first, with the peer, the service, the entry or key of the
                 configuration that is the reason, with its file and line, and what would
                 open it; then, every 3 seconds at most, how many more there were. Of
                 many frames the kernel tells a part: then it is "at least" so many, and
                 those of which nothing else is known are counted, too. Only root can
  --for TIME     end by itself after a time such as 10s
  --json         print an object a line, as macvtap-filter(8) describes it
  --config FILE  another configuration

example: macvtap-filter log --follow web-1
`

// A dropLine is a line of "log", in its documented form.
type dropLine struct {
	Time      time.Time `json:"time"`
	VM        string    `json:"vm,omitempty"`
	UUID      string    `json:"uuid,omitempty"`
	Section   string    `json:"section,omitempty"`
	Device    string    `json:"device"`
	Direction string    `json:"direction"`
	Reason    string    `json:"reason"`
	Peer      string    `json:"peer,omitempty"`
	Service   string    `json:"service,omitempty"`
	Packets   uint64    `json:"packets"`
	AtLeast   bool      `json:"at_least,omitempty"`
	First     bool      `json:"first,omitempty"`
	Why       string    `json:"why,omitempty"`
	Frame     string    `json:"frame,omitempty"`
}

// A dropLog shows what is dropped.
type dropLog struct {
	std     streams
	options options
	status  *statusCommand
}

// showLog shows what was dropped, or what is from now on.
func showLog(ctx context.Context, std streams, o options, args []string) error {
	switch {
	case o.long < 0:
		return badInput(fmt.Errorf("--for %v: want a time such as 10s", o.long))
	case o.long > 0 && !o.follow:
		return badInput(errors.New("--for says how long to --follow"))
	}
	signal.Ignore(syscall.SIGPIPE) // who reads may go at any time
	l := &dropLog{std: std, options: o, status: &statusCommand{std: std, options: o, vms: args}}
	var err error
	if o.follow {
		err = l.follow(ctx)
	} else {
		err = l.once(ctx)
	}
	if errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}

// once shows what the counters say.
func (l *dropLog) once(ctx context.Context) error {
	s, err := l.look(ctx, true)
	if err != nil {
		return err
	}
	any := false
	for _, i := range s.Interfaces {
		for of, d := range counters(i) {
			if d.Packets == 0 {
				continue
			}
			any = true
			r := drops.Report{Cause: drops.Cause{Counter: of}, Packets: d.Packets}
			if err := l.print(line(s.Time, i, r), "%d"); err != nil {
				return err
			}
		}
	}
	if !any {
		notef(l.std, "nothing was dropped")
	}
	return nil
}

// look gives the interfaces that are wanted and have rules, with what these counted.
func (l *dropLog) look(ctx context.Context, first bool) (status.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	s := l.status.collect(ctx)
	if first {
		if err := l.status.known(ctx, s); err != nil {
			return s, err
		}
	}
	s = l.status.wanted(s)
	for _, i := range s.Interfaces {
		if i.FromVM.Drops == nil || i.ToVM.Drops == nil {
			return s, fmt.Errorf("what was dropped is not known: %s", shown(strings.Join(s.Notes, "; ")))
		}
	}
	if blind(s) {
		return s, fmt.Errorf("nobody could look for interfaces: %s", shown(strings.Join(s.Notes, "; ")))
	}
	return s, nil
}

// counters gives an interface's counters in their order, those from the VM first.
func counters(i status.Interface) func(func(drops.Counter, status.Drop) bool) {
	return func(yield func(drops.Counter, status.Drop) bool) {
		for _, way := range []struct {
			out  bool
			flow status.Flow
		}{{true, i.FromVM}, {false, i.ToVM}} {
			for _, d := range way.flow.Drops {
				if !yield(drops.Counter{Device: i.Device, Out: way.out, Reason: d.Reason}, d) {
					return
				}
			}
		}
	}
}

// line is a report on an interface.
func line(at time.Time, i status.Interface, r drops.Report) dropLine {
	return dropLine{
		Time: at, VM: i.VM, UUID: i.UUID, Section: i.Section, Device: r.Device,
		Direction: map[bool]string{true: "from-vm", false: "to-vm"}[r.Out],
		Reason:    r.Reason, Peer: r.Peer, Service: r.Service, Packets: r.Packets, AtLeast: r.AtLeast, First: r.First,
	}
}

// print writes a line, for people with their number in words.
func (l *dropLog) print(d dropLine, number string) error {
	if l.options.json {
		var text bytes.Buffer
		to := json.NewEncoder(&text)
		to.SetEscapeHTML(false)
		err := to.Encode(d)
		if err == nil {
			_, err = io.WriteString(l.std.out, escapeJSON(text.Bytes()))
		}
		return err
	}
	_, err := io.WriteString(l.std.out, d.text(number))
	return err
}

func (d dropLine) text(number string) string {
	whose := d.VM
	switch {
	case d.Section != "":
		whose = "device " + d.Section
	case whose == "":
		whose = d.UUID
	}
	var words []string
	for _, w := range []string{whose, d.Device, d.Direction, d.Reason, d.Peer, d.Service} {
		if w != "" {
			words = append(words, w)
		}
	}
	if d.AtLeast {
		number = "at least " + number
	}
	if strings.Contains(number, "%d") {
		number = fmt.Sprintf(number, d.Packets)
	}
	text := fmt.Sprintf("%s %s: %s", d.Time.Format("15:04:05"), strings.Join(words, " "), number)
	text = shown(text) + "\n"
	if d.Why != "" {
		text += "  reason: " + shown(d.Why) + "\n"
	}
	if d.Frame != "" {
		text += "  frame: " + d.Frame + "\n"
	}
	return text
}
