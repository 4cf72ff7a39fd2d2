// Package status says how a host's macvtap interfaces are: whose they are, whether the
// rules that should stand do, what passed and what was stopped.
//
// There are several sources, and each may be missing: a running watch knows every
// device's state; without one, what stands is compared with what should. The kernel
// knows the devices and what they counted, libvirt the VMs. Collect asks them, Make
// makes one picture of what they said. What nobody said is left out, and never
// guessed.
package status

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
)

// Schema is the version of the JSON form of a Status. It grows when a field changes its
// meaning or goes; new fields leave it as it is.
const Schema = 1

// A Status is what is known of a host's macvtap interfaces at one moment. Its JSON form
// is documented in macvtap-filter(8); a field of which nothing is known is absent.
type Status struct {
	Schema   int       `json:"schema"`
	Time     time.Time `json:"time"`            // when it was looked
	Complete bool      `json:"complete"`        // everybody who was asked answered
	Notes    []string  `json:"notes"`           // what is not known, and why; what is wrong with a source
	Watch    *Watch    `json:"watch,omitempty"` // nil where none runs, or none answered
	Guard    *Guard    `json:"guard,omitempty"` // nil where none stands, or nobody could look

	// AbsentParents are the names in parents that no NIC of the host has: nobody knows
	// which interfaces should have rules.
	AbsentParents []host.Absent `json:"absent_parents,omitempty"`

	// ConfigHash is the sum of the configuration's files, by which hosts' are compared, and
	// ConfigError why they cannot be read or are wrong.
	ConfigHash  string `json:"config_hash,omitempty"`
	ConfigError string `json:"config_error,omitempty"`

	// Sets are those to which rules add, but for flows, by name.
	Sets []Set `json:"sets,omitempty"`

	Interfaces []Interface `json:"interfaces"` // by VM and device
}

// A Set is one that all interfaces share, with how many elements of theirs it has and how many
// it takes at most: then rules learn no more.
type Set struct {
	Name     string `json:"name"`
	Elements int    `json:"elements"`
	Most     int    `json:"most"`
}

// A Watch is one that runs.
type Watch struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"` // when it began
}

// A Guard is what closes the devices that have no rules of their own, and what it
// dropped.
type Guard struct {
	FromVM []Drop `json:"from_vm"`
	ToVM   []Drop `json:"to_vm"`
}

// An Interface is a macvtap device, or the rules of one that is gone.
type Interface struct {
	VM      string     `json:"vm,omitempty"`
	UUID    string     `json:"uuid,omitempty"`
	Section string     `json:"section,omitempty"`   // what the [[device]] section calls it that it has its policy of
	Number  int        `json:"interface,omitempty"` // its place in the domain XML, from 1
	Device  string     `json:"device"`
	Index   int        `json:"index,omitempty"`   // 0 for one that is gone
	MAC     string     `json:"mac,omitempty"`     // the device's
	Parent  string     `json:"parent,omitempty"`  // the NIC it sits on
	Policy  string     `json:"policy,omitempty"`  // what its rules follow
	State   State      `json:"state,omitempty"`   // "" for: nobody could tell
	Problem string     `json:"problem,omitempty"` // what is wrong, or why nobody could tell
	Since   *time.Time `json:"since,omitempty"`   // when the state began, or watch did
	FromVM  Flow       `json:"from_vm"`
	ToVM    Flow       `json:"to_vm"`

	// Addresses are those that the rules take for the VM's own, as far as they know any.
	Addresses []Address `json:"addresses,omitempty"`

	// Refused are further addresses that the VM used when its rules came, and that are not its own.
	Refused []netip.Addr `json:"refused_addresses,omitempty"`

	// Rules is the kernel's own identity of the table that stands, 0 for none: drops
	// counted by another begin anew.
	Rules uint64 `json:"-"`
}

// An Address is one of a VM's own.
type Address struct {
	Address netip.Addr    `json:"address"`
	Source  filter.Source `json:"source"`          // how it is known
	Since   *time.Time    `json:"since,omitempty"` // when watch first saw that it is, or began
	Used    *time.Time    `json:"used,omitempty"`  // when the VM was given it, or last seen to use it
}

// Is reports whether the interface is that of the VM with this name or UUID, or the device of
// this name that a [[device]] section is for.
func (i Interface) Is(vm string) bool {
	return i.Section != "" && i.Device == vm || i.VM != "" && i.VM == vm || i.UUID != "" && i.UUID == strings.ToLower(vm)
}

// ToldOfRefused says what to do about addresses of the VM's from which its frames are dropped, ""
// where there are none.
func (i Interface) ToldOfRefused() string {
	if len(i.Refused) == 0 {
		return ""
	}
	all := make([]string, len(i.Refused))
	for n, a := range i.Refused {
		all[n] = a.String()
	}
	return "it also used " + strings.Join(all, ", ") + " when its rules came, which is dropped: rules learn one IPv4 address; if it has several, name all in addresses of a [[vm]] section"
}

// A State says how an interface's rules are.
type State string

// The states of an interface.
const (
	Protected   State = "protected"     // the rules that should stand do: they were compared, or watch did
	Drifted     State = "drifted"       // others do
	Unprotected State = "unprotected"   // none do
	Stale       State = "stale"         // rules of a device that is gone, or of no running VM
	Unknown     State = "unknown owner" // nobody knows whose it is: the default policy's rules stand
	Unfiltered  State = "unfiltered"    // its NIC is none of the parents: it has no rules, and should have none
)

// States lists all of them.
func States() []State {
	return []State{Protected, Drifted, Unprotected, Stale, Unknown, Unfiltered}
}

// A Flow is what went one way.
type Flow struct {
	// Passed is what the rules let pass since the device was made. To the VM that is
	// what came less what the rules that stand have dropped: what other rules dropped
	// before them, or the guard, is in it.
	Passed *Count `json:"passed,omitempty"`
	// Arrived is what came for the VM, before the rules; nil from the VM.
	Arrived *Count `json:"arrived,omitempty"`
	// Drops are the counters of the rules that stand, in their order, those that
	// counted nothing included; nil where nobody could read them.
	Drops []Drop `json:"drops,omitzero"`
}

// Dropped gives how many frames all reasons together dropped; false where nobody could
// read that.
func (f Flow) Dropped() (uint64, bool) {
	var sum uint64
	for _, d := range f.Drops {
		sum += d.Packets
	}
	return sum, f.Drops != nil
}

// A Count counts frames and bytes, the Ethernet header included.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// A Drop is what was dropped for one reason, which is named as the rules' counter is,
// less the direction. Bytes are nil where nobody counts them.
type Drop struct {
	Reason  string  `json:"reason"`
	Packets uint64  `json:"packets"`
	Bytes   *uint64 `json:"bytes,omitempty"`
}

// OffloadReason is the reason of frames that the check of checksum offload dropped,
// which is a program behind the rules. It counts no bytes.
const OffloadReason = "offload"

// Right reports whether every parent is there and every interface on one is protected, as
// far as anybody can tell: whether nothing is to be mended.
func (s Status) Right() bool {
	return len(s.AbsentParents) == 0 && !slices.ContainsFunc(s.Interfaces, func(i Interface) bool { return i.State != Protected && i.State != Unfiltered })
}
