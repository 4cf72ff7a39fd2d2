// Package hook tells libvirt's hook calls from an administrator's commands, and
// what each call asks for (https://libvirt.org/hooks.html).
package hook

import (
	"path/filepath"
	"slices"
)

// Action is what a hook call asks of the filter.
type Action int

// The actions. None is for every operation that needs nothing of us, the ones
// that later libvirts may add among them.
const (
	None Action = iota
	Protect
	Reprotect
	Release
	Expect // the VM that will start comes from another host, or was saved
	Resume // the VM has started, it may be from a snapshot
	Plug   // a NIC of a network comes to a VM
	Follow // the hook's own call: that NIC is coming
)

// Followed is the operation of the hook's own call, on the VM, with the NIC's MAC address in
// libvirt's place for more: libvirt has none of the name.
const Followed = "macvtap-filter-plugged"

// A Call is a call by libvirt: NAME OPERATION SUBOPERATION EXTRA.
type Call struct {
	Network      bool   // it is libvirt's hook of networks
	Domain       string // the VM's name, or the network's
	Operation    string // "start", "reconnect", "stopped" …
	Suboperation string // "begin" or "end"
	Extra        string // "-" for nothing
}

// operations are the qemu hook's operations
// (libvirt's src/util/virhook.c, virHookQemuOp).
var operations = []string{"start", "stopped", "prepare", "release", "migrate", "started", "reconnect", "attach", "restore"}

// Parse reads the program's name, as it was called, and the arguments that follow it. It
// reports whether they are a hook call: four of them, the third "begin" or "end". Arguments that
// begin with the name of a command are one only when the second is an operation
// that libvirt has, or the last is libvirt's "-": an operation that a later libvirt
// adds must do nothing, and "apply a begin b" is three VMs.
func Parse(program string, args []string, isCommand func(string) bool) (Call, bool) {
	if len(args) != 4 || args[2] != "begin" && args[2] != "end" {
		return Call{}, false
	}
	network := ofNetworks(program)
	if !network && !slices.Contains(operations, args[1]) && args[3] != "-" && isCommand(args[0]) {
		return Call{}, false
	}
	return Call{Network: network, Domain: args[0], Operation: args[1], Suboperation: args[2], Extra: args[3]}, true
}

// ofNetworks reports whether the program is called as the hook of networks, by its place: a
// network starts and stops as a VM does. libvirt gives the whole path
// (libvirt's src/util/virhook.c, virRunScript).
func ofNetworks(program string) bool {
	return filepath.Base(program) == "network" || filepath.Base(filepath.Dir(program)) == "network.d"
}

// Action gives what the call asks for. At "start" the macvtap devices exist and
// the guest does not run yet; at "stopped" and "release" the guest is gone.
func (c Call) Action() Action {
	if c.Network {
		switch c.Operation + " " + c.Suboperation {
		case "port-created begin":
			return Plug
		case Followed + " begin":
			return Follow
		}
		return None
	}
	switch c.Operation + " " + c.Suboperation {
	case "start begin":
		return Protect
	case "reconnect begin":
		return Reprotect
	case "stopped end", "release end":
		return Release
	case "migrate begin", "restore begin":
		return Expect
	case "started begin":
		return Resume
	}
	return None
}
