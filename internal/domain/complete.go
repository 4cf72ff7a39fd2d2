package domain

import (
	"fmt"
	"net"
)

// noUUID stands for the UUID that libvirt gives a VM when it is defined.
const noUUID = "00000000-0000-0000-0000-000000000000"

// Complete fills in what only libvirt gives a domain: a UUID and MAC addresses when
// it is defined, devices when it starts. It says what it filled in, for the
// administrator. It is for printing rules only: nothing runs under such names.
func (d *Domain) Complete() []string {
	var notes []string
	for _, note := range d.notes {
		notes = append(notes, fmt.Sprintf("VM %q: %s", d.Name, note))
	}
	d.notes = nil
	if d.UUID == "" {
		d.UUID = noUUID
		notes = append(notes, fmt.Sprintf("VM %q: the XML has no <uuid>: written as %s", d.Name, noUUID))
	}
	free := d.freeTargets()
	taken := map[string]bool{}
	for n := range d.Direct {
		i := &d.Direct[n]
		if i.Target != "" && taken[i.Target] {
			// libvirt forgets such names when a VM is defined, where they are its own.
			notes = append(notes, fmt.Sprintf("VM %q: interface %d has the device %q, as one before it has: while the VM is shut off the name says nothing", d.Name, i.Number, i.Target))
			i.Target = ""
		}
		taken[i.Target] = true
		if i.Target == "" {
			i.Target = free()
			notes = append(notes, fmt.Sprintf("VM %q: interface %d has no device while the VM is shut off: named %s", d.Name, i.Number, i.Target))
		}
		if i.MAC == nil {
			// QEMU's prefix, as libvirt's own choice has it.
			i.MAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(i.Number)}
			notes = append(notes, fmt.Sprintf("VM %q: interface %d has no <mac> before the VM is defined: written as %s", d.Name, i.Number, i.MAC))
		}
	}
	return notes
}

// freeTargets gives a function that gives one after the other of the names macvtap0,
// macvtap1 … that no direct interface has. libvirt names devices so when a VM
// starts.
func (d *Domain) freeTargets() func() string {
	taken := map[string]bool{}
	for _, i := range d.Direct {
		taken[i.Target] = true
	}
	next := 0
	return func() string {
		for {
			name := fmt.Sprintf("macvtap%d", next)
			next++
			if !taken[name] {
				return name
			}
		}
	}
}
