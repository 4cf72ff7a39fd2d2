package leaks

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/lab"
)

// A counter hears every frame that the hypervisor sends to the LAN, and tells the
// sessions which of theirs arrived.
type counter struct {
	fd    int
	over  atomic.Bool
	ended chan struct{}

	mu       sync.Mutex
	buffer   []byte
	sessions map[uint32]*session
	lost     uint32
	failure  error
}

// openCounter listens at the LAN's end of the cable.
func openCounter(n *lab.Network) (*counter, error) {
	// The bridge takes what comes of single EtherTypes.
	fd, err := openPacket(n.LAN, "uplink", unix.ETH_P_ALL)
	if err != nil {
		return nil, err
	}
	c := &counter{fd: fd, ended: make(chan struct{}), buffer: make([]byte, 2048), sessions: map[uint32]*session{}}
	go c.listen()
	return c, nil
}

// listen takes frames off the socket as they come.
func (c *counter) listen() {
	defer close(c.ended)
	for !c.over.Load() {
		fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, 50); err != nil {
			continue // interrupted
		}
		c.mu.Lock()
		c.take()
		c.mu.Unlock()
	}
}

// drain takes all that has come. When the network has settled before, nothing else
// comes.
func (c *counter) drain() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take()
	if c.failure != nil {
		return c.failure
	}
	// The kernel counts from zero again with each look.
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return fmt.Errorf("how many frames the counter lost: %w", err)
	}
	if c.lost += stats.Drops; c.lost > 0 {
		return fmt.Errorf("the counter lost %d frames: too many came at once", c.lost)
	}
	return nil
}

func (c *counter) take() {
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buffer, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				c.failure = fmt.Errorf("count frames: %w", err)
			}
			return
		}
		if id, ok := identify(c.buffer[:n]); ok && c.sessions[id.session] != nil {
			c.sessions[id.session].arrived(id)
		}
	}
}

func (c *counter) follow(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions[s.id] = s
}

func (c *counter) forget(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, s.id)
}

func (c *counter) close() {
	c.over.Store(true)
	<-c.ended
	unix.Close(c.fd)
}

// room is the socket buffers' size in bytes: what a second of frames needs.
const room = 256 << 20

// openPacket opens a packet socket on a device, that hears what others send of one
// EtherType; 0 is for one that only sends.
func openPacket(ns *lab.Namespace, device string, etherType uint16) (int, error) {
	link, err := ns.Links().LinkByName(device)
	if err != nil {
		return -1, err
	}
	fd := -1
	err = ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, room),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: etherType<<8 | etherType>>8, Ifindex: link.Attrs().Index}),
	)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("packet socket on %s: %w", device, err)
	}
	return fd, nil
}
