package frames

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// A Sender puts frames on a NIC as they are.
type Sender struct {
	fd  int
	nic *net.Interface
}

// OpenSender opens a NIC of the calling thread's network namespace. The caller closes it.
func OpenSender(name string) (*Sender, error) {
	nic, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("send on %s: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("send on %s: packet socket: %w", name, err)
	}
	return &Sender{fd: fd, nic: nic}, nil
}

// TakeVirtioHeaders has Send take frames with a virtio header before them, by which the sender asks the kernel for
// checksums and segments (packet(7), PACKET_VNET_HDR).
func (s *Sender) TakeVirtioHeaders() error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fmt.Errorf("virtio headers on %s: %w", s.nic.Name, err)
	}
	return nil
}

// Send sends a frame, Ethernet header included. It waits for room in the NIC's queue.
func (s *Sender) Send(frame []byte) error {
	for {
		err := unix.Sendto(s.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: s.nic.Index})
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("send %d bytes on %s: %w", len(frame), s.nic.Name, err)
		}
		return nil
	}
}

// Close closes the socket.
func (s *Sender) Close() error { return unix.Close(s.fd) }
