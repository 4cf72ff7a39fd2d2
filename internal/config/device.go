package config

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A device is a [[device]] section: macvtap devices that no VM of libvirt's has.
type device struct {
	match  // name is the device's own here
	policy string
	own    Own
}

// maxDevice is how long a device's name can be in bytes (IFNAMSIZ less the NUL at its end).
const maxDevice = 15

func (c *Config) checkDevice(check checker, at string, raw fileDevice) device {
	const section = "[[device]]"
	d := device{policy: c.checkChosen(check, at, section, raw.Policy), own: c.checkOwn(check, at, section, raw.Addresses)}
	if raw.Name == nil && raw.MAC == nil {
		check.add(at, section+": which devices? want name, mac or both")
	}
	if raw.Name != nil {
		d.name = *raw.Name
		_, err := path.Match(d.name, "")
		if err != nil || d.name == "" || strings.ContainsAny(d.name, noName) || shortest(d.name) > maxDevice {
			check.add(at+".name", section+": name = %q is no device's name of at most %d bytes, nor a glob", d.name, maxDevice)
		}
	}
	if raw.MAC != nil {
		d.mac = checkMAC(check, at+".mac", section, *raw.MAC)
	}
	return d
}

// warnDevices finds [[device]] sections that count for no device.
func (c *Config) warnDevices(check checker) {
	for i, d := range c.devices {
		if n := slices.IndexFunc(c.devices[:i], func(earlier device) bool { return earlier.covers(d.match) }); n >= 0 {
			check.add("device."+strconv.Itoa(i), "[[device]]: no device comes to this section, %v: the one before with %v matches them all, and the first that matches counts: put the narrower one first", d.match, c.devices[n].match)
		}
	}
}

// HasDevices reports whether there are [[device]] sections.
func (c *Config) HasDevices() bool { return len(c.devices) > 0 }

// Device gives the policy of a macvtap device that no VM of libvirt's has: that of the first
// [[device]] section that matches it. ok is false where none does. called is what the section
// calls its devices.
func (c *Config) Device(name string, mac net.HardwareAddr) (p Policy, called string, ok bool) {
	for _, d := range c.devices {
		if d.matches(NIC{VM: name, MAC: mac}) {
			p := c.policies[d.policy]
			p.Own = d.own
			if d.name == "" {
				return p, d.mac, true
			}
			return p, d.name, true
		}
	}
	return Policy{}, "", false
}

// DeviceSections gives the [[device]] sections in their order.
func (c *Config) DeviceSections() []Section {
	if len(c.devices) == 0 {
		return nil
	}
	where := c.where()
	var out []Section
	for i, d := range c.devices {
		out = append(out, Section{where(fmt.Sprintf("device.%d", i)), d.match})
	}
	return out
}

// OfDevice reports whether a [[device]] section is for a device.
func (s Section) OfDevice(name string, mac net.HardwareAddr) bool {
	return s.matches(NIC{VM: name, MAC: mac})
}
