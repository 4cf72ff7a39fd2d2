package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/hook"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/offload"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// hookLimit bounds a hook call: libvirt itself waits for ever, and its other
// clients with it. A call takes milliseconds; but where a busy host boots, or libvirtd
// comes back to hundreds of VMs, all of their calls wait for each other and for a
// processor, and none may fail for that.
var hookLimit = 30 * time.Second

// runHook does what a hook call asks for and gives the exit code. It never
// writes to standard output, which libvirt may take for XML. Protecting a VM
// that starts fails closed. A VM that runs already is never killed for a failure
// of ours, unless the configuration asks for it; its old rules stand.
func runHook(call hook.Call, std streams) int {
	action := call.Action()
	if call.Network && action != hook.Follow {
		noteCaller(seenNetworkFile)
	}
	if action == hook.None {
		return exitDone
	}
	// Nobody may read what we write: that must not look like a failure.
	signal.Ignore(syscall.SIGPIPE)
	h := &hookCall{Call: call, std: std, log: hookLog(std)}
	err := within(hookLimit, call.Domain, func(ctx context.Context) error {
		switch action { // none of the daemon's that runs VMs
		case hook.Plug:
			return h.plug(ctx)
		case hook.Follow:
			return h.follow(ctx)
		}
		noteCaller(seenFile)
		switch action {
		case hook.Release:
			return h.release(ctx)
		case hook.Expect:
			return h.expect()
		case hook.Resume:
			return h.resume(ctx)
		}
		return h.protect(ctx, action == hook.Reprotect)
	})
	if err == nil {
		return exitDone
	}
	code := exitCode(err, std)
	refuses := action == hook.Protect || action == hook.Plug || action == hook.Reprotect && h.kill.Load()
	if !isTerminal(std.err) {
		for _, err := range apart(err) {
			for _, line := range eachMistake(err) {
				toJournal(slog.LevelError, fmt.Sprintf("%s %s: %s", call.Operation, call.Suboperation, line), h.failure(err, refuses))
			}
		}
	}
	if refuses {
		return code
	}
	return exitDone
}

// A hookCall is a hook call at work.
type hookCall struct {
	hook.Call
	std streams
	log logger

	// What is known of the VM, for who gives up waiting: its domain once that was
	// read, and whether a failure is to kill it though it runs.
	domain atomic.Pointer[domain.Domain]
	kill   atomic.Bool
}

// fields are the log's fields about the call's VM.
func (h *hookCall) fields(device string, why journal.Reason) journal.Fields {
	f := journal.Fields{VM: h.Domain, Device: device, Reason: why}
	if d := h.domain.Load(); d != nil {
		f.VM, f.UUID = d.Name, d.UUID
	}
	return f
}

// failure are the log's fields about a call that failed.
func (h *hookCall) failure(err error, refuses bool) journal.Fields {
	f := h.fields("", journal.Failed)
	if refuses {
		f.Reason = journal.Refused
	}
	if wrong, ok := errors.AsType[*plan.Error](err); ok {
		f.Device = wrong.Interface.Target
	}
	return f
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
		growStack(false)
		done <- work(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(limit + limit/10):
		return fmt.Errorf("VM %q: gave up after %s: the domain XML, the configuration or the kernel did not come", vm, limit)
	}
}

// growStack gives the calling goroutine a stack that is large enough for all that a hook
// call does. It would come to it by doubling, and the runtime would move all that is on
// it each time, by tables that it had to read from the program's file before.
//
//go:noinline
func growStack(use bool) byte {
	if !use {
		return 0
	}
	// Never. The compiler keeps room for it, and clears none.
	var room [128 << 10]byte
	room[os.Getpid()%len(room)]++
	return room[os.Getppid()%len(room)]
}

// protect programs the VM's interfaces. On a first start nothing stands yet; of
// a running VM the rules of interfaces that it has no more are removed.
func (h *hookCall) protect(ctx context.Context, running bool) error {
	if running {
		// First of all: it counts for every failure. A configuration that
		// cannot be read asks for nothing.
		if c, err := config.Load(configFile()); err == nil {
			h.kill.Store(c.KillOnReconnect)
		}
	}
	d, err := h.readDomain()
	if err != nil {
		return err
	}
	if err := adopt(ctx, d); err != nil {
		return err
	}
	if len(d.Direct) == 0 {
		// It may have had interfaces before.
		return removeLeftovers(ctx, d, running)
	}
	c, err := load(ctx, configFile())
	if err != nil {
		return badInput(fmt.Errorf("VM %q: %w", d.Name, err))
	}
	if n := offloadChecks(c, d); !running && n > 0 {
		offload.Preload(n)
	}
	made, unlock, err := planLocked(ctx, d, c, running)
	if err != nil {
		return err
	}
	defer unlock()
	if w := raiseFirst(ctx, c, d); w != "" {
		made.Warnings = append(made.Warnings, plan.Warning{Text: fmt.Sprintf("VM %q: %s", d.Name, w)})
	}
	if running {
		err = kernel.Reconcile(ctx, made.Tables, keeping(made, ownedBy(d)))
	} else {
		tables, warnings := arrived(d, made.Tables)
		made.Warnings = append(made.Warnings, warnings...)
		err = kernel.Create(ctx, tables)
	}
	var leftovers error
	if err == nil {
		leftovers = removeNamed(ctx, d, made)
	}
	unlock() // others wait; the log can too
	for _, w := range c.Warnings {
		h.log(slog.LevelWarn, w, h.fields("", journal.Advice))
	}
	for _, w := range made.Warnings {
		h.log(slog.LevelWarn, w.Text, h.fields(w.Device, journal.Advice))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("VM %q: %w", d.Name, err), made.Err())
	}
	h.tell(made)
	return errors.Join(leftovers, made.Err())
}

// offloadChecks is how many of a VM's interfaces have their checksum offload checked, as far as is
// known before anything is asked of the kernel.
func offloadChecks(c *config.Config, d *domain.Domain) (n int) {
	for _, i := range d.Direct {
		if !c.Policy(plan.NIC(d, i, nil)).PassOffload {
			n++
		}
	}
	return n
}

// tell logs what each interface got.
func (h *hookCall) tell(made plan.Plan) {
	for _, t := range made.Tables {
		device, _ := ruleset.TableDevice(t.Name)
		if !slices.Contains(made.Open, device) {
			h.log(slog.LevelInfo, fmt.Sprintf("VM %q: interface %q is protected", h.domain.Load().Name, device), h.fields(device, journal.Protected))
		}
	}
	for _, device := range made.Unguarded {
		h.log(slog.LevelInfo, fmt.Sprintf("VM %q: interface %q has no rules: its NIC is none of the parents", h.domain.Load().Name, device), h.fields(device, journal.Open))
	}
}

// removeNamed removes what still has the names of devices that get no rules: a
// dead VM's rules would judge them. The caller holds the lock: until then each name is
// that of the very device that was planned.
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
func (h *hookCall) readDomain() (*domain.Domain, error) {
	d, err := parseNamed(h.Domain, h.std.in)
	if err != nil {
		return nil, err
	}
	h.domain.Store(d)
	if d.Name != h.Domain {
		// By hand only: libvirt gives both from one definition.
		warningf(h.std, "the arguments name the VM %q, the domain XML %q: the XML counts", h.Domain, d.Name)
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

// adopt has the kernel say which of a domain's interfaces are macvtap devices that libvirt
// did not make.
func adopt(ctx context.Context, d *domain.Domain) error {
	if !d.Adoptable() {
		return nil
	}
	h, err := host.Open(ctx)
	if err != nil {
		return fmt.Errorf("VM %q: %w", d.Name, err)
	}
	defer h.Close()
	return d.Adopt(h.Foreign)
}

// planLocked plans with the lock held, which the caller gives back.
func planLocked(ctx context.Context, d *domain.Domain, c *config.Config, running bool) (made plan.Plan, unlock func(), err error) {
	unlock, err = kernel.Lock(ctx)
	if err != nil {
		return made, nil, fmt.Errorf("VM %q: %w", d.Name, err)
	}
	made, err = planLive(ctx, d, c, running)
	if err != nil {
		unlock()
	}
	return made, unlock, err
}

// planLive plans with what the host knows: all of a VM that starts, and of a running one
// what can be.
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
	network := plan.Live{Host: h, Running: running, Guard: guard, Patience: plan.Patience, Seen: map[string]host.NIC{}}
	if running {
		network.Rules = rulesOf(ctx)
		return plan.Each(d, c, network), nil
	}
	made, err := plan.Make(d, c, network)
	if len(made.Unguarded) > 0 && !hasParent(h, c) {
		made.Warnings = append(made.Warnings, plan.Warning{Text: fmt.Sprintf("VM %q: parents in %s (%q) match no NIC of this host, so no VM is protected: \"ip link\" names the NICs", d.Name, c.FileOf("parents"), c.Parents)})
	}
	return made, err
}

// rulesOf reads the rules that stand.
func rulesOf(ctx context.Context) func(name string) (ruleset.Table, bool, error) {
	return func(name string) (ruleset.Table, bool, error) { return kernel.Rules(ctx, name) }
}

// hasParent reports whether the host has a NIC that the configuration names as a parent.
// Where it does not say, it has.
func hasParent(h *host.Host, c *config.Config) bool {
	return slices.ContainsFunc(c.Parents, func(pattern string) bool {
		nics, err := h.Match(pattern)
		return err != nil || len(nics) > 0
	})
}

// A former finds rules that are to go when a VM's are made anew.
type former func(kernel.Standing) bool

// ownedBy finds the rules of a VM.
func ownedBy(d *domain.Domain) former {
	return func(s kernel.Standing) bool {
		return d.UUID != "" && filter.ParseOwner(s.Comment).UUID == d.UUID && !s.Foreign()
	}
}

// keeping spares all that stands of a VM of whose interfaces one could not be planned:
// nobody knows which rules are that one's.
func keeping(made plan.Plan, goes former) former {
	if len(made.Failed) > 0 {
		return func(kernel.Standing) bool { return false }
	}
	return goes
}

// release removes the rules of a VM that is gone. Its XML names no devices any
// more; the rules say whose they are.
func (h *hookCall) release(ctx context.Context) error {
	d, err := h.readDomain()
	if err != nil {
		return err
	}
	if d.UUID == "" {
		return &domain.Error{VM: d.Name, Err: errors.New("there is no <uuid>, by which its rules would be found")}
	}
	_ = unexpect(d) // it did not come
	removed, err := kernel.Remove(ctx, ownedBy(d))
	if err != nil {
		return fmt.Errorf("VM %q: %w", d.Name, err)
	}
	if err := unplug(ctx, func(p filter.Plug) bool { return p.Owner.UUID == d.UUID }); err != nil {
		return fmt.Errorf("VM %q: %w", d.Name, err)
	}
	for _, t := range removed {
		device, _ := ruleset.TableDevice(t.Name)
		h.log(slog.LevelInfo, fmt.Sprintf("VM %q is gone: removed the rules of the device %q", d.Name, device), h.fields(device, journal.Removed))
	}
	return nil
}
