package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// A VM that comes from another host, or was saved, runs already when libvirt calls the hook
// for its start, and nothing in the XML says so: only the operations migrate and restore come
// before it (https://libvirt.org/hooks.html). Its guest asks for no lease and probes for no
// address again, so that rules which learn its addresses have to take those that it uses.

// incoming is the file that says of a VM that it comes.
func incoming(d *domain.Domain) string { return "/run/macvtap-filter-incoming-" + d.UUID }

// expect notes that the VM comes. XML that cannot be read is the start's to tell of.
func (h *hookCall) expect() error {
	d, err := h.readDomain()
	if err != nil || d.UUID == "" || strings.Contains(d.UUID, "/") {
		return nil
	}
	return os.WriteFile(incoming(d), nil, 0o600)
}

// arrived gives the rules of a VM that starts: those for one that runs already, if it was
// expected, with the addresses that it had, as its metadata say. Where it was not, they are those
// of a snapshot, or in a definition, and may be old.
func arrived(d *domain.Domain, tables []ruleset.Table) (out []ruleset.Table, warnings []plan.Warning) {
	expected := unexpect(d) == nil
	if d.Addresses != nil && d.Addresses.Err != nil {
		warnings = append(warnings, plan.Warning{Text: fmt.Sprintf("VM %q: what the domain's metadata say of its addresses is not taken: %v", d.Name, d.Addresses.Err)})
	}
	now := time.Now()
	for _, t := range tables {
		device, _ := ruleset.TableDevice(t.Name)
		bound := boundTo(d, device, now)
		var refused []domain.Bound
		if expected {
			t, refused = filter.Arriving(t, bound, now)
		}
		for _, b := range refused {
			warnings = append(warnings, plan.Warning{Device: device, Text: fmt.Sprintf("VM %q: interface %q: the domain's metadata say that %s is its own (%s), an address that its rules never learn: it is not taken", d.Name, device, b.Addr, b.Known)})
		}
		out = append(out, t)
	}
	return out, warnings
}

// boundTo gives the addresses that a device's metadata have, and that are bound still.
func boundTo(d *domain.Domain, device string, now time.Time) []domain.Bound {
	var out []domain.Bound
	for _, i := range d.Direct {
		for _, b := range d.Addresses.Of(i.MAC) {
			if i.Target == device && !b.Lapsed(now) {
				out = append(out, b)
			}
		}
	}
	return out
}

// unexpect takes the note away; the error is fs.ErrNotExist where there was none.
func unexpect(d *domain.Domain) error {
	err := unix.Unlink(incoming(d)) // package os would try it as a folder, too
	if errors.Is(err, unix.ENOENT) {
		return fs.ErrNotExist
	}
	return err
}

// resume looks whether a VM that has started was reverted to a snapshot: no operation says
// so. Then it runs already, as one that was saved. XML that cannot be read was the start's to tell of.
func (h *hookCall) resume(ctx context.Context) error {
	// What was closed for its last run, of whose end no hook was told, is opened: its rules stand.
	if err := unplug(ctx, func(p filter.Plug) bool { return p.Owner.Is(h.Domain) }); err != nil {
		return fmt.Errorf("VM %q: %w", h.Domain, err)
	}
	if !fromSnapshot(h.Domain) {
		return nil
	}
	d, err := h.readDomain()
	if err != nil {
		return nil
	}
	if err := adopt(ctx, d); err != nil || len(d.Direct) == 0 {
		return err
	}
	c, err := config.Load(configFile())
	if err != nil {
		return badInput(fmt.Errorf("VM %q: %w", d.Name, err))
	}
	made, unlock, err := planLocked(ctx, d, c, true)
	if err != nil {
		return err
	}
	defer unlock()
	none := func(kernel.Standing) bool { return false }
	for i, t := range made.Tables {
		made.Tables[i] = filter.Running(t)
	}
	return errors.Join(kernel.Replace(ctx, made.Tables, none), made.Err())
}

// fromSnapshot reports whether a VM's QEMU was told to begin with a snapshot (qemu(1), -loadvm).
// Where nobody can say, it was not.
func fromSnapshot(vm string) bool {
	pid, err := os.ReadFile(pidFile(vm))
	if err != nil {
		return false
	}
	line, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/cmdline")
	return err == nil && slices.Contains(strings.Split(string(line), "\x00"), "-loadvm")
}
