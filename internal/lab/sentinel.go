package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
)

// A sentinel tells when the frames that were sent have all been delivered or
// dropped: it sends a frame of its own after them, down the same queues, and
// waits until that has come out. No rule ever judges it: it crosses the parent
// and the cable, and no VM's device.
//
// Toward the VMs it is a broadcast to a macvlan device beside theirs, since the
// kernel hands broadcasts to such devices by way of a worker, behind which a
// unicast frame would not wait.
type sentinel struct {
	parent  *packetSocket // on the parent, in the hypervisor
	uplink  *packetSocket // on the cable's other end
	witness *packetSocket // on a macvlan device on the parent, in a namespace of its own
	room    *Namespace
	count   uint64
}

const (
	// sentinelType is the EtherType that IEEE 802 reserves for local experiments.
	sentinelType = 0x88b5
	// settleTime ends the wait for a sentinel that was lost, however busy the machine is.
	settleTime = 2 * time.Minute
)

var (
	// A switch forwards this address to nobody (IEEE 802.1D, 7.12.6).
	toUplink  = net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0x0e}
	toWitness = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

	sentinelMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0xfe}
)

// isSentinel tells a sentinel from the frames that somebody sent.
func isSentinel(frame []byte) bool {
	return len(frame) >= 14 && bytes.Equal(frame[6:12], sentinelMAC) &&
		binary.BigEndian.Uint16(frame[12:]) == sentinelType
}

// withoutSentinels receives the next frame that is not a sentinel.
func withoutSentinels(timeout time.Duration, receive func(time.Duration) ([]byte, error)) ([]byte, error) {
	end := time.Now().Add(timeout)
	for {
		frame, err := receive(timeout)
		if err != nil || !isSentinel(frame) {
			return frame, err
		}
		timeout = max(time.Until(end), 0)
	}
}

// Settle waits until every frame that was sent before, from this thread, has
// reached the wire and the taps or was dropped. What hosts send in answer is
// not included.
//
// The kernel delivers in order on one processor: see Watch for a sender that
// is not moved to another in between.
func (n *Network) Settle() error {
	if n.sentinel == nil {
		s, err := n.newSentinel()
		if err != nil {
			return fmt.Errorf("make a sentinel: %w", err)
		}
		n.sentinel = s
	}
	return n.sentinel.settle()
}

func (n *Network) newSentinel() (*sentinel, error) {
	s := new(sentinel)
	err := s.open(n)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *sentinel) open(n *Network) error {
	parent, err := n.Hypervisor.links.LinkByName(n.Parent)
	if err != nil {
		return err
	}
	if s.room, err = NewNamespace(); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "witness"
	attrs.ParentIndex = parent.Attrs().Index
	attrs.Namespace = netlink.NsFd(s.room.FD())
	// In private mode it hears the cable and no VM.
	err = n.Hypervisor.links.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_PRIVATE})
	if err != nil {
		return fmt.Errorf("add the witness: %w", err)
	}
	if err := s.room.setUp(attrs.Name); err != nil {
		return err
	}
	witness, err := s.room.links.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	if s.parent, err = n.Hypervisor.openPacket(parent.Attrs().Index, sentinelType); err != nil {
		return err
	}
	if s.uplink, err = n.LAN.openPacket(n.uplink, sentinelType); err != nil {
		return err
	}
	s.witness, err = s.room.openPacket(witness.Attrs().Index, sentinelType)
	return err
}

func (s *sentinel) settle() error {
	if err := s.cross(s.parent, s.uplink, toUplink); err != nil {
		return fmt.Errorf("settle toward the LAN: %w", err)
	}
	if err := s.cross(s.uplink, s.witness, toWitness); err != nil {
		return fmt.Errorf("settle toward the VMs: %w", err)
	}
	return nil
}

// cross sends one frame and waits for it at the other end.
func (s *sentinel) cross(from, at *packetSocket, to net.HardwareAddr) error {
	s.count++
	frame := make([]byte, 0, 64)
	frame = append(frame, to...)
	frame = append(frame, sentinelMAC...)
	frame = binary.BigEndian.AppendUint16(frame, sentinelType)
	frame = binary.BigEndian.AppendUint64(frame, s.count)
	frame = frame[:60] // the shortest that Ethernet knows
	if err := from.send(frame); err != nil {
		return err
	}
	end := time.Now().Add(settleTime)
	for {
		got, err := at.receive(max(time.Until(end), 0))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("the sentinel was lost: %w", err)
		}
		if err != nil {
			return err
		}
		if bytes.Equal(got, frame) {
			return nil
		}
	}
}

func (s *sentinel) close() error {
	var errs []error
	for _, socket := range []*packetSocket{s.parent, s.uplink, s.witness} {
		if socket != nil {
			errs = append(errs, socket.close())
		}
	}
	if s.room != nil {
		errs = append(errs, s.room.Close())
	}
	return errors.Join(errs...)
}
