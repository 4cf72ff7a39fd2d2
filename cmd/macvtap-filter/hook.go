package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/hook"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// hookLimit bounds a hook call: libvirt itself waits for ever, and its other
// clients with it.
const hookLimit = 8 * time.Second

// runHook does what a hook call asks for and gives the exit code. It never
// writes to standard output, which libvirt may take for XML. Protecting a VM
// that starts fails closed. A VM that runs already is never killed for a failure
// of ours, unless the configuration asks for it; its old rules stand.
func runHook(call hook.Call, std streams) int {
	action := call.Action()
	if action == hook.None {
		return exitDone
	}
	noteCaller()
	// Nobody may read what we write: that must not look like a failure.
	signal.Ignore(syscall.SIGPIPE)
	kill := false
	err := within(hookLimit, call.Domain, func(ctx context.Context) error {
		switch action {
		case hook.Protect:
			return protect(ctx, call, std, nil)
		case hook.Reprotect:
			return protect(ctx, call, std, &kill)
		default:
			return release(ctx, call, std)
		}
	})
	if err == nil {
		return exitDone
	}
	code := exitCode(err, std)
	journal.Error(fmt.Sprintf("%s %s: %v", call.Operation, call.Suboperation, err), journal.Fields{"VM": call.Domain})
	if action == hook.Release || action == hook.Reprotect && !kill {
		return exitDone
	}
	return code
}

// within does work for a VM, and gives up on it when the limit is over: even a read
// that never returns must not keep libvirt waiting. A panic is an error like any
// other: it must not kill a running VM.
func within(limit time.Duration, vm string, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if fault := recover(); fault != nil {
				done <- fmt.Errorf("VM %q: a fault of the program: %v", vm, fault)
			}
		}()
		done <- work(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(limit + limit/10):
		return fmt.Errorf("VM %q: gave up after %s: the domain XML, the configuration or the kernel did not come", vm, limit)
	}
}

// protect programs the VM's interfaces. On a first start nothing stands yet; of
// a running VM the tables of interfaces that it has no more are removed. For a
// running VM kill is not nil, and is set to what the configuration says of it.
func protect(ctx context.Context, call hook.Call, std streams, kill *bool) error {
	running := kill != nil
	if running {
		// First of all: it counts for every failure. A configuration that
		// cannot be read asks for nothing.
		if c, err := config.Load(configFile()); err == nil {
			*kill = c.KillOnReconnect
		}
	}
	d, err := readDomain(call.Domain, std)
	if err != nil {
		return badInput(err)
	}
	if len(d.Direct) == 0 {
		// It may have had interfaces before.
		return removeLeftovers(ctx, d, running)
	}
	c, err := config.Load(configFile())
	if err != nil {
		return badInput(fmt.Errorf("VM %q: %w", d.Name, err))
	}
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return fmt.Errorf("VM %q: %w", d.Name, err)
	}
	defer unlock()
	made, err := planLive(ctx, d, c, running)
	if err != nil {
		return err
	}
	if w := raiseFirst(ctx, c, d); w != "" {
		made.Warnings = append(made.Warnings, fmt.Sprintf("VM %q: %s", d.Name, w))
	}
	if running {
		err = kernel.Replace(ctx, made.Tables, ownedBy(d))
	} else {
		err = kernel.Create(ctx, made.Tables)
	}
	unlock() // others wait; the log can too
	for _, w := range made.Warnings {
		journal.Warning(w, fields(d))
	}
	if err != nil {
		return fmt.Errorf("VM %q: %w", d.Name, err)
	}
	journal.Info(fmt.Sprintf("VM %q: %d interfaces protected, %d not on a configured parent", d.Name, len(made.Tables)-len(made.Open), len(made.Unguarded)), fields(d))
	return removeNamed(ctx, d, made)
}

// removeNamed removes what still has the names of devices that get no rules: a
// dead VM's rules would judge them.
func removeNamed(ctx context.Context, d *domain.Domain, made plan.Plan) error {
	devices := slices.DeleteFunc(slices.Clone(made.Unguarded), func(device string) bool { return slices.Contains(made.Open, device) })
	if len(devices) == 0 {
		return nil
	}
	_, err := kernel.Remove(ctx, func(s kernel.Standing) bool {
		device, ours := ruleset.TableDevice(s.Name)
		return ours && filter.ParseOwner(s.Comment).UUID != "" && slices.Contains(devices, device)
	})
	if err != nil {
		return fmt.Errorf("VM %q: %w", d.Name, err)
	}
	return nil
}

// removeLeftovers removes what a running VM without a direct interface still has
// of rules. It needs no configuration. A VM that starts has nothing yet.
func removeLeftovers(ctx context.Context, d *domain.Domain, running bool) error {
	if !running {
		return nil
	}
	_, err := kernel.Remove(ctx, ownedBy(d))
	if err != nil {
		return fmt.Errorf("VM %q: %w", d.Name, err)
	}
	return nil
}

// readDomain reads the XML that belongs to a hook call.
func readDomain(name string, std streams) (*domain.Domain, error) {
	d, err := parseNamed(name, std.in)
	if err != nil {
		return nil, err
	}
	if d.Name != name {
		// By hand only: libvirt gives both from one definition.
		warningf(std, "the arguments name the VM %q, the domain XML %q: the XML counts", name, d.Name)
	}
	return d, nil
}

// parseNamed parses the XML of a VM whose name is known without it.
func parseNamed(name string, r io.Reader) (*domain.Domain, error) {
	d, err := domain.Parse(r)
	var bad *domain.Error
	if errors.As(err, &bad) && bad.VM == "" {
		bad.VM = name
	}
	return d, err
}

func planLive(ctx context.Context, d *domain.Domain, c *config.Config, running bool) (plan.Plan, error) {
	guard, err := guarded(ctx, c)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("VM %q: %w", d.Name, err)
	}
	h, err := host.Open(ctx)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("VM %q: %w", d.Name, err)
	}
	defer h.Close()
	return plan.Make(d, c, plan.Live{Host: h, Running: running, Guard: guard})
}

// ownedBy finds the tables of a VM.
func ownedBy(d *domain.Domain) func(kernel.Standing) bool {
	return func(s kernel.Standing) bool { return d.UUID != "" && filter.ParseOwner(s.Comment).UUID == d.UUID }
}

func fields(d *domain.Domain) journal.Fields {
	return journal.Fields{"VM": d.Name, "UUID": d.UUID}
}

// release removes the rules of a VM that is gone. Its XML names no devices any
// more; the tables say whose they are.
func release(ctx context.Context, call hook.Call, std streams) error {
	d, err := readDomain(call.Domain, std)
	if err != nil {
		return badInput(err)
	}
	if d.UUID == "" {
		return badInput(fmt.Errorf("VM %q: the domain XML has no <uuid>, by which its rules would be found", d.Name))
	}
	removed, err := kernel.Remove(ctx, ownedBy(d))
	if err != nil {
		return fmt.Errorf("VM %q: %w", d.Name, err)
	}
	for _, t := range removed {
		journal.Info(fmt.Sprintf("VM %q is gone: removed the table %s", d.Name, t.Name), fields(d))
	}
	return nil
}
