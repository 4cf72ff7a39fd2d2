// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The check is a filter of the qdisc clsact, of which a device has one at most, and
// none beside the qdisc ingress. It goes with the device.

// errIngress says that the check has no place there.
var errIngress = errors.New("the device has the qdisc ingress, as libvirt makes it for <bandwidth>, and before Linux 6.6 there is no room for the check beside it")

// filter says where ours is among a device's filters; the handle is any number that
// is nobody else's.
func (s standing) filter() netlink.FilterAttrs {
	return netlink.FilterAttrs{
		LinkIndex: s.ifindex, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 0x6d7666, Priority: 1, Protocol: unix.ETH_P_ALL,
	}
}

func (s standing) clsact() *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: s.ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

// device is all that the library needs to know of it.
func (s standing) device() netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: s.ifindex}}
}

// withNetlink opens rtnetlink in the network namespace of the calling thread.
func withNetlink(do func(*netlink.Handle) error) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer handle.Close()
	return do(handle)
}

// listed repeats a dump that was interrupted, so that it may lack something
// (netlink(7), NLM_F_DUMP_INTR).
func listed[T any](dump func() ([]T, error)) ([]T, error) {
	list, err := dump()
	for n := 0; n < attempts && errors.Is(err, netlink.ErrDumpInterrupted); n++ {
		list, err = dump()
	}
	return list, err
}

func findClsact(ifindex int) (standing, error) {
	s := standing{ifindex: ifindex}
	err := withNetlink(func(handle *netlink.Handle) error { return s.look(handle) })
	return s, err
}

// look looks for ours among the filters.
func (s *standing) look(handle *netlink.Handle) error {
	filters, err := s.filters(handle, netlink.HANDLE_MIN_EGRESS)
	for _, f := range filters {
		if f, ok := f.(*netlink.BpfFilter); ok && strings.HasPrefix(f.Name, prefix) {
			s.id, s.name = uint32(f.Id), f.Name
		}
	}
	return err
}

// filters lists the device's filters of one way; without a qdisc there are none.
func (s standing) filters(handle *netlink.Handle, parent uint32) ([]netlink.Filter, error) {
	filters, err := listed(func() ([]netlink.Filter, error) { return handle.FilterList(s.device(), parent) })
	return filters, os.NewSyscallError("list tc filters", err)
}

func (s standing) replaceClsact(program int, name string) error {
	return withNetlink(func(handle *netlink.Handle) error {
		err := handle.QdiscAdd(s.clsact())
		if errors.Is(err, unix.EEXIST) {
			err = s.isClsact(handle)
		}
		if err != nil {
			return os.NewSyscallError("add the qdisc clsact", err)
		}
		return s.addFilter(handle, program, name)
	})
}

func (s standing) addFilter(handle *netlink.Handle, program int, name string) error {
	filter := &netlink.BpfFilter{FilterAttrs: s.filter(), Fd: program, Name: name, DirectAction: true}
	return os.NewSyscallError("add a tc filter", handle.FilterReplace(filter))
}

// isClsact reports a qdisc that stands where clsact belongs and is another. A filter
// for the way out would judge the way in there, and nobody would say so.
func (s standing) isClsact(handle *netlink.Handle) error {
	qdiscs, err := listed(func() ([]netlink.Qdisc, error) { return handle.QdiscList(s.device()) })
	if err != nil {
		return err
	}
	for _, q := range qdiscs {
		if q.Type() == "clsact" {
			return nil
		}
	}
	return errIngress
}

// removeClsact removes the filter, and the qdisc if nobody else has filters in it.
func (s standing) removeClsact() error {
	return withNetlink(func(handle *netlink.Handle) error {
		err := handle.FilterDel(&netlink.BpfFilter{FilterAttrs: s.filter()})
		if err != nil && !errors.Is(err, unix.ENOENT) { // somebody else was faster
			return os.NewSyscallError("delete a tc filter", err)
		}
		for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			if others, err := s.filters(handle, parent); err != nil || len(others) > 0 {
				return err
			}
		}
		err = handle.QdiscDel(s.clsact())
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			return nil // it is gone, or another's by now
		}
		return os.NewSyscallError("delete the qdisc clsact", err)
	})
}
