package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"slices"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/ruleset"
)

// A macvtap device that libvirt has no VM for is looked after by a [[device]] section. What
// stands for its domain is domain.Device.

// deviceFlag is the flag that names such devices.
func deviceFlag(f *flag.FlagSet, o *options) {
	f.Func("device", "", func(name string) error {
		if !ruleset.ValidDevice(name) {
			return errors.New("no device has such a name")
		}
		o.devices = append(o.devices, name)
		return nil
	})
}

// A deviceFinder finds these devices.
type deviceFinder struct {
	config *config.Config
	client *libvirt.Client // nil where libvirt does not answer
	host   *host.Host

	vms map[string]string // the names of VMs by the devices that libvirt says they have; nil while nobody asked
}

// named finds a device by its name. With fresh, the MAC address that it has now is the one
// that it may use, and else that which its rules say.
func (f *deviceFinder) named(ctx context.Context, name string, fresh bool) (*domain.Domain, error) {
	all, err := f.host.Macvtaps()
	if err != nil {
		return nil, err
	}
	n := slices.IndexFunc(all, func(m host.Macvtap) bool { return m.Name == name })
	if n < 0 {
		return nil, fmt.Errorf("device %q: this host has no such macvtap device", name)
	}
	d, err := f.of(ctx, all[n], fresh)
	if err == nil && d == nil {
		err = fmt.Errorf("device %q: no [[device]] section in %s is for it, with the MAC address %s", name, f.config.File, all[n].MAC)
	}
	return d, err
}

// every finds all devices that sections are for. What is wrong with one is its own.
func (f *deviceFinder) every(ctx context.Context) (found []*domain.Domain, failures []error) {
	if !f.config.HasDevices() {
		return nil, nil
	}
	all, err := f.host.Macvtaps()
	if err != nil {
		return nil, []error{err}
	}
	for _, m := range all {
		d, err := f.of(ctx, m, false)
		var taken *vmsDeviceError
		switch {
		case errors.As(err, &taken):
		case err != nil:
			failures = append(failures, err)
		case d != nil:
			found = append(found, d)
		}
	}
	return found, failures
}

// A vmsDeviceError says that a device is a VM's.
type vmsDeviceError struct{ device, vm string }

func (e *vmsDeviceError) Error() string {
	return fmt.Sprintf("device %q: it is the VM %q's, whose [[vm]] section counts: \"macvtap-filter apply %s\"", e.device, e.vm, e.vm)
}

// of gives what stands for a device's domain, nil where no section is for it.
func (f *deviceFinder) of(ctx context.Context, m host.Macvtap, fresh bool) (*domain.Domain, error) {
	held, err := kernel.Read(ctx, ruleset.TableName(m.Name))
	if err != nil && !errors.Is(err, fs.ErrPermission) { // who may not read may ask all the same
		return nil, fmt.Errorf("device %q: %w", m.Name, err)
	}
	mac := m.MAC
	if len(held) > 0 && filter.Bound(held[0].Table, m.Index) {
		owner := filter.ParseOwner(held[0].Comment)
		if domain.OfVM(owner.UUID) {
			return nil, &vmsDeviceError{m.Name, owner.Name}
		}
		if first := filter.MAC(held[0].Table); owner.IsDevice() && first != nil && !fresh {
			mac = first
		}
	}
	if _, _, ok := f.config.Device(m.Name, mac); !ok {
		return nil, nil
	}
	vm, err := f.vmOf(ctx, m.Name)
	if err != nil {
		return nil, fmt.Errorf("device %q: %w", m.Name, err)
	}
	if vm != "" {
		return nil, &vmsDeviceError{m.Name, vm}
	}
	if m.Parent == 0 {
		return nil, fmt.Errorf("device %q: its NIC is in another network namespace", m.Name)
	}
	nic, err := f.host.NICAt(m.Parent)
	if err != nil {
		return nil, fmt.Errorf("device %q: %w", m.Name, err)
	}
	return domain.Device(domain.Interface{Number: 1, Target: m.Name, Parent: nic.Name, MAC: mac}), nil
}

// vmOf gives the running VM that libvirt says has a device, "" for none.
func (f *deviceFinder) vmOf(ctx context.Context, device string) (string, error) {
	if f.vms == nil && f.client != nil {
		names, err := f.client.Running(ctx)
		if err != nil {
			return "", err
		}
		vms := map[string]string{}
		for _, name := range names {
			var d *domain.Domain
			err := anew(ctx, func(ctx context.Context) (err error) {
				d, err = liveDomain(ctx, f.client, name)
				return err
			})
			if errors.Is(err, libvirt.ErrNotRunning) || errors.Is(err, libvirt.ErrUnknown) {
				continue // since we asked
			}
			if err != nil {
				return "", err
			}
			for _, i := range d.Direct {
				vms[i.Target] = name
			}
		}
		f.vms = vms
	}
	return f.vms[device], nil
}

// devices has the rules of devices stand, those that are named or, with --all, every
// section's. It reports whether any could not be programmed.
func (a *applier) devices(ctx context.Context) (failed bool) {
	h, err := host.Open(ctx)
	if err != nil {
		fail(a.std, err)
		return true
	}
	defer h.Close()
	f := &deviceFinder{config: a.config, client: a.client, host: h}
	var found []*domain.Domain
	var failures []error
	if a.options.all {
		found, failures = f.every(ctx)
	}
	for _, name := range a.options.devices {
		d, err := f.named(ctx, name, true)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		found = append(found, d)
	}
	for _, d := range found {
		if err := anew(ctx, func(ctx context.Context) error { return a.device(ctx, d) }); err != nil {
			failures = append(failures, err)
		}
	}
	for _, err := range failures {
		fail(a.std, err)
	}
	return len(failures) > 0
}

// device programs the rules of one.
func (a *applier) device(ctx context.Context, d *domain.Domain) error {
	made, unlock, err := planLocked(ctx, d, a.config, true)
	if err != nil {
		return err
	}
	defer unlock()
	for _, w := range made.Warnings {
		warningf(a.std, "%s", w)
	}
	former := keeping(made, ownedBy(d))
	if err := a.stand(ctx, d, made, former); err != nil || a.options.dryRun {
		return errors.Join(err, made.Err())
	}
	tellApplied(a.std, d, made)
	if len(a.options.devices) > 0 && len(made.Unguarded) > 0 {
		return fmt.Errorf("device %q is not protected", d.Name)
	}
	return made.Err()
}

// interfaceOf names a domain's interface as messages do.
func interfaceOf(d *domain.Domain, device string) string {
	if d.VM() == "" {
		return fmt.Sprintf("device %q", device)
	}
	return fmt.Sprintf("VM %q: interface %q", d.Name, device)
}

// deviceRules finds the rules of named devices that no VM has.
func deviceRules(names []string) former {
	return func(s kernel.Standing) bool {
		device, ours := ruleset.TableDevice(s.Name)
		owner := filter.ParseOwner(s.Comment).UUID
		return ours && slices.Contains(names, device) && owner != "" && !domain.OfVM(owner)
	}
}
