package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// A device is a macvtap device and what should stand for it.
type device struct {
	host.Macvtap

	// first is the MAC address that the device had when it was first seen up, or that
	// its rules say which stood then: the guest may change it since. A command of ours
	// that made its rules, asked says, chose it anew.
	first  net.HardwareAddr
	seenUp bool
	asked  bool

	// uuid and vm name the VM that the device was found to belong to, and target
	// is the device's name in that VM's XML. They stay when it is renamed.
	uuid, vm, target string

	planned bool           // it is worked out what should stand
	want    *ruleset.Table // that, until it was seen to stand; it is large
	keep    bool           // the rules that stand, if any, are to stay until want does
	kept    string         // why it has rules that stay though it is on no configured parent, "" where it is on one
	parent  string         // by the name that its facts have
	before  *ruleset.Table // its own rules that stood when want was programmed
	hooks   *ruleset.Table // what its VM's hook made, while libvirt does not say whose it is
	ruled   bool           // by the last plan it has a policy's rules; they stay until somebody says "remove"
	fresh   bool           // it came after watch did, and no plan was ever made for it
	failed  bool           // no rules could be made, for want of facts or by the configuration
	blind   bool           // its rules were made without facts
	other   bool           // it is on no configured parent, and has no rules to keep
	open    bool           // it is on no configured parent, and let through the guard
	culprit string         // who touched it
	told    time.Time      // when it was last logged that its rules are back
	untold  int            // how often they were since

	lasting []string // sets in which its rules keep what they learn
	gone    bool     // its rules were, when it was last looked at

	section string // what the [[device]] section calls it that it has its policy of, "" for none

	number int    // the interface's place in its XML
	policy string // the rules' policy
	check  bool   // offloads are to be checked

	checkMoved bool // its check of checksum offload was moved, or need not be

	state   State
	since   time.Time // when the state began
	problem string    // why no rules could be made

	address     string    // that it has another MAC address than its rules are made for, "" for no
	toldAddress time.Time // when that was logged last
}

func (d *device) table() string { return ruleset.TableName(d.Name) }

// String names the device as messages do, and its VM where that is known.
func (d *device) String() string {
	switch {
	case d.section != "":
		return fmt.Sprintf("device %q", d.Name)
	case d.vm == "":
		return fmt.Sprintf("interface %q", d.Name)
	}
	return fmt.Sprintf("VM %q: interface %q", d.vm, d.Name)
}

// fields are the log's fields about the device.
func (d *device) fields(why journal.Reason) journal.Fields {
	return journal.Fields{VM: d.vm, UUID: d.uuid, Device: d.Name, Reason: why}
}

// replan has what should stand worked out anew for some devices.
func (w *watcher) replan(which func(*device) bool) {
	for _, d := range w.devices {
		if which(d) {
			d.planned = false
		}
	}
}

// see looks at the devices and facts that may have changed.
func (w *watcher) see(l *look) error {
	if l.devices {
		all, err := w.host.Macvtaps()
		if err != nil {
			return err
		}
		defer func() { w.seenAll = true }()
		there := map[int]bool{}
		for _, m := range all {
			there[m.Index] = true
			w.seen(l, m)
		}
		for index := range w.devices {
			if !there[index] {
				w.gone(l, index)
			}
		}
	}
	for index := range l.indexes {
		m, ok, err := w.host.Macvtap(index)
		switch {
		case err != nil:
			return err
		case ok:
			w.seen(l, m)
		case w.devices[index] != nil:
			w.gone(l, index)
		default:
			// A parent that was renamed, or came late: one that was missing may be no more.
			w.replan(func(d *device) bool { return d.Parent == index || d.failed || d.kept != "" })
		}
	}
	if l.facts {
		w.seeFacts()
		w.replan(func(d *device) bool { return d.failed || d.blind })
	}
	return nil
}

// seen takes a device as it is now.
func (w *watcher) seen(l *look, m host.Macvtap) {
	d := w.devices[m.Index]
	if d == nil {
		d = &device{asked: true, fresh: w.seenAll}
		w.devices[m.Index] = d
	} else if d.Name == m.Name && d.Parent == m.Parent && d.Up == m.Up && bytes.Equal(d.MAC, m.MAC) {
		return
	}
	if d.Name != m.Name {
		l.tables = l.tables || d.Name != "" // the old name's rules are left over
	}
	d.Macvtap, d.planned = m, false
	if !d.seenUp {
		// Whoever makes a device gives it its address before it is up.
		d.first, d.seenUp = m.MAC, m.Up
	}
}

func (w *watcher) gone(l *look, index int) {
	d := w.devices[index]
	delete(w.wrong, d.Name)
	delete(w.wrong, d.table())
	delete(w.devices, index)
	l.tables = true
}

// seeFacts reads the facts of the parents in use again.
func (w *watcher) seeFacts() {
	for parent, known := range w.facts {
		now, err := w.host.Facts(parent)
		if err != nil {
			w.say(slog.LevelError, parent, fmt.Sprintf("%v; the rules stay as they are", err), journal.Fields{Reason: journal.Network})
			continue
		}
		w.well(parent)
		if !known.Equal(now.Remember(known)) {
			w.facts = map[string]facts.Facts{}
			w.replan(func(*device) bool { return true })
			w.Log(slog.LevelInfo, fmt.Sprintf("the network of the parent %q changed: its rules follow", parent), journal.Fields{Reason: journal.Network})
			return
		}
	}
}

// network is the host's network, whose facts are read once until they change.
type network struct {
	plan.Live
	facts map[string]facts.Facts
}

// Facts gives the facts that are known, or reads them.
func (n network) Facts(parent string) (facts.Facts, error) {
	if f, ok := n.facts[parent]; ok {
		return f, nil
	}
	return n.keep(parent, n.Live.Facts)
}

// Ask has the gateways asked, and does not wait: the kernel tells when they answer.
func (n network) Ask(parent string) (facts.Facts, error) { return n.keep(parent, n.Live.Ask) }

func (n network) keep(parent string, read func(string) (facts.Facts, error)) (facts.Facts, error) {
	f, err := read(parent)
	if err == nil {
		n.facts[parent] = f
	}
	return f, err
}

// plan works out what should stand for a device.
func (w *watcher) plan(ctx context.Context, d *device, standing map[string]kernel.Standing) {
	d.planned, d.checkMoved, w.busy = true, false, true
	owner, sure := w.owner(d)
	if owner != nil && !sure && w.anothers(ctx, d, owner.UUID) {
		owner = nil
	}
	if owner == nil {
		d.uuid, d.vm, d.target, d.number, d.section = "", "", "", 0, ""
		w.planUnknown(ctx, d, standing)
		return
	}
	d.hooks, d.section = nil, ""
	i := &owner.Direct[0]
	d.uuid, d.vm, d.target, d.number = owner.UUID, owner.Name, i.Target, i.Number
	i.Target = d.Name
	w.want(ctx, d, owner, standing)
}

// anothers reports whether the rules that stand are the very device's, and another VM's.
func (w *watcher) anothers(ctx context.Context, d *device, uuid string) bool {
	held, err := kernel.Read(ctx, d.table())
	return err != nil || len(held) > 0 && filter.OfAnother(held[0].Table, d.Index, uuid)
}

// owner gives the domain of the VM that a device belongs to, with that interface
// alone, nil when nobody knows. It is not sure where the device has another MAC address than
// the domain XML says: somebody may have changed it, as a guest can, or the device may be
// another VM's by now, which took the name.
func (w *watcher) owner(d *device) (owner *domain.Domain, sure bool) {
	if vm := w.vms[d.uuid]; vm != nil {
		d.vm = vm.Name
		for _, i := range vm.Direct {
			if i.Target == d.target {
				return withOnly(vm, i), true
			}
		}
	}
	var perhaps []*domain.Domain
	for _, vm := range w.vms {
		for _, i := range vm.Direct {
			if i.Target == d.Name && bytes.Equal(i.MAC, d.MAC) {
				return withOnly(vm, i), true
			}
			if i.Target == d.Name {
				perhaps = append(perhaps, withOnly(vm, i))
			}
		}
	}
	if len(perhaps) == 1 {
		return perhaps[0], false
	}
	return nil, false
}

// withOnly gives the domain with one interface.
func withOnly(vm *domain.Domain, i domain.Interface) *domain.Domain {
	one := *vm
	one.Direct = []domain.Interface{i}
	return &one
}

// planUnknown plans a device that no VM is known to have. What its VM's hook
// programmed stays until libvirt says whose it is. While it is down it passes no
// frame, and its hook may be about to program it.
func (w *watcher) planUnknown(ctx context.Context, d *device, standing map[string]kernel.Standing) {
	nic, err := w.host.NICAt(d.Parent)
	if err != nil || !d.Up || ofVM(standing[d.table()].Comment) && w.remember(ctx, d) {
		// Without a NIC its parent is in another namespace, or gone, and the
		// device with it.
		d.leave(Left)
		if err == nil && d.Up && !w.config.GuardsParent(nic.Names...) {
			w.noteKept(ctx, d, nic, filter.ParseOwner(standing[d.table()].Comment))
		}
		return
	}
	if d.hooks != nil && !w.told && w.config.GuardsParent(nic.Names...) {
		d.set([]ruleset.Table{*d.hooks}) // another policy's might open what its VM's closes
		return
	}
	w.choose(ctx, d)
	i := domain.Interface{Number: 1, Target: d.Name, Parent: nic.Name, MAC: d.first}
	if _, called, ok := w.config.Device(d.Name, d.first); ok {
		d.section = called
		w.want(ctx, d, domain.Device(i), standing)
		return
	}
	w.want(ctx, d, domain.Unknown(i), standing)
}

// choose takes the MAC address that a device's own rules say where nobody of this watch knows
// better: an earlier watch made them, or a command.
func (w *watcher) choose(ctx context.Context, d *device) {
	if !d.asked {
		return
	}
	held, err := kernel.Read(ctx, d.table())
	if err != nil {
		return // the next pass says so
	}
	d.asked = false
	if len(held) == 0 || !filter.ParseOwner(held[0].Comment).IsDevice() || !filter.Bound(held[0].Table, d.Index) {
		return
	}
	if mac := filter.MAC(held[0].Table); mac != nil {
		d.first = mac
	}
}

// remember reports whether the rules that stand under a device's name are its own, as bound
// does, and keeps those that can be programmed again.
func (w *watcher) remember(ctx context.Context, d *device) bool {
	held, err := kernel.Read(ctx, d.table())
	switch {
	case err != nil:
		return true
	case len(held) == 0 || !filter.Bound(held[0].Table, d.Index):
		return false
	case held[0].Table.Validate() == nil:
		hooks := filter.Lasting(held[0].Table)
		d.hooks, d.lasting = &hooks, lasting(hooks)
	}
	return true
}

// noteKept notes why rules stay that a device on no configured parent has of its hook.
func (w *watcher) noteKept(ctx context.Context, d *device, nic host.NIC, owner filter.Owner) {
	vm := &domain.Domain{Name: owner.Name, UUID: owner.UUID, Direct: []domain.Interface{{Number: 1, Target: d.Name, Parent: nic.Name, MAC: d.MAC}}}
	if made, err := plan.Make(vm, w.config, w.live(ctx, d)); err == nil {
		d.keeps(made)
	}
}

// keeps notes whether and why a plan keeps the device's rules.
func (d *device) keeps(made plan.Plan) {
	d.kept = ""
	for _, k := range made.Kept {
		d.kept = k.Text
	}
}

// live is the network that a device is planned in.
func (w *watcher) live(ctx context.Context, d *device) network {
	stand := func(name string) (ruleset.Table, bool, error) { return kernel.Rules(ctx, name) }
	return network{plan.Live{Host: w.host, Running: true, Guard: w.guard != nil, Rules: stand, Keep: d.ruled}, w.facts}
}

// ofVM reports whether the comment of rules says that it was made for a VM. Neither
// watch's own for an interface that nobody knows is, nor a [[device]] section's, nor
// anybody else's.
func ofVM(comment string) bool {
	return domain.OfVM(filter.ParseOwner(comment).UUID)
}

// bound reports whether the rules that stand under a device's name are its own, and
// not those of a device that had the name before.
func bound(ctx context.Context, d *device) bool {
	held, err := kernel.Read(ctx, d.table())
	return err != nil || len(held) > 0 && filter.Bound(held[0].Table, d.Index)
}

// want plans a device as its domain's. Where no rules can be made, what stands for
// that VM stays; where nothing does, the device is closed.
func (w *watcher) want(ctx context.Context, d *device, owner *domain.Domain, standing map[string]kernel.Standing) {
	made, err := plan.Make(owner, w.config, w.live(ctx, d))
	d.parent = owner.Direct[0].Parent
	var other *plan.OtherError
	d.failed, d.blind, d.address = err != nil, made.Blind, ""
	d.keeps(made)
	d.other = len(made.Unguarded) > 0 || errors.As(err, &other)
	if err == nil {
		for _, warning := range made.Warnings {
			if warning.OtherMAC != nil {
				w.noteAddress(d, warning.Text)
				continue
			}
			if warning.Unanswered {
				continue // nobody waited, and the kernel tells of the answer
			}
			w.say(slog.LevelWarn, warning.Text, warning.Text, d.fields(journal.Advice))
		}
		w.well(d.Name)
		d.fresh = false
		d.ruled = len(made.Tables) > len(made.Open)
		d.problem, d.open, d.policy = "", len(made.Unguarded) > 0, made.Policies[d.Name]
		d.set(made.Tables)
		return
	}
	if same, lookErr := w.unchanged(d); lookErr == nil && !same {
		d.leave(Left) // for good, as a rule: its VM has stopped
		return
	}
	d.problem, d.policy = err.Error(), ""
	s, stands := standing[d.table()]
	if stands && filter.ParseOwner(s.Comment).UUID == owner.UUID && bound(ctx, d) {
		d.leave(Left)
		w.say(slog.LevelError, d.Name, fmt.Sprintf("%v; the rules stay as they are", err), d.fields(journal.Kept))
		return
	}
	if other != nil && !d.fresh {
		// It was let alone, by this configuration or another: nobody says that its
		// VM is to lose its network.
		d.leave(Left)
		w.say(slog.LevelError, d.Name, fmt.Sprintf("%v; it gets no rules until that is mended", err), d.fields(journal.Kept))
		return
	}
	w.say(slog.LevelError, d.Name, fmt.Sprintf("%v; the interface is closed until that is mended", err), d.fields(journal.Closed))
	closed, err := filter.Closed(owner, owner.Direct[0])
	if err != nil {
		w.say(slog.LevelError, d.Name, fmt.Sprintf("%v; the interface is open", &plan.Error{VM: owner.VM(), Interface: owner.Direct[0], Err: err}), d.fields(journal.Failed))
		d.leave(Left)
		return
	}
	d.set([]ruleset.Table{closed})
}

// noteAddress takes that a device has another MAC address than its rules are made for. A
// guest may change it a thousand times a second, and fills no log by that.
func (w *watcher) noteAddress(d *device, text string) {
	d.address = text
	if time.Since(d.toldAddress) < quiet {
		return
	}
	d.toldAddress = time.Now()
	w.Log(slog.LevelWarn, text, d.fields(journal.Advice))
}

// leave lets stand what stands, which leaves the device in a state.
func (d *device) leave(s State) {
	d.want, d.keep = nil, true
	d.enter(s)
}

// leaveAsMade notes that the rules that were made for the device are in the kernel.
func (d *device) leaveAsMade() {
	switch {
	case d.failed:
		d.leave(Closed)
	case d.open:
		d.leave(Open)
	default:
		d.leave(Right)
	}
}

// set takes the rules that should stand, if any.
func (d *device) set(tables []ruleset.Table) {
	d.want, d.keep, d.check, d.lasting = nil, len(tables) > 0, false, nil
	if d.keep {
		d.lasting = lasting(tables[0])
		d.check = tables[0].CheckOffload
		d.want = &tables[0]
		if d.state == "" {
			d.enter(Mending)
		}
	} else {
		d.enter(Open)
	}
}
