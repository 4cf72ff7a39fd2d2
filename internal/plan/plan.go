// Package plan takes a domain and the configuration and says which tables should
// stand for it: the one way from XML to ruleset, whether the ruleset is then
// printed or programmed.
package plan

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// A Network knows the parents: the host itself, or facts that were read off a
// host before.
type Network interface {
	// Names gives the name and alternative names of a parent.
	Names(parent string) ([]string, error)
	// Facts gives the facts of a parent.
	Facts(parent string) (facts.Facts, error)
	// Ask gives the facts of a parent that has gateways whose MAC addresses nobody
	// knows, after they were asked for.
	Ask(parent string) (facts.Facts, error)
	// CutsOff reports whether the guest of an interface runs, and new rules that know no
	// router would keep it from its gateways: those that stand know none to hand on.
	CutsOff(i domain.Interface, gateways []netip.Addr) bool
	// Check reports what is wrong with the device of an interface, and gives
	// the interface with its device's index and MAC address.
	Check(domain.Interface) (domain.Interface, error)
	// Beneath gives the names of the NIC that an interface's device really sits on,
	// none where that is not known.
	Beneath(domain.Interface) ([]string, error)
	// Absent gives those of the names that no NIC has, none where that is not known.
	Absent(names []string) ([]host.Absent, error)
	// Protected reports whether the device of an interface, which is on no parent, has
	// rules all the same.
	Protected(domain.Interface) (bool, error)
	// Guarded reports whether a guard stands, whatever the configuration says.
	Guarded() bool
}

// A Plan is what should stand for one domain.
type Plan struct {
	Tables   []ruleset.Table
	Warnings []Warning
	Policies map[string]string // the names of the policies that they follow, by device

	// Unguarded are the devices of direct interfaces on no configured parent.
	// Those of them in Open have a table that lets everything pass.
	Unguarded, Open []string

	// Blind says that a policy without words was resolved without facts, which could
	// not be read.
	Blind bool

	// Kept says why interfaces on no configured parent have rules: what stands for them
	// stays, and is among the tables.
	Kept []Warning

	Failed []*Error // why interfaces have no plan (Each)
}

// A Warning is for the administrator; the rules are safe all the same.
type Warning struct {
	Device string // "" when it is about no one interface
	Text   string // names the VM and the interface

	// Unanswered says that it is of gateways that were asked and have not answered yet.
	Unanswered bool

	// OtherMAC is the interface, where its device's MAC address is not the one that its
	// rules are made for.
	OtherMAC *domain.Interface
}

func (w Warning) String() string { return w.Text }

// Make plans every direct interface of the domain that sits on a configured
// parent, or none: a VM starts with all its rules or not at all. Errors and
// warnings name the VM and the interface. A domain without any has an empty plan.
func Make(d *domain.Domain, c *config.Config, n Network) (Plan, error) {
	made := Each(d, c, n)
	if len(made.Failed) > 0 {
		return Plan{}, made.Failed[0]
	}
	return made, nil
}

// Each plans as Make does, but each interface for itself: what is wrong with one of a
// running VM keeps no other from its rules. Failed has those without a plan.
func Each(d *domain.Domain, c *config.Config, n Network) Plan {
	p := planner{domain: d, config: c, network: n, policies: map[chosen]resolved{}, guarded: c.Guard || n.Guarded()}
	for n, i := range d.Direct {
		err := twice(d.Direct[:n], i)
		if err == nil {
			err = p.add(i)
		}
		if err != nil {
			p.plan.Failed = append(p.plan.Failed, &Error{d.VM(), i, err})
		}
	}
	return p.plan
}

// twice says that an interface has the device of one before it, which only the XML of a
// VM that is shut off can say.
func twice(before []domain.Interface, i domain.Interface) error {
	n := slices.IndexFunc(before, func(other domain.Interface) bool { return i.Target != "" && other.Target == i.Target })
	if n < 0 {
		return nil
	}
	return fmt.Errorf("interface %d has the same device", before[n].Number)
}

// Err gives why interfaces could not be planned, joined, nil where all could.
func (p Plan) Err() error {
	var errs []error
	for _, e := range p.Failed {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// An Error says why an interface of a VM has no plan.
type Error struct {
	VM        string // "" of a device that libvirt has no VM for
	Interface domain.Interface
	Err       error
}

func (e *Error) Error() string {
	if e.VM == "" {
		return fmt.Sprintf("device %q: %v", e.Interface.Target, e.Err)
	}
	return fmt.Sprintf("VM %q: %s: %v", e.VM, e.Interface, e.Err)
}

// Unwrap gives what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// An OtherError says that an interface is on no configured parent while parents are
// missing that the configuration names.
type OtherError struct {
	NIC    string
	File   string        // the configuration
	Absent []host.Absent // the parents that are missing
}

func (e *OtherError) Error() string {
	return fmt.Sprintf("its NIC %q is none of the parents in %s, and may be one that is misspelt there: %s; mend parents, or take that name out (globs may match no NIC)", e.NIC, e.File, e.missing())
}

// argument names a domain on a command line, where names need no quotes.
func argument(d *domain.Domain) string {
	if domain.IsDevice(d.UUID) {
		return "--device " + d.Name
	}
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	if strings.Trim(d.Name, plain) != "" || strings.HasPrefix(d.Name, "-") {
		return d.UUID
	}
	return d.Name
}

// kept says that rules stay all the same.
func (e *OtherError) kept(vm string) string {
	text := fmt.Sprintf("its NIC %q is none of the parents in %s", e.NIC, e.File)
	if len(e.Absent) > 0 {
		text += ", and may be one that is misspelt there: " + e.missing()
	}
	return fmt.Sprintf("%s; its rules stay: add %q to parents, or remove them with \"macvtap-filter remove %s\"", text, e.NIC, vm)
}

// missing names the parents that are missing. Where no NIC has a name like one of them,
// the interface's own is the best guess.
func (e *OtherError) missing() string {
	var names []string
	for _, a := range e.Absent {
		a.Likely = cmp.Or(a.Likely, e.NIC)
		names = append(names, a.String())
	}
	return strings.Join(names, "; ")
}

type planner struct {
	domain   *domain.Domain
	config   *config.Config
	network  Network
	policies map[chosen]resolved
	guarded  bool // tables mark what they accept
	plan     Plan
}

// chosen is what an interface's rules are made of: those of the domain's other interfaces
// are made of the same where it is the same.
type chosen struct {
	parent  string
	section int // of the configuration, which gives it its policy
}

// resolved is a policy with its addresses, or why it has none.
type resolved struct {
	*resolution
	err error
}

// add plans one interface, if it sits on a configured parent.
func (p *planner) add(i domain.Interface) error {
	names, err := p.network.Names(i.Parent)
	if err != nil {
		return err
	}
	if !p.config.GuardsParent(append(names, i.Parent)...) {
		return p.addOther(i, names)
	}
	return p.addGuarded(i, names)
}

// addGuarded plans an interface by its policy.
func (p *planner) addGuarded(i domain.Interface, names []string) error {
	i, err := p.network.Check(i)
	if err != nil {
		return err
	}
	configured, err := Configured(p.domain, i, names, p.config)
	if err != nil {
		return err
	}
	key := chosen{i.Parent, configured.Section}
	made, ok := p.policies[key]
	if !ok {
		made.resolution, made.err = p.policy(i, configured)
		p.policies[key] = made
	}
	if made.err != nil {
		return made.err
	}
	if p.plan.Policies == nil {
		p.plan.Policies = map[string]string{}
	}
	p.plan.Policies[i.Target] = configured.Name
	table, err := made.table(p.domain, p.address(i, made.policy))
	if err != nil {
		return err
	}
	p.addTable(i, table)
	return nil
}

// address has an interface with the MAC address that counts: the XML's, whatever the device
// has. A guest that may change the device's would otherwise choose what it may send from,
// and be heard as any host of the LAN. The policy may say that this is wanted.
func (p *planner) address(i domain.Interface, resolved policy.Policy) domain.Interface {
	if i.DeviceMAC == nil || bytes.Equal(i.MAC, i.DeviceMAC) {
		return i
	}
	text := fmt.Sprintf("its device has the MAC address %s, and the domain XML says %s, the only one that it may use: \"ip link set %s address %s\" mends that", i.DeviceMAC, i.MAC, i.Target, i.MAC)
	switch {
	case i.TrustGuest && resolved.FollowMAC:
		i.MAC = i.DeviceMAC
		return i
	case p.domain.UUID == domain.UnknownUUID:
		text = fmt.Sprintf("its device has the MAC address %s by now, and may use the first one that was seen alone, %s", i.DeviceMAC, i.MAC)
	case domain.IsDevice(p.domain.UUID):
		text = fmt.Sprintf("it has the MAC address %s by now, and may use that alone with which its rules were first made, %s: \"macvtap-filter apply %s\" takes the new one", i.DeviceMAC, i.MAC, argument(p.domain))
	case i.TrustGuest:
		text = fmt.Sprintf("the guest gave its device the MAC address %s (trustGuestRxFilters='yes'), and may use that of the domain XML alone, %s: to let it, write mac_changes = \"follow\" into the policy %q", i.DeviceMAC, i.MAC, resolved.Name)
	}
	p.warn(i, text)
	p.plan.Warnings[len(p.plan.Warnings)-1].OtherMAC = &i
	return i
}

// addOther plans an interface on no configured parent: nothing, but where a guard would
// close it. Rules that its device has stay: whoever changes a file may have mistyped a
// name, and only who removes rules says that they are to go. Nor is an interface let
// alone while a parent that is named is missing: its NIC may be the one that was meant.
func (p *planner) addOther(i domain.Interface, names []string) error {
	beneath, err := p.network.Beneath(i)
	if err != nil {
		return err
	}
	if p.config.GuardsParent(beneath...) {
		return fmt.Errorf("the domain XML says that it is on %q, but its device sits on %q, which is one of the parents in %s", i.Parent, beneath[0], p.config.FileOf("parents"))
	}
	absent, err := p.network.Absent(p.config.Literals())
	if err != nil {
		return err
	}
	kept, err := p.network.Protected(i)
	if err != nil {
		return err
	}
	other := &OtherError{NIC: i.Parent, File: p.config.FileOf("parents"), Absent: absent}
	switch {
	case kept:
		why := other.kept(argument(p.domain))
		p.plan.Kept = append(p.plan.Kept, Warning{Device: i.Target, Text: why})
		p.warn(i, why)
		return p.addGuarded(i, names)
	case len(absent) > 0:
		return other
	}
	if p.guarded && p.config.OpenOthers {
		i, err := p.network.Check(i)
		if err != nil {
			return err
		}
		table, err := filter.Open(p.domain, i)
		if err != nil {
			return err
		}
		p.plan.Open = append(p.plan.Open, i.Target)
		p.addTable(i, table)
	}
	p.plan.Unguarded = append(p.plan.Unguarded, i.Target)
	if domain.IsDevice(p.domain.UUID) {
		p.warn(i, fmt.Sprintf("a [[device]] section is for it, and it has no rules: its NIC %q is none of the parents in %s", i.Parent, p.config.File))
	}
	return nil
}

// addTable makes a table the rules of the very device, as far as that is known.
func (p *planner) addTable(i domain.Interface, table ruleset.Table) {
	if p.guarded {
		table = filter.Mark(table)
	}
	if i.Index != 0 {
		table = table.Bind(i.Index)
	}
	p.plan.Tables = append(p.plan.Tables, table)
	if p.config.Guard && !p.config.GuardsName(i.Target) {
		p.warn(i, fmt.Sprintf("the guard does not close this device while it has no rules: add the beginning of its name to guard_prefixes in %s", p.config.FileOf("guard_prefixes")))
	}
}

func (p *planner) warn(i domain.Interface, text string) {
	told := Error{p.domain.VM(), i, errors.New(text)}
	p.plan.Warnings = append(p.plan.Warnings, Warning{Device: i.Target, Text: told.Error()})
}

// Configured gives the policy of a domain's interface, whose NIC has those names: the
// configuration's, or the domain's own choice where that is honoured.
func Configured(d *domain.Domain, i domain.Interface, names []string, c *config.Config) (config.Policy, error) {
	if d.UUID == domain.UnknownUUID {
		return c.Default(), nil // whatever patterns there are for names
	}
	if domain.IsDevice(d.UUID) {
		if p, _, ok := c.Device(i.Target, i.MAC); ok {
			return p, nil
		}
		return c.Default(), nil
	}
	configured := c.Policy(NIC(d, i, names))
	if d.Choice == nil || !c.HonourMetadata {
		return configured, nil
	}
	if err := d.Choice.Err; err != nil {
		return configured, &domain.Error{Err: err}
	}
	chosen, err := c.Choose(configured, d.Choice.Policy, d.Choice.Allow)
	if err != nil {
		return configured, &domain.Error{Err: err}
	}
	return chosen, nil
}

// NIC gives a domain's interface, whose NIC has those names, as the configuration knows it.
func NIC(d *domain.Domain, i domain.Interface, names []string) config.NIC {
	return config.NIC{VM: d.Name, UUID: d.UUID, MAC: i.MAC, Parents: append(names[:len(names):len(names)], i.Parent), Place: i.Number}
}

// policy resolves the interface's policy on its parent.
func (p *planner) policy(i domain.Interface, configured config.Policy) (*resolution, error) {
	known, err := p.facts(i, configured)
	if err != nil {
		return nil, err
	}
	resolved, err := p.resolution(configured, known)
	if err != nil {
		return nil, err
	}
	warnings := resolved.warnings
	if choice := p.domain.Choice; choice != nil && !p.config.HonourMetadata {
		warnings = append(warnings, fmt.Sprintf("the domain's metadata asks for policy %q and %d allow entries, and is ignored; metadata = \"honour\" in %s heeds it", choice.Policy, len(choice.Allow), p.config.FileOf("metadata")))
	}
	for _, w := range warnings {
		p.warn(i, w)
	}
	return resolved, nil
}

// facts reads what the network knows of a parent. A policy without words has rules
// without it too: all that is lost is who the gateway and the name servers are.
func (p *planner) facts(i domain.Interface, configured config.Policy) (facts.Facts, error) {
	known, err := p.network.Facts(i.Parent)
	switch {
	case err == nil && len(known.GatewayMACs) == 0:
		return p.ask(i, configured, known)
	case err == nil:
		return known, nil
	case policy.NeedsFacts(configured):
		return known, fmt.Errorf("policy %q has words to resolve: %w", configured.Name, err)
	}
	p.plan.Blind = true
	p.warn(i, fmt.Sprintf("policy %q: its rules do not know the gateway and the name servers, whose addresses the VM could take: %v", configured.Name, err))
	return facts.Facts{Parent: i.Parent}, nil
}

// ask has gateways asked whose MAC addresses nobody knows, where the rules need one: with
// isolate, and for a guest that runs. That guest knows its router and may ask for it no
// more for minutes, and until then new rules would not hear of it. A guest that starts
// asks first of all.
func (p *planner) ask(i domain.Interface, configured config.Policy, known facts.Facts) (facts.Facts, error) {
	if policy.NeedsMACs(configured) {
		return p.network.Ask(i.Parent)
	}
	gateways := policy.ByMAC(configured, known.Gateway)
	if len(gateways) == 0 || !p.network.CutsOff(i, gateways) {
		return known, nil
	}
	answered, err := p.network.Ask(i.Parent)
	if err == nil && len(answered.GatewayMACs) == 0 {
		p.warn(i, fmt.Sprintf("policy %q: nobody knows yet the MAC address of a router (%v), and the VM is kept to its link until it hears from one by ARP or neighbour discovery; write gateway_macs = [\"…\"]", configured.Name, gateways))
		p.plan.Warnings[len(p.plan.Warnings)-1].Unanswered = true
	}
	return answered, err
}
