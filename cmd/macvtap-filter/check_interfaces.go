package main

import (
	"context"
	"fmt"
	"os"

	"macvtap-filter/internal/status"
)

// checkInterfaces tells of each macvtap interface that is not as it should be, as status
// finds it, and gives what it found.
func checkInterfaces(ctx context.Context, r *report, o options) status.Status {
	s, _ := interfacesOf(ctx, o, nil) // without names, none is unknown
	bad := wrong(s)
	for _, i := range bad {
		c := checked{Result: "failed", VM: i.VM, UUID: i.UUID, Interface: i.Number, Device: i.Device, State: i.State}
		word := string(i.State)
		if i.State == "" {
			word = "unknown"
			if os.Geteuid() != 0 {
				c.Result = "warning" // what is wrong is that this is not root
			}
		}
		c.Message = shown(fmt.Sprintf("%sdevice %q is %s: %s", prefixOf(i), i.Device, word, i.Problem))
		r.add(c)
	}
	for _, i := range s.Interfaces {
		if told := i.ToldOfRefused(); told != "" {
			r.warn("%sdevice %q: %s", prefixOf(i), i.Device, told)
		}
	}
	if len(bad) == 0 {
		r.ok("interfaces: %s, none without the rules that should stand", count(len(s.Interfaces), "macvtap interface"))
	}
	return s
}

// prefixOf names the VM and the interface, as far as they are known.
func prefixOf(i status.Interface) string {
	switch {
	case i.VM == "":
		return "interfaces: "
	case i.Number == 0:
		return fmt.Sprintf("VM %q: ", i.VM)
	}
	return fmt.Sprintf("VM %q: interface %d, ", i.VM, i.Number)
}
