package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/drift"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/patience"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/watch"
)

// A comparison holds what stands against what should, for the devices that no watch
// vouches for. libvirt's word on a thousand VMs takes seconds, so it is asked last: the
// table that stands for a device names its VM, and is bound to the very device, so the
// rules that should stand are worked out from that. Where they are those that do, the
// device is protected; where not, libvirt says what it knows.
type comparison struct {
	*Sources
	Options
	host      *host.Host
	config    *config.Config
	configErr error
	network   plan.Network
	guard     bool

	client  Libvirt
	running map[string]string // VMs that run, names by UUID; nil where nobody said

	tables map[string]kernel.Standing
	held   map[string]kernel.Held
}

func newComparison(s *Sources, h *host.Host, o Options, c *config.Config, err error) *comparison {
	if o.Patience == 0 {
		o.Patience = patience.Status
	}
	return &comparison{Sources: s, Options: o, host: h, config: c, configErr: err, tables: map[string]kernel.Standing{}, held: map[string]kernel.Held{}}
}

// run compares.
func (c *comparison) run(ctx context.Context) {
	open := c.open()
	if len(open) == 0 || c.TablesErr != nil {
		return
	}
	c.Compared = map[int]Compared{}
	if c.configErr != nil {
		c.miss(c.configErr)
		return
	}
	for _, t := range c.Tables {
		if t.Name == ruleset.GuardTable {
			c.guard = true
		}
		c.tables[t.Name] = t.Standing
	}
	c.network = plan.Remember(plan.Live{Host: c.host, Running: true, Guard: c.guard, Rules: c.rules})
	asking, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	c.ask(asking)
	if c.client != nil {
		defer c.client.Close()
	}
	if err := c.read(ctx, open); err != nil {
		c.miss(fmt.Errorf("the rules cannot be compared with those that should stand: %w", err))
		return
	}
	var unsure []host.Carrier
	for _, d := range open {
		if !c.byTable(d) {
			unsure = append(unsure, d)
		}
	}
	c.byXML(asking, unsure)
}

// open gives the devices of which watch says nothing, or not whether their rules are
// right.
func (c *comparison) open() []host.Carrier {
	told := map[int]bool{}
	for _, d := range c.Watch.Devices {
		told[d.Index] = d.State != watch.Left || d.Problem != ""
	}
	return slices.DeleteFunc(slices.Clone(c.Devices), func(d host.Carrier) bool { return told[d.Index] })
}

// ask asks libvirt which VMs run.
func (c *comparison) ask(ctx context.Context) {
	var err error
	if c.client, err = c.Connect(ctx); err == nil {
		c.running, err = c.client.RunningVMs(ctx)
	}
	if err != nil {
		c.miss(fmt.Errorf("which VMs run, and which VM has a device without rules, is not known: %w", err))
	}
}

// read reads the rules that stand for devices.
func (c *comparison) read(ctx context.Context, devices []host.Carrier) error {
	var names []string
	for _, d := range devices {
		if name := ruleset.TableName(d.Name); c.tables[name].Name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil // no names would be all
	}
	held, err := kernel.Read(ctx, names...)
	for _, h := range held {
		c.held[h.Name] = h
	}
	return err
}

// rules gives the table of that name, if it was read.
func (c *comparison) rules(name string) (ruleset.Table, bool, error) {
	h, stands := c.held[name]
	return h.Table, stands, nil
}

// byTable compares a device's rules with those that its table's owner should have. It
// reports whether that is all that there is to say.
func (c *comparison) byTable(d host.Carrier) bool {
	if d.Parent == 0 {
		c.Compared[d.Index] = Compared{State: Unfiltered, Problem: "its NIC is in another network namespace"}
		return true
	}
	nic, err := c.host.NICAt(d.Parent)
	if err != nil {
		return false
	}
	h, stands := c.held[ruleset.TableName(d.Name)]
	if !stands {
		if c.config.GuardsParent(nic.Names...) || len(c.Absent) > 0 || c.guard && c.config.OpenOthers {
			return false
		}
		c.Compared[d.Index] = Compared{State: Unfiltered}
		return true
	}
	owner := filter.ParseOwner(h.Comment)
	who := &domain.Domain{Name: owner.Name, UUID: owner.UUID, Direct: []domain.Interface{{Target: d.Name, Parent: nic.Name, MAC: d.MAC}}}
	if owner.IsDevice() && c.running != nil && len(c.running) == 0 {
		// No VM has it.
		said := c.section(d, nic.Name, h)
		if said != nil {
			c.Compared[d.Index] = *said
		}
		return said != nil
	}
	if !domain.OfVM(owner.UUID) || !c.told(owner, h.Comment) {
		return false // only its XML can tell
	}
	made := c.same(who, h)
	if made == nil {
		return false
	}
	c.Compared[d.Index] = found(who, 0, made)
	return true
}

// told reports whether a table tells all of its VM that the configuration goes by. It tells
// no interface's place in the XML, nor its MAC address there.
func (c *comparison) told(owner filter.Owner, comment string) bool {
	return !c.config.HonourMetadata && !c.config.ByInterface() && c.certain(owner, comment)
}

// certain reports whether a table tells its VM's very name, by which the configuration
// chooses the policy. A comment has no room for long names, and no signs for some.
func (c *comparison) certain(owner filter.Owner, comment string) bool {
	if c.running != nil {
		return c.running[owner.UUID] == owner.Name
	}
	return len(comment)+utf8.UTFMax <= ruleset.MaxComment && !strings.Contains(owner.Name, "?")
}

// found gives what there is to say of a device whose rules are those that should stand.
func found(d *domain.Domain, number int, made *plan.Plan) Compared {
	state := Protected
	if len(made.Open) > 0 {
		state = Unfiltered
	}
	said := Compared{VM: d.Name, UUID: d.UUID, Number: number, Policy: made.Policies[d.Direct[0].Target], State: state}
	if len(made.Kept) > 0 {
		said.State, said.Problem = Stale, made.Kept[0].Text
	}
	return said
}

// section compares the rules of a device that no VM is known to have with those that a
// [[device]] section asks for, nil where none is for it. It may use the MAC address that its
// rules say, as they were first made.
func (c *comparison) section(d host.Carrier, nic string, h kernel.Held) *Compared {
	mac := d.MAC
	if filter.ParseOwner(h.Comment).IsDevice() && filter.Bound(h.Table, d.Index) {
		if first := filter.MAC(h.Table); first != nil {
			mac = first
		}
	}
	_, called, ok := c.config.Device(d.Name, mac)
	if !ok {
		return nil
	}
	i := domain.Interface{Number: 1, Target: d.Name, Parent: nic, MAC: mac}
	said := c.should(domain.Device(i), i, d)
	said.VM, said.UUID, said.Number, said.Section = "", "", 0, called
	return &said
}

// same plans a domain, and gives the plan if its only table is the one that stands.
func (c *comparison) same(d *domain.Domain, h kernel.Held) *plan.Plan {
	made, err := plan.Make(d, c.config, c.network)
	if err != nil || len(made.Tables) != 1 || !ruleset.Same(made.Tables[0], h.Table) {
		return nil
	}
	return &made
}

// byXML compares the rules of devices with those that their VMs should have by
// libvirt's word. Where nobody knows a device's VM, what is certain is said.
func (c *comparison) byXML(ctx context.Context, devices []host.Carrier) {
	left := map[string]host.Carrier{}
	for _, d := range devices {
		left[d.Name] = d
	}
	asked := len(devices) > 0 && c.running != nil
	var err error
	if asked {
		err = c.followVMs(ctx, left)
	}
	if err != nil {
		c.miss(err)
	}
	for _, d := range left {
		c.Compared[d.Index] = c.ownerless(d, asked && err == nil)
	}
}

// followVMs goes through the running VMs until the devices that are left are all told
// of, first through those that have a table among theirs.
func (c *comparison) followVMs(ctx context.Context, left map[string]host.Carrier) error {
	first := map[string]bool{}
	for name := range left {
		first[filter.ParseOwner(c.tables[ruleset.TableName(name)].Comment).UUID] = true
	}
	var uuids, others []string
	for uuid := range c.running {
		if first[uuid] {
			uuids = append(uuids, uuid)
		} else {
			others = append(others, uuid)
		}
	}
	for _, uuid := range append(uuids, others...) {
		if len(left) == 0 {
			return nil
		}
		xml, err := c.client.LiveXML(ctx, c.running[uuid])
		if errors.Is(err, libvirt.ErrNotRunning) || errors.Is(err, libvirt.ErrUnknown) {
			continue // since we asked
		}
		if err != nil {
			return fmt.Errorf("of %d interfaces libvirt said nothing in time: %w", len(left), err)
		}
		d, err := domain.Parse(strings.NewReader(xml))
		if err == nil {
			err = d.Adopt(c.host.Foreign)
		}
		if err != nil {
			c.miss(err)
			continue
		}
		c.follow(d, left)
	}
	return nil
}

// follow compares the devices of a VM that are left.
func (c *comparison) follow(vm *domain.Domain, left map[string]host.Carrier) {
	for _, i := range vm.Direct {
		d, ok := left[i.Target]
		if !ok {
			continue
		}
		delete(left, i.Target)
		one := *vm
		one.Direct = []domain.Interface{i}
		c.Compared[d.Index] = c.should(&one, i, d)
	}
}

// should compares the rules of one interface of a VM with those that should stand.
func (c *comparison) should(vm *domain.Domain, i domain.Interface, d host.Carrier) Compared {
	made, err := plan.Make(vm, c.config, c.network)
	said := found(vm, i.Number, &made)
	h, stands := c.held[ruleset.TableName(d.Name)]
	switch {
	case err != nil:
		said.State, said.Problem = Drifted, fmt.Sprintf("%v; older rules stand", err)
		if !stands {
			said.State, said.Problem = Unprotected, err.Error()
		}
	case len(made.Tables) == 0 && !stands:
		said.State = Unfiltered
	case len(made.Tables) == 0:
		said.State, said.Problem = Stale, "its NIC is none of the parents, and rules stand that are not its own or let everything pass: \"macvtap-filter verify --repair\" removes them"
	default:
		said.Problem = otherMAC(made)
		vms := []drift.VM{{Domain: vm, Tables: made.Tables}}
		held := []kernel.Held{h}
		if !stands {
			held = nil
		}
		for _, f := range drift.Find(vms, held, c.host.Exists) {
			said.State = State(f.State)
			said.Problem = ""
			if said.State != Unprotected { // what comes of that, maker knows: it sees the guard
				said.Problem = f.Reason + ": \"macvtap-filter verify --repair\" mends that"
			}
		}
	}
	return said
}

// otherMAC says that a device has another MAC address than its rules are made for, "" for
// no.
func otherMAC(made plan.Plan) string {
	for _, w := range made.Warnings {
		if w.OtherMAC != nil {
			return w.Text
		}
	}
	return ""
}

// ownerless says what is certain of a device whose VM nobody named; all tells that
// libvirt went through all of them.
func (c *comparison) ownerless(d host.Carrier, all bool) Compared {
	h, stands := c.held[ruleset.TableName(d.Name)]
	owner := filter.ParseOwner(h.Comment)
	if nic, err := c.host.NICAt(d.Parent); err == nil && !domain.OfVM(owner.UUID) {
		if said := c.section(d, nic.Name, h); said != nil {
			return *said
		}
	}
	switch {
	case !stands:
		return Compared{State: Unprotected}
	case owner.UUID == "":
		return Compared{State: Drifted, Problem: "rules stand under its name that are none of ours: \"nft list ruleset netdev\" shows them"}
	case owner.UUID == domain.UnknownUUID:
		return c.unowned(d, h)
	case owner.IsDevice():
		return Compared{State: Drifted, Problem: "rules of a [[device]] section stand, and none is for it: \"systemctl start macvtap-filter-watch\" has the default policy's made, \"macvtap-filter remove --device " + d.Name + "\" removes these"}
	case !filter.Bound(h.Table, d.Index):
		return Compared{State: Drifted, Problem: "rules stand that were made for another device, or were changed"}
	case h.Table.Unknown != "":
		return Compared{State: Drifted, Problem: h.Table.Unknown}
	case all:
		return Compared{State: Stale, Problem: "the VM is not running, and the device may be another's"}
	case !c.told(owner, h.Comment):
		return Compared{Problem: "which rules should stand only its VM's domain XML tells, and libvirt did not say: \"macvtap-filter verify\" compares them once it answers"}
	}
	return Compared{Problem: "its rules are not those that its VM's name alone asks for, and libvirt did not say more: \"macvtap-filter verify\" compares them once it answers"}
}

// unowned compares the rules of a device whose VM nobody named when watch made them,
// and nobody names now, with those that watch makes then.
func (c *comparison) unowned(d host.Carrier, h kernel.Held) Compared {
	nic, err := c.host.NICAt(d.Parent)
	if err != nil || c.same(domain.Unknown(domain.Interface{Target: d.Name, Parent: nic.Name, MAC: d.MAC}), h) == nil {
		return Compared{State: Drifted, Problem: "nobody has said whose it is, and other rules stand than the default policy's: \"systemctl start macvtap-filter-watch\" has those made"}
	}
	return Compared{State: Unknown, Policy: c.config.Default().Name, Problem: "nobody has said whose it is: the default policy's rules stand"}
}
