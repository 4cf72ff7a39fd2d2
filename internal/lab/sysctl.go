package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// setSysctl writes a value below /proc/sys/net as the calling thread's
// namespace sees it. A kernel that lacks the whole family is no error.
func setSysctl(name, value string) error {
	path := filepath.Join("/proc/sys/net", name)
	err := os.WriteFile(path, []byte(value), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set %s to %s: %w", path, value, err)
	}
	return nil
}

// quieten makes the calling thread's namespace say nothing unasked, and undoes
// what a new namespace inherits of the machine's own IPv4 settings.
func quieten() error {
	settings := []struct{ name, value string }{
		{"ipv6/conf/default/disable_ipv6", "1"},
		{"ipv6/conf/default/accept_dad", "0"},
		{"ipv6/conf/default/accept_ra", "0"},
		{"ipv6/conf/default/router_solicitations", "0"},
		{"ipv6/conf/default/addr_gen_mode", "1"}, // no link-local address of its own
		{"ipv4/ip_forward", "0"},
		{"ipv4/conf/all/rp_filter", "0"},
		{"ipv4/conf/default/rp_filter", "0"},
		{"ipv4/conf/all/arp_ignore", "0"},
		{"ipv4/conf/default/arp_ignore", "0"},
	}
	for _, s := range settings {
		if err := setSysctl(s.name, s.value); err != nil {
			return err
		}
	}
	return nil
}

// enableIPv6 lets a device of the namespace have IPv6 addresses.
func (ns *Namespace) enableIPv6(device string) error {
	return ns.Do(func() error {
		return setSysctl("ipv6/conf/"+device+"/disable_ipv6", "0")
	})
}

// forward makes the namespace a router for both families.
func (ns *Namespace) forward() error {
	return ns.Do(func() error {
		return errors.Join(
			setSysctl("ipv4/ip_forward", "1"),
			setSysctl("ipv6/conf/all/forwarding", "1"),
		)
	})
}
