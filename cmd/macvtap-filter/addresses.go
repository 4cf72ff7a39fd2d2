package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/status"
	"macvtap-filter/internal/watch"
)

const addressesUsage = `usage: macvtap-filter addresses [--json] [VM…]
       macvtap-filter addresses --bind VM ADDRESS [DEVICE]
       macvtap-filter addresses --forget VM ADDRESS [DEVICE]

Shows the addresses that the rules take for each VM's own, and how they are known.
An address is

  configured  in the addresses of its [[vm]] section
  dhcp        handed out by a DHCP server that the policy allows
  first       the first IPv4 address that the VM used
  probe       an IPv6 address that the VM probed for, or used when its rules came
  by hand     bound by this command

Where watch runs, SINCE is when it first saw that, or began: the kernel does not tell.
USED is when the VM was given the address, or last seen to use it in ARP or neighbour
discovery; not known of one that was released, or that stays until the rules go.

Of a family of which nobody knows the VM's addresses, any passes: learn = "off" in
the policy. Prefixes in addresses are not shown.

Exits 0; 1 when a VM has no rules, or ADDRESS cannot be bound or forgotten; 2 for
wrong usage.

  --json    print what is known as JSON, as macvtap-filter(8) describes it
  --bind    ADDRESS is the VM's own from now on, until its rules go
  --forget  ADDRESS is the VM's own no more, until it is learned again

example: macvtap-filter addresses web-1
`

// An owned is an interface with rules, and whose it is.
type owned struct {
	owner filter.Owner
	held  kernel.Held
	watch watch.Report // empty where none runs
}

func (o owned) device() string {
	device, _ := ruleset.TableDevice(o.held.Name)
	return device
}

// vm and uuid are the VM's, "" of a device that libvirt has none for.
func (o owned) vm() string {
	if o.owner.IsDevice() {
		return ""
	}
	return o.owner.Name
}

func (o owned) uuid() string {
	if o.owner.IsDevice() {
		return ""
	}
	return o.owner.UUID
}

// since says since when an address is known, nil where nobody can tell.
func (o owned) since(a filter.Address) *time.Time {
	index, _ := o.held.Table.Index()
	return o.watch.KnownSince(int(index), a.Addr)
}

func (o owned) String() string {
	if o.owner.IsDevice() {
		return o.owner.String()
	}
	return fmt.Sprintf("VM %q: interface %q", o.owner.Name, o.device())
}

// addresses shows whose the addresses are, or changes that.
func addresses(ctx context.Context, std streams, o options, args []string) error {
	if o.bind && o.forget {
		return badInput(errors.New("give either --bind or --forget"))
	}
	if o.bind || o.forget {
		if o.json {
			return badInput(errors.New("--json is for showing addresses"))
		}
		return changeAddress(ctx, std, o.bind, args)
	}
	all, err := ownedInterfaces(ctx)
	if err != nil {
		return err
	}
	if all, err = ofVMs(all, args); err != nil {
		return err
	}
	report, err := watch.Ask(ctx)
	if err != nil && !errors.Is(err, watch.ErrNotRunning) {
		warningf(std, "since when addresses are known is not known: %v", err)
	}
	for i := range all {
		all[i].watch = report
	}
	if o.json {
		return addressesJSON(std, all)
	}
	return addressesTable(std, all)
}

// ownedInterfaces gives the interfaces that have rules, by VM.
func ownedInterfaces(ctx context.Context) ([]owned, error) {
	held, err := kernel.Read(ctx)
	if err != nil {
		return nil, err
	}
	var out []owned
	for _, h := range held {
		if owner := filter.ParseOwner(h.Comment); owner.UUID != "" {
			out = append(out, owned{owner: owner, held: h})
		}
	}
	slices.SortStableFunc(out, func(a, b owned) int { return strings.Compare(a.owner.Name, b.owner.Name) })
	return out, nil
}

// ofVMs gives the interfaces of some VMs, by name or UUID; of all, where none is named.
func ofVMs(all []owned, names []string) ([]owned, error) {
	if len(names) == 0 {
		return all, nil
	}
	var out []owned
	for _, name := range names {
		its := slices.DeleteFunc(slices.Clone(all), func(o owned) bool { return !o.owner.Is(name) })
		if len(its) == 0 {
			return nil, fmt.Errorf("VM %q has no rules%s", name, meant(name, all, func(o owned) string { return o.owner.Name }))
		}
		out = append(out, its...)
	}
	return out, nil
}

func addressesTable(std streams, all []owned) error {
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	now := time.Now()
	fmt.Fprintln(w, "VM\tINTERFACE\tADDRESS\tKNOWN BY\tSINCE\tUSED")
	for _, o := range all {
		own, any4, any6 := filter.Addresses(o.held.Table)
		line := func(address, source, since, used string) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", shown(cmp.Or(o.vm(), "-")), o.device(), address, source, since, used)
		}
		for _, a := range own {
			used := "-"
			if a.Used != nil {
				used = status.Ago(*a.Used)
			}
			line(a.String(), string(a.Source), status.Since(o.since(a), now), used)
		}
		switch {
		case any4 && any6:
			line("any", "-", "-", "-")
		case any4:
			line("any IPv4", "-", "-", "-")
		case any6:
			line("any IPv6", "-", "-", "-")
		case len(own) == 0:
			line("none yet", "-", "-", "-")
		}
	}
	return w.Flush()
}

// An addressJSON is an address as JSON.
type addressJSON struct {
	Address string     `json:"address"`
	Source  string     `json:"source"`
	Since   *time.Time `json:"since,omitempty"`
	Used    *int64     `json:"used_seconds_ago,omitempty"`
	Left    *int64     `json:"seconds_left,omitempty"`
}

// An interfaceJSON is an interface's addresses as JSON.
type interfaceJSON struct {
	VM        string        `json:"vm"`
	UUID      string        `json:"uuid"`
	Interface string        `json:"interface"`
	Addresses []addressJSON `json:"addresses"`
	Any       []string      `json:"any"`
}

func addressesJSON(std streams, all []owned) error {
	out := []interfaceJSON{}
	for _, o := range all {
		own, any4, any6 := filter.Addresses(o.held.Table)
		i := interfaceJSON{VM: o.vm(), UUID: o.uuid(), Interface: o.device(), Addresses: []addressJSON{}, Any: []string{}}
		for _, a := range own {
			its := addressJSON{Address: a.String(), Source: string(a.Source), Since: o.since(a)}
			if a.Used != nil {
				its.Used = new(int64(*a.Used / time.Second))
			}
			if a.Left > 0 {
				its.Left = new(int64(a.Left / time.Second))
			}
			i.Addresses = append(i.Addresses, its)
		}
		if any4 {
			i.Any = append(i.Any, "ipv4")
		}
		if any6 {
			i.Any = append(i.Any, "ipv6")
		}
		out = append(out, i)
	}
	enc := json.NewEncoder(std.out)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

// changeAddress binds an address to a VM's interface, or has it forgotten.
func changeAddress(ctx context.Context, std streams, bind bool, args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return badInput(errors.New("name the VM and the address, and the interface where the VM has several"))
	}
	a, err := netip.ParseAddr(args[1])
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return badInput(fmt.Errorf("%q is no address", args[1]))
	}
	if bind && (a.IsUnspecified() || a.IsMulticast() || a.IsLoopback()) {
		return badInput(fmt.Errorf("%s is no address that a VM can have", a))
	}
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	o, err := theInterface(ctx, args)
	if err != nil {
		return err
	}
	index, _ := o.held.Table.Index()
	own, _, _ := filter.Addresses(o.held.Table)
	i := slices.IndexFunc(own, func(known filter.Address) bool { return known.Addr == a })
	switch {
	case !filter.LearnsFamily(o.held.Table, a):
		return fmt.Errorf("%s: %s: its addresses of this family are not learned, but what addresses in its [[vm]] section say, or any: see learn in the policy", o, a)
	case bind:
		set, e := filter.BoundByHand(int(index), a)
		del := map[string][]ruleset.Element{}
		if i >= 0 { // it may be forgotten otherwise
			del[set] = []ruleset.Element{e}
		}
		err = kernel.ChangeElements(ctx, map[string][]ruleset.Element{set: {e}}, del)
	case i < 0:
		return fmt.Errorf("%s: %s is none of its addresses%s", o, a, listed(own))
	case own[i].Source == filter.Configured:
		return fmt.Errorf("%s: %s stands in addresses of its [[vm]] section: take it out there", o, a)
	default:
		others := slices.ContainsFunc(own, func(known filter.Address) bool { return known.Is4() && known.Addr != a })
		del := filter.Forgotten(int(index), a, !others)
		err = kernel.ChangeElements(ctx, nil, del)
		if errors.Is(err, unix.ENOENT) { // no gate stands: it was bound by hand
			err = kernel.ChangeElements(ctx, nil, filter.Forgotten(int(index), a, false))
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", o, a, err)
	}
	if bind {
		notef(std, "%s: %s is its own now", o, a)
	} else {
		notef(std, "%s: %s is forgotten", o, a)
	}
	return nil
}

// theInterface finds the one interface that arguments name: a VM, an address, a device.
func theInterface(ctx context.Context, args []string) (owned, error) {
	all, err := ownedInterfaces(ctx)
	if err != nil {
		return owned{}, err
	}
	its, err := ofVMs(all, args[:1])
	if err != nil {
		return owned{}, err
	}
	var devices []string
	for _, o := range its {
		devices = append(devices, o.device())
		if len(args) == 3 && o.device() == args[2] {
			return o, nil
		}
	}
	switch {
	case len(args) == 3:
		return owned{}, fmt.Errorf("VM %q has no interface %q with rules, but %s", args[0], args[2], strings.Join(devices, ", "))
	case len(its) > 1:
		return owned{}, badInput(fmt.Errorf("VM %q has several interfaces: name one of %s behind the address", args[0], strings.Join(devices, ", ")))
	}
	return its[0], nil
}

// listed names the addresses that are there instead.
func listed(own []filter.Address) string {
	var all []string
	for _, a := range own {
		all = append(all, a.String())
	}
	if len(all) == 0 {
		return ", and it has none"
	}
	return ", which are " + strings.Join(all, ", ")
}
