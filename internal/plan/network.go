package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/ruleset"
)

// Live is the network of the host itself.
type Live struct {
	Host *host.Host

	// Running says that the domain's guest runs already, so that what libvirt made may
	// have been changed.
	Running bool

	// Guard says that a guard stands. Rules then mark what they accept even if
	// the configuration wants none by now: the VM would have no network.
	Guard bool

	// Patience is how long Ask waits for gateways to answer.
	Patience time.Duration

	// Rules reads the table of that name, if it stands; nil for a VM that starts, whose
	// devices have no rules of their own yet.
	Rules func(name string) (rules ruleset.Table, stand bool, err error)

	// Keep says that the device of the one interface that is planned had rules, though
	// they may be gone by now.
	Keep bool

	// Seen are the parents that were looked at already, by the names that they
	// were asked for, for a plan that is made at once. Nil remembers none.
	Seen map[string]host.NIC
}

// Guarded reports whether a guard stands.
func (l Live) Guarded() bool { return l.Guard }

// Names asks the host.
func (l Live) Names(parent string) ([]string, error) {
	nic, err := l.nic(parent)
	return nic.Names, err
}

// Facts asks the host.
func (l Live) Facts(parent string) (facts.Facts, error) {
	nic, err := l.nic(parent)
	if err != nil {
		return facts.Facts{}, err
	}
	return l.Host.FactsOf(nic)
}

// Ask has the kernel ask the gateways.
func (l Live) Ask(parent string) (facts.Facts, error) {
	nic, err := l.nic(parent)
	if err != nil {
		return facts.Facts{}, err
	}
	again := l.Patience
	if l.Running {
		again /= 20 // a host may have hundreds of VMs, whose hooks come one after the other
	}
	return l.Host.AskGateways(nic, l.Patience, again)
}

// CutsOff looks at what stands for the very device. What cannot be read hands nothing on.
func (l Live) CutsOff(i domain.Interface, gateways []netip.Addr) bool {
	if !l.Running || l.Rules == nil {
		return false
	}
	rules, stand, err := l.Rules(ruleset.TableName(i.Target))
	return err != nil || !stand || !filter.Bound(rules, i.Index) || !filter.KnowsRouters(rules, gateways)
}

// Patience is how long the gateways may take to answer where a VM waits for it: as long
// as the kernel takes to ask them again (arp(7), retrans_time_ms).
const Patience = time.Second

func (l Live) nic(parent string) (host.NIC, error) {
	if nic, ok := l.Seen[parent]; ok {
		return nic, nil
	}
	nic, err := l.Host.NIC(parent)
	if err == nil && l.Seen != nil {
		l.Seen[parent] = nic
	}
	return nic, err
}

// Check holds the interface against the kernel. libvirt's XML of a VM that runs has a MAC
// address; for one written by hand without, the device's is at hand.
func (l Live) Check(i domain.Interface) (domain.Interface, error) {
	parent, err := l.nic(i.Parent)
	if err != nil {
		return i, err
	}
	device, err := l.Host.Check(i, parent, l.Running)
	if err != nil {
		return i, err
	}
	i.Index, i.DeviceMAC = device.Index, device.MAC
	if i.MAC == nil {
		i.MAC = device.MAC
	}
	return i, nil
}

// Beneath asks the host.
func (l Live) Beneath(i domain.Interface) ([]string, error) { return l.Host.Beneath(i) }

// Absent asks the host.
func (l Live) Absent(names []string) ([]host.Absent, error) { return l.Host.Absent(names) }

// Protected looks at what stands: rules of ours that were made for that very device. A
// table that lets everything pass the guard is none, nor one that closes the device.
func (l Live) Protected(i domain.Interface) (bool, error) {
	if l.Keep || l.Rules == nil {
		return l.Keep, nil
	}
	rules, stand, err := l.Rules(ruleset.TableName(i.Target))
	if err != nil || !stand || filter.ParseOwner(rules.Comment).UUID == "" || !judges(rules) {
		return false, err
	}
	device, err := l.Check(i)
	return err == nil && filter.Bound(rules, device.Index), err
}

// judges reports whether a table tells frames apart by more than the device.
func judges(t ruleset.Table) bool {
	return t.Unknown != "" || slices.ContainsFunc(t.Chains, func(c ruleset.Chain) bool {
		return slices.ContainsFunc(c.Rules, func(r ruleset.Rule) bool {
			return r.Unknown != "" || slices.ContainsFunc(r.Matches, func(m ruleset.Match) bool {
				compare, ok := m.(ruleset.Compare)
				return !ok || compare.Field != ruleset.InputIndex && compare.Field != ruleset.OutputIndex
			})
		})
	})
}

// Offline is this host's network, looked at without its VMs' devices. A parent
// that the host does not have is known by no name but the XML's.
type Offline struct {
	Host *host.Host
}

// Names asks the host.
func (o Offline) Names(parent string) ([]string, error) {
	nic, err := o.Host.NIC(parent)
	if err != nil {
		return []string{parent}, nil
	}
	return nic.Names, nil
}

// Facts asks the host.
func (o Offline) Facts(parent string) (facts.Facts, error) {
	f, err := o.Host.Facts(parent)
	if err != nil {
		return f, fmt.Errorf("%w; give --facts FILE with what \"macvtap-filter facts %s\" prints on the VM's host", err, parent)
	}
	return f, nil
}

// Ask asks nobody but the host: rules that are printed concern no gateway.
func (o Offline) Ask(parent string) (facts.Facts, error) { return o.Facts(parent) }

// CutsOff knows of no guest.
func (o Offline) CutsOff(domain.Interface, []netip.Addr) bool { return false }

// Check finds nothing wrong: there are no devices to look at.
func (o Offline) Check(i domain.Interface) (domain.Interface, error) { return i, nil }

// Beneath knows of no devices.
func (o Offline) Beneath(domain.Interface) ([]string, error) { return nil, nil }

// Absent knows of none: the VM's host is another.
func (o Offline) Absent([]string) ([]host.Absent, error) { return nil, nil }

// Protected knows of no devices.
func (o Offline) Protected(domain.Interface) (bool, error) { return false, nil }

// Guarded leaves it to the configuration.
func (o Offline) Guarded() bool { return false }

// Recorded is a network of which only facts are known, as in CI.
type Recorded []facts.Facts

// Names gives the names that the facts know the parent by.
func (r Recorded) Names(parent string) ([]string, error) {
	if f, ok := r.find(parent); ok {
		return append([]string{f.Parent}, f.Names...), nil
	}
	return []string{parent}, nil
}

// Facts gives the parent's facts; none is an error.
func (r Recorded) Facts(parent string) (facts.Facts, error) {
	if f, ok := r.find(parent); ok {
		return f, nil
	}
	return facts.Facts{}, fmt.Errorf("no facts of the parent %q; give --facts FILE with what \"macvtap-filter facts %s\" prints on the host", parent, parent)
}

// Ask gives what is recorded.
func (r Recorded) Ask(parent string) (facts.Facts, error) { return r.Facts(parent) }

func (r Recorded) find(parent string) (facts.Facts, bool) {
	i := slices.IndexFunc(r, func(f facts.Facts) bool {
		return f.Parent == parent || slices.Contains(f.Names, parent)
	})
	if i < 0 {
		return facts.Facts{}, false
	}
	return r[i], true
}

// CutsOff knows of no guest.
func (r Recorded) CutsOff(domain.Interface, []netip.Addr) bool { return false }

// Check finds nothing wrong: there are no devices to look at.
func (r Recorded) Check(i domain.Interface) (domain.Interface, error) { return i, nil }

// Beneath knows of no devices.
func (r Recorded) Beneath(domain.Interface) ([]string, error) { return nil, nil }

// Absent knows of none: facts are of some parents.
func (r Recorded) Absent([]string) ([]host.Absent, error) { return nil, nil }

// Protected knows of no devices.
func (r Recorded) Protected(domain.Interface) (bool, error) { return false, nil }

// Guarded leaves it to the configuration.
func (r Recorded) Guarded() bool { return false }
