package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Tap is a macvtap device in the hypervisor, and what a VM does with it:
// Send is what the guest sends, Receive what reaches it. Both may be used at
// the same time; two senders or two receivers may not.
type Tap struct {
	// Name of the device, as in <target dev=…>.
	Name string
	// Index of the device in the hypervisor, unique on the machine.
	Index int
	// MAC of the device and of its VM.
	MAC net.HardwareAddr

	hypervisor *Namespace
	frames     *frameFile
	header     int  // bytes of virtio header before every frame
	plain      bool // not macvtap
	deleted    bool
}

// tapQueue is how many frames wait for a VM to receive them. The kernel's own
// default, 500, loses frames in a burst.
const tapQueue = 20000

// virtioHeader is the length of a struct virtio_net_hdr, in bytes.
const virtioHeader = 10

// AddMacvtap makes a macvtap device in bridge mode on the parent, the way
// libvirt does: it is down, and has no frame's way in or out, until Up. Delete
// or the network's Close removes it.
func (n *Network) AddMacvtap(name string, mac net.HardwareAddr) (*Tap, error) {
	return n.addMacvtap(name, mac, 0)
}

// AddMacvtapUp makes one as Incus does (its internal/server/ip): it is up with the very
// request that makes it, so that nothing can be done about it before.
func (n *Network) AddMacvtapUp(name string, mac net.HardwareAddr) (*Tap, error) {
	tap, err := n.addMacvtap(name, mac, net.FlagUp)
	if err != nil {
		return nil, err
	}
	return tap, tap.Up() // it takes all multicast
}

func (n *Network) addMacvtap(name string, mac net.HardwareAddr, flags net.Flags) (*Tap, error) {
	parent, err := n.Hypervisor.links.LinkByName(n.Parent)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", n.Parent, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.Index = takeIndex()
	attrs.HardwareAddr = mac
	attrs.Flags = flags
	attrs.ParentIndex = parent.Attrs().Index
	attrs.TxQLen = tapQueue
	link := &netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}}
	if err := n.Hypervisor.links.LinkAdd(link); err != nil {
		freeIndex(attrs.Index)
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = fmt.Errorf("%w: this kernel lacks the module macvtap", err)
		}
		return nil, fmt.Errorf("add macvtap device %s on %s: %w", name, n.Parent, err)
	}
	tap := &Tap{Name: name, Index: link.Attrs().Index, MAC: mac, hypervisor: n.Hypervisor}
	n.taps = append(n.taps, tap)
	return tap, nil
}

// Up brings the device up, as libvirt does right before the guest runs, and
// has it take all multicast, as QEMU asks for a guest that listens to some.
func (t *Tap) Up() error {
	link, err := t.hypervisor.links.LinkByIndex(t.Index)
	if err != nil {
		return fmt.Errorf("find %s: %w", t.Name, err)
	}
	if err := t.hypervisor.links.LinkSetAllmulticastOn(link); err != nil {
		return fmt.Errorf("have %s take all multicast: %w", t.Name, err)
	}
	if err := t.hypervisor.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", t.Name, err)
	}
	return nil
}

// Down takes the device down.
func (t *Tap) Down() error {
	link, err := t.hypervisor.links.LinkByIndex(t.Index)
	if err != nil {
		return fmt.Errorf("find %s: %w", t.Name, err)
	}
	if err := t.hypervisor.links.LinkSetDown(link); err != nil {
		return fmt.Errorf("set %s down: %w", t.Name, err)
	}
	return nil
}

// Open opens the VM's side of the device, for frames without a header.
func (t *Tap) Open() error { return t.open(0) }

// OpenVirtio opens it the way QEMU does, with a virtio header before every
// frame. Send and Receive add and remove an empty one.
func (t *Tap) OpenVirtio() error { return t.open(virtioHeader) }

func (t *Tap) open(header int) error {
	if t.frames != nil {
		return fmt.Errorf("%s is open already", t.Name)
	}
	fd, err := t.openNode()
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if header > 0 {
		flags |= unix.IFF_VNET_HDR
	}
	request, err := unix.NewIfreq(t.Name)
	if err == nil {
		request.SetUint16(flags)
		err = ioctl(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("attach to %s: %w", t.Name, err), unix.Close(fd))
	}
	frames, err := newFrameFile(fd, t.Name)
	if err != nil {
		return err
	}
	t.frames, t.header = frames, header
	return nil
}

func (t *Tap) openNode() (fd int, err error) {
	if !t.plain {
		return t.hypervisor.openTapNode(t.Name, t.Index)
	}
	err = t.hypervisor.Do(func() error {
		fd, err = openTun()
		return err
	})
	return fd, err
}

// TakeOffloads says, after OpenVirtio, that the VM takes frames whose checksum is still
// to be computed and TCP that is still to be cut up, as Linux guests do.
func (t *Tap) TakeOffloads() error {
	if t.frames == nil {
		return fmt.Errorf("offloads of %s: %w", t.Name, os.ErrClosed)
	}
	const offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	var failure error
	err := t.frames.conn.Control(func(fd uintptr) {
		failure = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, offloads)
	})
	if err = errors.Join(err, failure); err != nil {
		return fmt.Errorf("offloads of %s: %w", t.Name, err)
	}
	return nil
}

// File gives the VM's side, once it is open, for a process that is to be the VM. It
// stays the Tap's own.
func (t *Tap) File() *os.File {
	if t.frames == nil {
		return nil
	}
	return t.frames.file
}

// Send sends a frame, Ethernet header included, as the guest would. A frame
// that a rule drops is no error: the guest is never told.
func (t *Tap) Send(frame []byte) error {
	if t.header > 0 {
		frame = append(make([]byte, t.header, t.header+len(frame)), frame...)
	}
	return t.SendRaw(frame)
}

// SendRaw sends bytes as they are: after OpenVirtio they begin with the virtio
// header, which can ask for segmentation and checksums.
func (t *Tap) SendRaw(frame []byte) error {
	if t.frames == nil {
		return fmt.Errorf("send on %s: %w", t.Name, os.ErrClosed)
	}
	if _, err := t.frames.file.Write(frame); err != nil {
		return fmt.Errorf("send %d bytes on %s: %w", len(frame), t.Name, err)
	}
	return nil
}

// Receive gives the next frame that reached the guest. A timeout of 0 looks
// once; ErrTimeout says that none came.
func (t *Tap) Receive(timeout time.Duration) ([]byte, error) {
	if t.frames == nil {
		return nil, fmt.Errorf("receive on %s: %w", t.Name, os.ErrClosed)
	}
	return withoutSentinels(timeout, func(timeout time.Duration) ([]byte, error) {
		frame, err := t.frames.receive(timeout, unix.Read)
		if err != nil {
			return nil, err
		}
		return frame[t.header:], nil
	})
}

// Drain gives all frames that are waiting, and waits for none.
func (t *Tap) Drain() ([][]byte, error) { return drain(t.Receive) }

// Arrives reports whether a frame that holds marker reaches the guest in time.
// See Wire.Arrives.
func (t *Tap) Arrives(marker []byte, within time.Duration) (bool, error) {
	return arrives(t.Receive, marker, within)
}

// Close closes the VM's side. The device stays.
func (t *Tap) Close() error {
	if t.frames == nil {
		return nil
	}
	frames := t.frames
	t.frames = nil
	return frames.file.Close()
}

// Delete closes the VM's side and removes the device. Removing it twice, or a
// device that somebody else removed, is no error.
func (t *Tap) Delete() error {
	if t.deleted {
		return nil // another tap may have its index by now
	}
	err := t.Close()
	link, findErr := t.hypervisor.links.LinkByIndex(t.Index)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(findErr, &missing):
	case findErr != nil:
		return errors.Join(err, fmt.Errorf("find %s: %w", t.Name, findErr))
	default:
		if delErr := t.hypervisor.links.LinkDel(link); delErr != nil {
			return errors.Join(err, fmt.Errorf("delete %s: %w", t.Name, delErr))
		}
	}
	t.deleted = true
	freeIndex(t.Index)
	return err
}

func ioctl(fd int, request uint, ifreq *unix.Ifreq) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(ifreq)))
	if errno != 0 {
		return errno
	}
	return nil
}
