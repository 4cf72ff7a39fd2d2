package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/hook"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/watch"
)

// A NIC that is plugged in has no device yet when libvirt tells its hook of networks, and libvirt
// waits for the hook. So the hook leaves a process behind, which makes the NIC's rules when it is
// there.

// startFollower starts that process. It has nothing of libvirt's: a hook's child that keeps one of
// its files open has libvirt wait for it. In systemd's eyes it is a process of libvirt's
// service, whose restart lets others live (KillMode=process).
func startFollower(port domain.Port) error {
	if err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close libvirt's files: %w", err)
	}
	follower := exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{os.Args[0], port.VM, hook.Followed, "begin", port.MAC.String()},
		Dir:         "/",
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := follower.Start(); err != nil {
		return err
	}
	return follower.Process.Release()
}

// follow waits for a NIC that was plugged into a running VM and makes its rules. Where watch
// runs, that does it.
func (h *hookCall) follow(ctx context.Context) error {
	mac, err := net.ParseMAC(h.Extra)
	if err != nil {
		return badInput(fmt.Errorf("VM %q: %w", h.Domain, err))
	}
	if _, err := watch.Ask(ctx); err == nil {
		return nil
	}
	events := make(chan struct{}, 1)
	_, err = host.Subscribe(ctx, func(e host.Event) {
		if e.Index == 0 && !e.Lost {
			return // of no device
		}
		select {
		case events <- struct{}{}:
		default: // it will look anyway
		}
	})
	if err != nil {
		return fmt.Errorf("VM %q: %w", h.Domain, err)
	}
	f := follower{hookCall: h, mac: mac}
	for runs(h.Domain) { // what was closed for it is opened as it ends
		err := f.look(ctx)
		if err == nil {
			return nil
		}
		arrival := events
		if !errors.Is(err, errNotThere) {
			arrival = nil // of what libvirt does next nobody tells
		}
		select {
		case <-arrival:
		case <-time.After(f.rest(arrival == nil)):
		case <-ctx.Done():
			return f.failed(err)
		}
	}
	return nil
}

// A follower waits for one NIC.
type follower struct {
	*hookCall
	mac   net.HardwareAddr
	pause time.Duration // the last one between two questions to libvirt
}

// The shortest and the longest time between two looks: libvirt names the NIC in the VM's XML some
// milliseconds after its device is there.
const (
	leastRest = 5 * time.Millisecond
	mostRest  = time.Second
)

func (f *follower) rest(there bool) time.Duration {
	if !there {
		return mostRest
	}
	f.pause = min(max(2*f.pause, leastRest), mostRest)
	return f.pause
}

// errNotThere says that the NIC has no device yet.
var errNotThere = errors.New("it has not come")

// look makes the NIC's rules, if it is there and libvirt says so.
func (f *follower) look(ctx context.Context) error {
	all, err := hostMacvtaps(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(m host.Macvtap) bool { return bytes.Equal(m.MAC, f.mac) }) {
		return errNotThere
	}
	client, err := libvirt.Dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	d, err := liveDomain(ctx, client, f.Domain)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(d.Direct, func(i domain.Interface) bool { return bytes.Equal(i.MAC, f.mac) && i.Target != "" })
	if i < 0 {
		return errors.New("libvirt does not say that the VM has it")
	}
	f.domain.Store(d)
	return f.apply(ctx, client, d.Direct[i].Target)
}

// apply programs the VM's rules as "apply" does, and tells of the NIC.
func (f *follower) apply(ctx context.Context, client *libvirt.Client, device string) error {
	c, err := load(ctx, configFile())
	if err != nil {
		return badInput(err)
	}
	return planned(ctx, c, client, f.Domain, func(ctx context.Context, d *domain.Domain, made plan.Plan, former former) error {
		if w := raiseFirst(ctx, c, d); w != "" {
			made.Warnings = append(made.Warnings, plan.Warning{Device: device, Text: w})
		}
		if err := reconcile(ctx, d, made, former); err != nil {
			return err
		}
		for _, w := range made.Warnings {
			if w.Device == device {
				f.log(slog.LevelWarn, w.Text, f.fields(w.Device, journal.Advice))
			}
		}
		made.Tables = slices.DeleteFunc(slices.Clone(made.Tables), func(t ruleset.Table) bool { return t.Name != ruleset.TableName(device) })
		f.tell(plan.Plan{Tables: made.Tables, Open: made.Open})
		return nil
	})
}

// failed says of a NIC without rules what becomes of it.
func (f *follower) failed(why error) error {
	ctx := context.Background()
	is := "open to the local network"
	if closed, err := kernel.Plugs(ctx); err == nil && closes(closed, f.mac) || guardStands(ctx) {
		is = "closed"
	}
	return fmt.Errorf("VM %q: the NIC with the MAC address %s that was to be plugged in has no rules, and is %s: %w: once it is there, run \"macvtap-filter apply %s\"", f.Domain, f.mac, is, why, f.Domain)
}
