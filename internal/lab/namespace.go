package lab

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Namespace is an anonymous network namespace, held by a file descriptor.
type Namespace struct {
	net    *os.File
	mounts *os.File // the mount namespace of its processes; nil: the caller's
	links  *netlink.Handle
}

// threadNetwork names the calling thread's network namespace. Unlike
// /proc/self it is right on every thread, not on the process's first alone.
const threadNetwork = "/proc/thread-self/ns/net"

// NewNamespace makes an empty network namespace with its loopback device up.
//
// Devices made in it have IPv6 switched off until an address of that family is
// added, so that captures hold what a test sent and no router solicitations.
// It needs CAP_SYS_ADMIN. The caller closes it.
func NewNamespace() (*Namespace, error) {
	ns := new(Namespace)
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace (root only): %w", err)
		}
		var err error
		if ns.net, err = os.Open(threadNetwork); err != nil {
			return fmt.Errorf("hold the network namespace: %w", err)
		}
		if ns.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		if err := quieten(); err != nil {
			return err
		}
		return ns.setUp("lo")
	})
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// Do runs f inside the namespace, on an OS thread of its own, and gives f's
// error. Goroutines that f starts run outside; sockets that f opens stay inside
// for as long as they live. f may call t.Fatal: it ends f alone, and Do then
// reports an error.
func (ns *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := ns.enter(); err != nil {
			return err
		}
		return f()
	})
}

// FD gives the file descriptor that holds the namespace, for interfaces that
// name a namespace so. It stays the Namespace's own.
func (ns *Namespace) FD() int { return int(ns.net.Fd()) }

// Links gives a route netlink handle that works inside the namespace from any
// thread. It stays the Namespace's own.
func (ns *Namespace) Links() *netlink.Handle { return ns.links }

// Close lets go of the namespace. The kernel removes it, and the devices in it,
// once no process and no socket is inside either. Closing it twice is no error.
func (ns *Namespace) Close() error {
	if ns.links != nil {
		ns.links.Close()
	}
	var errs []error
	var net unix.Stat_t
	if ns.net != nil && unix.Fstat(ns.FD(), &net) == nil {
		// What the program keeps about a network namespace (internal/kernel/trust.go).
		_ = os.Remove(fmt.Sprintf("/run/macvtap-filter-generation-%d", net.Ino))
	}
	for _, file := range []*os.File{ns.mounts, ns.net} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	*ns = Namespace{}
	return errors.Join(errs...)
}

// enter moves the calling thread into the namespace.
func (ns *Namespace) enter() error {
	if err := unix.Setns(ns.FD(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	return nil
}

// setUp brings a device up by name.
func (ns *Namespace) setUp(name string) error {
	link, err := ns.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := ns.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}
