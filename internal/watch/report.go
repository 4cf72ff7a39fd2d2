package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/patience"
)

// A Report is what a running watch says of itself and of the devices.
type Report struct {
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`   // when it began to watch
	Config  string    `json:"config"`  // why the last good configuration is in force, "" for the file's
	Libvirt string    `json:"libvirt"` // why libvirt does not say whose devices are, "" when it does
	Guard   bool      `json:"guard"`   // one stands, and it owns it
	Devices []Device  `json:"devices"` // by index
}

// A Device is a macvtap device as watch sees it.
type Device struct {
	Index   int       `json:"index"`
	Name    string    `json:"name"`
	UUID    string    `json:"uuid"`    // of its VM, "" when nobody said
	VM      string    `json:"vm"`      // its name
	Section string    `json:"section"` // what the [[device]] section calls it that it has its policy of, "" for none
	Number  int       `json:"number"`  // the interface's place in the domain XML, from 1; 0 when nobody said
	Policy  string    `json:"policy"`  // that its rules follow, "" for none
	Check   bool      `json:"check"`   // its offloads are to be checked
	State   State     `json:"state"`
	Problem string    `json:"problem"` // why no rules could be made, "" for nothing
	Address string    `json:"address"` // that it has another MAC address than its rules are made for, "" for no
	Kept    string    `json:"kept"`    // why it has rules though it is on no configured parent, "" where it is on one
	Since   time.Time `json:"since"`   // when the state began, or watch did
	Known   []Known   `json:"known"`   // the addresses that rules have learned of its VM, as last read
}

// A Known is an address that rules take for a VM's own, since they learned it.
type Known struct {
	Address netip.Addr `json:"address"`
	Since   time.Time  `json:"since"` // when watch first read it: within rememberEvery of its coming, or as it began
}

// KnownSince says since when an address is known to be a device's VM's own, nil where nobody
// can tell.
func (r Report) KnownSince(index int, address netip.Addr) *time.Time {
	for _, d := range r.Devices {
		for _, k := range d.Known {
			if d.Index == index && k.Address == address {
				return &k.Since
			}
		}
	}
	return nil
}

// A State is how a device's rules are.
type State string

// The states. What others change is seen, and mended, as fast as the kernel tells.
const (
	Right   State = "right"   // what should stand was seen to stand, and nobody touched it since
	Mending State = "mending" // it is about to be programmed
	Left    State = "left"    // what stands is its hook's, or older, or nothing does: none better could be made
	Closed  State = "closed"  // no rules could be made, and nothing passes
	Open    State = "open"    // it is on no configured parent
)

// enter notes the state that a device is in now.
func (d *device) enter(s State) {
	if d.state != s {
		d.state, d.since = s, time.Now()
	}
}

// state tells what is known now.
func (w *watcher) state() Report {
	r := Report{PID: os.Getpid(), Since: w.began, Config: w.wrong["configuration"], Libvirt: w.wrong["libvirt"], Guard: w.guard != nil}
	for _, d := range w.devices {
		r.Devices = append(r.Devices, Device{
			Index: d.Index, Name: d.Name, UUID: d.uuid, VM: d.vm, Section: d.section, Number: d.number, Policy: d.policy, Check: d.check,
			State: d.state, Problem: d.problem, Kept: d.kept, Address: d.address, Since: d.since, Known: w.learned[d.Index].known(),
		})
	}
	slices.SortFunc(r.Devices, func(a, b Device) int { return a.Index - b.Index })
	return r
}

// serve answers everybody who connects to the socket with a report, until ctx ends.
// Only root can. The reports come from the loop: a watch that hangs says nothing.
func serve(ctx context.Context, tell func(event)) error {
	name, err := socketName()
	if err != nil {
		return err
	}
	listener, err := ListenAt(name)
	if err != nil {
		return fmt.Errorf("the socket that watch reports on: %w", err)
	}
	accept(ctx, listener, func(conn net.Conn) {
		tell(func(w *watcher) {
			r := w.state()
			go answer(conn, r)
		})
	})
	return nil
}

func answer(conn net.Conn, r Report) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(patience.Report)) == nil {
		_ = json.NewEncoder(conn).Encode(r) // who asked may have gone
	}
}

// Ask asks the watch of the caller's network namespace. It is ErrNotRunning when
// there is none.
func Ask(ctx context.Context) (Report, error) {
	var r Report
	name, err := socketName()
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience.Report)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return r, ErrNotRunning
	}
	if err != nil {
		return r, fmt.Errorf("ask watch: %w", err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return r, fmt.Errorf("ask watch: %w", err)
	}
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return r, fmt.Errorf("ask watch: %w: it runs, and does not answer", err)
	}
	return r, nil
}

// ErrNotRunning says that no watch runs.
var ErrNotRunning = errors.New("no watch runs (systemctl start macvtap-filter-watch)")

// socketName gives the socket beside the lock.
func socketName() (string, error) {
	name, err := lockName()
	return strings.TrimSuffix(name, ".lock") + ".sock", err
}
