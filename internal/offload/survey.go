// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"errors"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Finding is what a device has of the check.
type Finding struct {
	Current bool    // it stands, in this very version
	Drops   *uint64 // how many frames it dropped; nil without one, or without the right to ask
}

// Survey looks at many devices, by their interface indexes, in the network namespace of
// the calling thread. Devices that are gone are left out.
func Survey(indexes []int) (map[int]Finding, error) {
	out := make(map[int]Finding, len(indexes))
	err := withNetlink(func(handle *netlink.Handle) error {
		for _, index := range indexes {
			f, err := survey(handle, index)
			switch {
			case errors.Is(err, unix.ENODEV):
			case err != nil:
				return explained(err)
			default:
				out[index] = f
			}
		}
		return nil
	})
	return out, err
}

func survey(handle *netlink.Handle, index int) (Finding, error) {
	s := standing{ifindex: index}
	err := s.look(handle)
	if err == nil && s.id == 0 {
		s, err = findTCX(index)
	}
	if err != nil || s.id == 0 {
		return Finding{}, err
	}
	f := Finding{Current: s.current()}
	drops, err := countOf(s.id)
	switch {
	case err == nil:
		f.Drops = &drops
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOENT): // not ours to ask; or it went
		err = nil
	}
	return f, err
}
