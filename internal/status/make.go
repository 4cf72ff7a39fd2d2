package status

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/watch"
)

// Sources are what those who were asked said, or why they did not.
type Sources struct {
	Time time.Time

	Watch    watch.Report
	WatchErr error

	Devices    []host.Carrier
	DevicesErr error

	Tables    []kernel.Tally // as they stood before the devices were counted
	TablesErr error

	Checks    map[int]Check // of checksum offload, by interface index
	ChecksErr error

	// Compared holds what a comparison found of the devices that watch says nothing
	// of, by interface index.
	Compared map[int]Compared

	Prefixes []string // of the devices' names that the guard closes, nil where nobody knows
	Plugs    []filter.Plug

	Absent []host.Absent // parents that are named and missing

	ConfigHash, ConfigError string // see Status

	// Notes are what else is to be said; Partial says that there is more to know than
	// is in here.
	Notes   []string
	Partial bool
}

// A Check is what a device has of the check of checksum offload.
type Check struct {
	Stands bool
	Drops  *uint64 // what it dropped, nil where nobody could read that
}

// A Compared is what a comparison of what stands with what should found of a device.
type Compared struct {
	VM, UUID string
	Section  string // see Interface
	Number   int
	Policy   string
	State    State
	Problem  string
}

// Make makes one picture of what the sources said.
func Make(s Sources) Status {
	out := Status{Schema: Schema, Time: s.Time, Complete: !s.Partial, Notes: slices.Clone(s.Notes), AbsentParents: s.Absent, ConfigHash: s.ConfigHash, ConfigError: s.ConfigError, Sets: filled(s.Tables), Interfaces: []Interface{}}
	m := maker{Sources: s, status: &out, told: map[int]watch.Device{}, tables: map[string]kernel.Tally{}, taken: map[string]bool{}}
	m.sources()
	for _, d := range s.Devices {
		out.Interfaces = append(out.Interfaces, m.device(d))
	}
	if s.DevicesErr == nil {
		m.leftovers()
	}
	slices.SortStableFunc(out.Interfaces, func(a, b Interface) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Device, b.Device))
	})
	if out.Notes == nil {
		out.Notes = []string{}
	}
	return out
}

// filled gives the sets to which rules add. Flows may be hundreds of thousands, and are not read.
func filled(tables []kernel.Tally) []Set {
	var out []Set
	for _, t := range tables {
		for _, s := range t.Table.Sets {
			if s.Dynamic == 0 || ruleset.IsFlows(s.Name) || ruleset.IsPassed(s.Name) {
				continue
			}
			n, found := slices.BinarySearchFunc(out, s.Name, func(known Set, name string) int { return strings.Compare(known.Name, name) })
			if !found {
				out = slices.Insert(out, n, Set{Name: s.Name, Most: s.Dynamic})
			}
			out[n].Elements += len(s.Elements)
		}
	}
	return out
}

type maker struct {
	Sources
	status *Status
	told   map[int]watch.Device
	tables map[string]kernel.Tally
	guard  *kernel.Standing
	taken  map[string]bool // tables that are some device's
}

// note says what is not known, or wrong.
func (m *maker) note(format string, args ...any) {
	m.status.Notes = append(m.status.Notes, fmt.Sprintf(format, args...))
}

// missing notes that a source did not answer.
func (m *maker) missing(what string, err error) {
	if err == nil {
		return
	}
	m.status.Complete = false
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM) {
		m.note("%s: this needs root: %v", what, err)
	} else {
		m.note("%s: %v", what, err)
	}
}

// sources takes what concerns no single device.
func (m *maker) sources() {
	if m.WatchErr == nil {
		m.status.Watch = &Watch{m.Watch.PID, m.Watch.Since}
		for _, d := range m.Watch.Devices {
			m.told[d.Index] = d
		}
		for _, problem := range []string{m.Watch.Config, m.Watch.Libvirt} {
			if problem != "" {
				m.note("watch: %s", problem)
			}
		}
	} else if !errors.Is(m.WatchErr, watch.ErrNotRunning) {
		m.missing("watch, which knows the states, cannot be asked", m.WatchErr)
	}
	m.missing("the devices cannot be listed", m.DevicesErr)
	m.missing("the rules cannot be read", m.TablesErr)
	m.missing("the check of checksum offload cannot be looked at", m.ChecksErr)
	for _, t := range m.Tables {
		if t.Name == ruleset.GuardTable {
			m.guard = &t.Standing
			m.status.Guard = &Guard{drops(t, fromVM), drops(t, toVM)}
			continue
		}
		m.tables[t.Name] = t
	}
}

// The directions, as the counters' names begin.
const (
	fromVM = "from-vm-"
	toVM   = "to-vm-"
)

// drops gives what a table counted one way.
func drops(t kernel.Tally, direction string) []Drop {
	out := []Drop{}
	for _, c := range t.Counters {
		if reason, ok := strings.CutPrefix(c.Name, direction); ok {
			out = append(out, Drop{reason, c.Packets, new(c.Bytes)})
		}
	}
	return out
}

// device tells of a device that there is.
func (m *maker) device(d host.Carrier) Interface {
	i := Interface{Device: d.Name, Index: d.Index, MAC: d.MAC.String(), Parent: d.NIC}
	t, stands := m.tables[ruleset.TableName(d.Name)]
	if stands {
		m.taken[t.Name] = true
		i.Rules = t.Handle
	}
	owner := filter.ParseOwner(t.Comment)
	if told, ok := m.told[d.Index]; ok {
		m.byWatch(&i, told, stands)
	}
	if c, ok := m.Compared[d.Index]; ok && i.State == "" {
		i.VM, i.UUID = cmp.Or(c.VM, i.VM), cmp.Or(c.UUID, i.UUID)
		i.Number, i.Policy, i.Section = cmp.Or(c.Number, i.Number), cmp.Or(c.Policy, i.Policy), cmp.Or(c.Section, i.Section)
		i.State, i.Problem, i.Since = c.State, c.Problem, nil // since when, a comparison does not tell
	}
	if domain.OfVM(owner.UUID) {
		i.VM, i.UUID = cmp.Or(i.VM, owner.Name), cmp.Or(i.UUID, owner.UUID)
	}
	switch {
	case i.Problem != "":
	case i.State == "":
		i.Problem = "nobody could compare its rules with those that should stand"
	case i.State == Unprotected && !d.Up:
		i.Problem = "no rules stand; it is down, and passes nothing yet"
	case i.State == Unprotected && m.closes(d.Name):
		i.Problem = "no rules stand, and the guard closes it: " + remedy(i)
	case i.State == Unprotected && slices.ContainsFunc(m.Plugs, func(p filter.Plug) bool { return p.MAC.String() == d.MAC.String() }):
		i.Problem = "no rules stand, and it is closed until they do, as a NIC that was plugged in: " + remedy(i)
	case i.State == Unprotected:
		i.Problem = "no rules stand, the local network and the VM are open to each other: " + remedy(i)
	}
	m.flows(&i, d, t, stands)
	return i
}

// remedy says how an interface gets its rules: verify makes them for the VM that has it,
// and only watch where nobody says whose it is.
func remedy(i Interface) string {
	if i.VM != "" || i.Section != "" {
		return "\"macvtap-filter verify --repair\" makes them"
	}
	return "no VM is known to have it; \"systemctl start macvtap-filter-watch\" has the default policy's rules made"
}

// closes reports whether the guard that stands closes a device.
func (m *maker) closes(device string) bool {
	return m.guard != nil && m.guard.Reaches(device) &&
		(m.Prefixes == nil || slices.ContainsFunc(m.Prefixes, func(prefix string) bool { return strings.HasPrefix(device, prefix) }))
}

// byWatch takes what watch says of a device. It vouches for the rules that it saw
// stand; that there are any is looked at here, and that the check of offloads stands,
// of which nobody tells it.
func (m *maker) byWatch(i *Interface, told watch.Device, stands bool) {
	i.VM, i.UUID, i.Section, i.Number, i.Policy, i.Problem = told.VM, told.UUID, told.Section, told.Number, told.Policy, told.Problem
	i.Since = new(told.Since)
	switch told.State {
	case watch.Right:
		i.State = m.vouched(i, told, stands)
		if i.State == Protected && told.Kept != "" {
			i.State, i.Problem = Stale, told.Kept
		}
	case watch.Closed:
		i.State = Drifted
	case watch.Mending:
		i.State, i.Problem = Drifted, cmp.Or(i.Problem, "other rules stand than should: watch is about to program them")
		if m.TablesErr == nil && !stands {
			i.State = Unprotected
		}
	case watch.Open:
		i.State = Unfiltered
	case watch.Left:
		// Rules of its hook's, or older ones. Whether they are right, watch does
		// not know; but if none better could be made, they are not.
		if told.Problem != "" {
			i.State = Drifted
		}
		if m.TablesErr == nil && !stands {
			i.State = Unprotected
		}
	}
}

// vouched gives the state of a device of which watch says that the rules that should
// stand do.
func (m *maker) vouched(i *Interface, told watch.Device, stands bool) State {
	check, looked := m.Checks[told.Index]
	switch {
	case m.TablesErr == nil && !stands:
		return Unprotected
	case told.Check && looked && !check.Stands:
		i.Problem = "the check of checksum offload is gone from the device: \"macvtap-filter verify --repair\" puts it back"
		return Drifted
	case told.UUID == "" && told.Section == "":
		i.Problem = "no VM is known to have this device: the default policy's rules stand"
		return Unknown
	}
	i.Problem = told.Address
	return Protected
}

// etherHeader is what nftables does not count of a frame to the VM, whose header the
// kernel has taken off by then (net/ethernet/eth.c, eth_type_trans).
const etherHeader = 14

// flows tells what went through a device.
func (m *maker) flows(i *Interface, d host.Carrier, t kernel.Tally, stands bool) {
	i.FromVM.Passed = &Count{d.Sent.Frames, d.Sent.Bytes}
	i.ToVM.Arrived = &Count{d.Arrived.Frames, d.Arrived.Bytes}
	if m.TablesErr != nil {
		return
	}
	i.FromVM.Drops, i.ToVM.Drops = []Drop{}, []Drop{}
	if stands {
		i.FromVM.Drops, i.ToVM.Drops = drops(t, fromVM), drops(t, toVM)
		i.Addresses, i.Refused = m.addresses(i.Index, t.Table), filter.Refused(t.Table)
	}
	if check, ok := m.Checks[d.Index]; ok && check.Drops != nil {
		i.FromVM.Drops = append(i.FromVM.Drops, Drop{OffloadReason, *check.Drops, nil})
	}
	var dropped Count
	for n, drop := range i.ToVM.Drops {
		bytes := *drop.Bytes + etherHeader*drop.Packets
		i.ToVM.Drops[n].Bytes = &bytes
		dropped.Packets, dropped.Bytes = dropped.Packets+drop.Packets, dropped.Bytes+bytes
	}
	if came := i.ToVM.Arrived; dropped.Packets <= came.Packets && dropped.Bytes <= came.Bytes {
		i.ToVM.Passed = &Count{came.Packets - dropped.Packets, came.Bytes - dropped.Bytes}
	}
}

// addresses tells which addresses rules take for a VM's own.
func (m *maker) addresses(index int, t ruleset.Table) []Address {
	var out []Address
	known, _, _ := filter.Addresses(t)
	for _, a := range known {
		its := Address{Address: a.Addr, Source: a.Source, Since: m.Watch.KnownSince(index, a.Addr)}
		if a.Used != nil {
			its.Used = new(m.Time.Add(-*a.Used))
		}
		out = append(out, its)
	}
	return out
}

// leftovers tells of the tables of devices that are gone.
func (m *maker) leftovers() {
	for _, t := range m.Tables {
		owner := filter.ParseOwner(t.Comment)
		device, ours := ruleset.TableDevice(t.Name)
		if !ours || owner.UUID == "" || m.taken[t.Name] {
			continue
		}
		i := Interface{
			Device: device, State: Stale, Rules: t.Handle,
			Problem: fmt.Sprintf("there is no device %q any more; a later one of that name would get these rules", device),
			FromVM:  Flow{Drops: drops(t, fromVM)}, ToVM: Flow{Drops: drops(t, toVM)},
		}
		if domain.OfVM(owner.UUID) {
			i.VM, i.UUID = owner.Name, owner.UUID
		}
		m.status.Interfaces = append(m.status.Interfaces, i)
	}
}
