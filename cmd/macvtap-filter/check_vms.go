package main

import (
	"context"
	"fmt"
	"slices"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/status"
)

// checkLibvirt looks at the daemon and, where there is a configuration, at what its
// running VMs have that no rules cover.
func checkLibvirt(ctx context.Context, r *report, c *config.Config, s status.Status) {
	client, err := libvirt.Dial(ctx)
	if err != nil {
		r.fail("%v", err)
		return
	}
	defer client.Close()
	checkDaemon(ctx, r, client)
	names, err := client.Running(ctx)
	if err != nil {
		r.fail("%v", err)
		return
	}
	h, err := host.Open(ctx)
	if err != nil {
		r.fail("VMs: %v", err)
		return
	}
	defer h.Close()
	var known []*domain.Domain
	for _, name := range names {
		var d *domain.Domain
		err := anew(ctx, func(ctx context.Context) (err error) {
			d, err = liveDomain(ctx, client, name)
			return err
		})
		if err != nil {
			r.warn("%v", err)
			continue
		}
		if c != nil {
			checkDirect(r, c, h, d, s)
		}
		checkOthers(r, h, d)
		known = append(known, d)
	}
	checkHotPlug(ctx, r, known)
	if c == nil || len(c.Sections()) == 0 {
		return
	}
	shut, err := shutOff(ctx, client, names)
	if err != nil {
		r.warn("%v", err)
		return
	}
	checkSections(r, c, append(known, shut...), func(parent string) []string {
		nic, _ := h.NIC(parent) // that it is missing was told, where it matters
		return nic.Names
	})
}

// checkDirect looks at a running VM's direct interfaces.
func checkDirect(r *report, c *config.Config, h *host.Host, d *domain.Domain, s status.Status) {
	for _, i := range d.Direct {
		nic, err := h.NIC(i.Parent)
		switch {
		case err != nil:
			r.warn("VM %q: %s: %v", d.Name, i, err)
		case slices.ContainsFunc(wrong(s), func(n status.Interface) bool { return n.Device == i.Target }):
			// That was told.
		case !slices.ContainsFunc(s.Interfaces, func(n status.Interface) bool { return n.Device == i.Target }):
			r.fail("VM %q: %s: this host has no such macvtap device: what it has passes no rules of ours", d.Name, i)
		case !c.GuardsParent(append(nic.Names, i.Parent)...):
			r.warn("VM %q: %s is not protected: its NIC %q is none of the parents; if it should be one, add %q to parents in %s and run \"macvtap-filter apply --all\"", d.Name, i, i.Parent, i.Parent, c.FileOf("parents"))
		default:
			checkAddress(r, c, h, d, i, nic.Names)
		}
	}
}

// checkAddress looks at the MAC address of a direct interface's device.
func checkAddress(r *report, c *config.Config, h *host.Host, d *domain.Domain, i domain.Interface, names []string) {
	one := *d
	one.Direct = []domain.Interface{i}
	made := plan.Each(&one, c, plan.Live{Host: h, Running: true})
	for _, w := range made.Warnings {
		if w.OtherMAC != nil {
			r.warn("%s", w)
			return
		}
	}
	configured, _ := plan.Configured(d, i, names, c) // what is wrong with it was told
	switch {
	case !i.TrustGuest:
	case configured.FollowMAC:
		r.ok("VM %q: %s: trustGuestRxFilters='yes' lets the guest change its MAC address; the rules follow while watch runs", d.Name, i)
	default:
		r.ok("VM %q: %s: trustGuestRxFilters='yes' lets the guest change its device's MAC address; the rules stay with the domain XML's, %s", d.Name, i, i.MAC)
	}
}

// checkOthers looks at a running VM's interfaces of other types.
func checkOthers(r *report, h *host.Host, d *domain.Domain) {
	for _, i := range d.Others {
		switch {
		case i.Type == "ethernet" && isMacvtap(h, i.Target):
			r.warn("VM %q: interface %d is not protected: its device %q is a macvtap on a NIC of another network namespace", d.Name, i.Number, i.Target)
		case i.Type == "hostdev" || i.Type == "vdpa":
			r.warn("VM %q: interface %d is not protected: of type '%s', its frames pass no rules of the host; filter them on the switch, or in the NIC", d.Name, i.Number, i.Type)
		default:
			r.ok("VM %q: interface %d is of type '%s', and none of ours: libvirt's nwfilter is for those", d.Name, i.Number, i.Type)
		}
	}
}

func isMacvtap(h *host.Host, device string) bool {
	all, err := h.Macvtaps()
	return err == nil && slices.ContainsFunc(all, func(m host.Macvtap) bool { return m.Name == device })
}

// checkForeign looks for rules of others on macvtap devices, as a former hook in
// shell leaves them.
func checkForeign(ctx context.Context, r *report) {
	h, err := host.Open(ctx)
	if err != nil {
		r.fail("%v", err)
		return
	}
	defer h.Close()
	bindings, err := kernel.Bindings(ctx)
	if err != nil {
		r.warn("nftables: %v", err)
		return
	}
	told := map[string]bool{}
	for _, b := range bindings {
		text := fmt.Sprintf("nftables: the table %q, which is not ours, also judges the frames of %q: what it drops stays dropped, and what it sends elsewhere (fwd, dup) no rule of ours sees; if a former hook left it: nft delete table netdev %s", b.Table, b.Device, b.Table)
		if isMacvtap(h, b.Device) && !told[text] {
			told[text] = true
			r.warn("%s", text)
		}
	}
}
