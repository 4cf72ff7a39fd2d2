// Package drift holds what the kernel has against what should be there. It is
// pure: whoever asks reads both sides, and mends.
package drift

import (
	"fmt"
	"strings"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// A State says what is wrong with a device's rules.
type State string

// What can be wrong.
const (
	Drifted     State = "drifted"     // other rules stand than should
	Unprotected State = "unprotected" // none stand
	Stale       State = "stale"       // rules stand and none should
)

// A Finding is the rules of one interface, or the guard, that are not as they should be.
type Finding struct {
	State     State  `json:"state"`
	VM        string `json:"vm"` // "" for the guard, which is everybody's
	UUID      string `json:"uuid"`
	Interface int    `json:"interface,omitempty"` // its place in the domain XML, from 1
	Device    string `json:"device"`
	Table     string `json:"table"` // that the rules stand in, or should
	Reason    string `json:"reason"`
	Diff      string `json:"diff,omitempty"` // of a drifted one: unified, in nft's words

	Rules  string `json:"-"` // the name of the rules, see ruleset.TableName, or of the guard
	Handle uint64 `json:"-"` // of the rules that stand
	Kept   bool   `json:"-"` // only who removes rules, or mends the configuration, mends it
	Own    bool   `json:"-"` // the device is one that libvirt has no VM for
}

// String tells the finding in one line, and below it how the rules differ.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s\n%s", f.Where(), f.State, f.Reason, f.Diff)
}

// Where names the VM, its interface and the device.
func (f Finding) Where() string {
	switch {
	case f.Rules == ruleset.GuardTable:
		return "the guard"
	case f.Interface > 0:
		return fmt.Sprintf("VM %q: interface %d, device %q", f.VM, f.Interface, f.Device)
	case f.Own:
		return fmt.Sprintf("device %q", f.Device)
	case f.VM == "":
		return fmt.Sprintf("no known VM: device %q", f.Device)
	}
	return fmt.Sprintf("VM %q: device %q", f.VM, f.Device)
}

// of gives a finding of the rules of a VM, or of a device that libvirt has none for.
func (f Finding) of(name, uuid string) Finding {
	if f.Own = domain.IsDevice(uuid); !f.Own {
		f.VM, f.UUID = name, uuid
	}
	return f
}

// A VM is a running one and the rules that should stand for it.
type VM struct {
	*domain.Domain
	Tables []ruleset.Table
	Closed func(device string) bool // whether it is closed while it has no rules, by the guard or as a NIC that was plugged in; nil for none
	Kept   map[string]string        // by device: why its rules stay though its NIC is no parent
}

// Find gives what is wrong: first VM by VM, in their order, then what belongs to
// none of them. exists reports whether there is a device of that name; rules that
// name no owner are somebody's own, and are let alone.
func Find(vms []VM, held []kernel.Held, exists func(device string) bool) []Finding {
	standing := map[string]kernel.Held{}
	for _, h := range held {
		standing[h.Name] = h
	}
	running := map[string]bool{}
	wanted := map[string]bool{}
	var found []Finding
	for _, vm := range vms {
		running[vm.UUID] = true
		for _, should := range vm.Tables {
			wanted[should.Name] = true
			h, stands := standing[should.Name]
			f, wrong := compare(vm, should, h, stands)
			if wrong {
				found = append(found, f)
			} else if why := vm.Kept[f.Device]; why != "" {
				f.State, f.Reason, f.Kept = Stale, why, true
				found = append(found, f)
			}
		}
	}
	for _, h := range held {
		owner := filter.ParseOwner(h.Comment)
		device, ours := ruleset.TableDevice(h.Name)
		if wanted[h.Name] || !ours || owner.UUID == "" {
			continue
		}
		if owner.UUID == domain.UnknownUUID && exists(device) {
			continue // watch closes what it cannot tell the VM of
		}
		f := Finding{
			State: Stale, Device: device, Table: ruleset.RulesTable, Rules: h.Name, Handle: h.Handle,
			Reason: stale(device, running[owner.UUID], exists(device)),
		}.of(owner.Name, owner.UUID)
		if f.Own && exists(device) {
			// Whoever changed a file did not say that the device is to be open.
			f.Kept, f.Reason = true, fmt.Sprintf("no [[device]] section is for it any more; its rules stay: write one, or remove them with \"macvtap-filter remove --device %s\"", device)
		}
		found = append(found, f)
	}
	return found
}

func compare(vm VM, should ruleset.Table, h kernel.Held, stands bool) (Finding, bool) {
	device, _ := ruleset.TableDevice(should.Name)
	f := Finding{Device: device, Table: ruleset.RulesTable, Rules: should.Name, Handle: h.Handle}.of(vm.Name, vm.UUID)
	for _, i := range vm.Direct {
		if i.Target == device && !f.Own {
			f.Interface = i.Number
		}
	}
	if !stands {
		f.State, f.Reason = Unprotected, "no rules stand: the local network and the VM are open to each other"
		if vm.Closed != nil && vm.Closed(device) {
			f.Reason = "no rules stand, and the device is closed until they do: the VM has no network there"
		}
		return f, true
	}
	if f.Diff = diff(should, h.Table); f.Diff == "" {
		return f, false
	}
	f.State, f.Reason = Drifted, "other rules stand than should"
	if lost := unbound(should, h.Table); len(lost) > 0 {
		f.Reason += "; not bound to the device: " + strings.Join(lost, ", ")
	}
	return f, true
}

func diff(should, stands ruleset.Table) string {
	whose := ruleset.Shown(should.Name)
	return ruleset.Diff(whose+" (should stand)", should, whose+" (stands)", stands)
}

// Guard gives what is wrong with the guard that the configuration wants, nil for
// none.
func Guard(want *ruleset.Table, held []kernel.Held) []Finding {
	f := Finding{Table: ruleset.GuardTable, Rules: ruleset.GuardTable}
	stands := len(held) > 0
	if stands {
		f.Handle = held[0].Handle
	}
	switch {
	case want == nil && stands:
		f.State, f.Reason = Stale, "a guard stands that the configuration does not want"
	case want != nil && !stands:
		f.State, f.Reason = Unprotected, "none stands: devices without rules are open"
	case want != nil && stands:
		f.State, f.Reason, f.Diff = Drifted, "another one stands than should", diff(*want, held[0].Table)
	}
	if f.State == "" || f.State == Drifted && f.Diff == "" {
		return nil
	}
	return []Finding{f}
}

// unbound names the base chains that see no frame of their device, for which no
// rule in them matters.
func unbound(should, stands ruleset.Table) []string {
	bound := map[string]bool{}
	for _, c := range stands.Chains {
		if c.Hook != nil {
			bound[string(c.Hook.Type)+" "+c.Hook.Device] = true
		}
	}
	var lost []string
	for _, c := range should.Chains {
		if c.Hook != nil && !bound[string(c.Hook.Type)+" "+c.Hook.Device] {
			lost = append(lost, c.Name)
		}
	}
	return lost
}

func stale(device string, running, exists bool) string {
	switch {
	case !exists:
		return fmt.Sprintf("there is no device %q any more; a later one of that name would get these rules", device)
	case running:
		return "the VM has no such interface on a configured parent"
	}
	return "the VM is not running, and the device may be another's"
}
