package frames

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// buffer is the socket's receive buffer: no frame may be lost while the reader waits for a turn on a busy machine.
const buffer = 16 << 20

// A segment that offloading NICs have not cut up is longer than any frame of a cable. Only its head is kept: a large
// transfer would fill a guest's memory.
const (
	longest = 1518 + 4 // with a VLAN tag
	head    = 128
)

// A Capture records every frame that crosses a NIC, until the process ends.
type Capture struct {
	mu     sync.Mutex
	frames []Frame
	meters []*Meter
}

// Listen starts to record on a NIC of the calling thread's network namespace.
func Listen(name string) (*Capture, error) {
	nic, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", name, err)
	}
	fd, err := open(nic.Index)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", name, err)
	}
	c := new(Capture)
	go c.read(fd)
	return c, nil
}

// Count returns how many of the recorded frames match.
func (c *Capture) Count(match func(Frame) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, f := range c.frames {
		if match(f) {
			n++
		}
	}
	return n
}

// Await waits until a recorded frame matches, and tells whether one did in time. Frames are recorded in order: all that
// crossed the NIC before that one have been recorded too.
func (c *Capture) Await(limit time.Duration, match func(Frame) bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if c.Count(match) > 0 {
			return true
		}
	}
	return false
}

// Forget drops what was recorded so far.
func (c *Capture) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = nil
}

// open makes a packet socket for all protocols of one NIC, its own outgoing frames included.
func open(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index}),
	)
	if err != nil {
		return -1, errors.Join(fmt.Errorf("packet socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func (c *Capture) read(fd int) {
	data := make([]byte, 1<<16)
	control := make([]byte, 128)
	for {
		n, controlLen, _, from, err := unix.Recvmsg(fd, data, control, 0)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
			continue
		}
		if err != nil {
			return
		}
		sender, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		f := Frame{Sent: sender.Pkttype == unix.PACKET_OUTGOING, Len: n, Data: withTag(data[:kept(n)], control[:controlLen])}
		c.record(f)
	}
}

// record keeps a frame, unless a meter counts it.
func (c *Capture) record(f Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.meters {
		if m.count(f) {
			return
		}
	}
	c.frames = append(c.frames, f)
}

// kept is how much is kept of a frame of this length.
func kept(length int) int {
	if length > longest {
		return head
	}
	return length
}

// withTag copies a frame and puts the VLAN tag back that the kernel has moved from the frame to the socket's control
// message.
func withTag(data, control []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(data) < headerLen {
		return append([]byte(nil), data...)
	}
	for _, m := range messages {
		var aux unix.TpacketAuxdata
		if m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < int(unsafe.Sizeof(aux)) {
			continue
		}
		aux = *(*unix.TpacketAuxdata)(unsafe.Pointer(&m.Data[0]))
		if aux.Status&unix.TP_STATUS_VLAN_VALID == 0 {
			continue
		}
		tagged := append([]byte(nil), data[:12]...)
		tagged = binary.BigEndian.AppendUint16(tagged, aux.Vlan_tpid)
		tagged = binary.BigEndian.AppendUint16(tagged, aux.Vlan_tci)
		return append(tagged, data[12:]...)
	}
	return append([]byte(nil), data...)
}

// bigEndian turns a number into the byte order that packet sockets want it in.
func bigEndian(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}
