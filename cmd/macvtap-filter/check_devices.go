package main

import (
	"context"
	"errors"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/libvirt"
)

// checkDevices looks at the macvtap devices that [[device]] sections match: one whose NIC is no
// parent has no rules, and one that a VM of libvirt's has is the VM's.
func checkDevices(ctx context.Context, r *report, c *config.Config) {
	if !c.HasDevices() {
		return
	}
	h, err := host.Open(ctx)
	if err != nil {
		r.fail("[[device]]: %v", err)
		return
	}
	defer h.Close()
	all, err := h.Macvtaps()
	if err != nil {
		r.fail("[[device]]: %v", err)
		return
	}
	f := &deviceFinder{config: c, host: h}
	if client, err := libvirt.Dial(ctx); err == nil { // that it does not answer is told elsewhere
		defer client.Close()
		f.client = client
	}
	for _, m := range all {
		if _, _, matches := c.Device(m.Name, m.MAC); !matches {
			continue
		}
		d, err := f.of(ctx, m, false)
		taken, isTaken := errors.AsType[*vmsDeviceError](err)
		switch {
		case isTaken:
			r.ok("device %q: a [[device]] section matches it, and it is the VM %q's, whose policy counts", m.Name, taken.vm)
		case err != nil:
			r.warn("%v", err)
		case d == nil: // by the MAC address that it began with, none is for it
		default:
			nic, err := h.NIC(d.Direct[0].Parent)
			if err == nil && !c.GuardsParent(nic.Names...) {
				r.warn("device %q: a [[device]] section is for it, and it has no rules: its NIC %q is none of the parents in %s", m.Name, nic.Name, c.File)
			}
		}
	}
}
