package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A packetSocket sends and receives whole frames on one device.
type packetSocket struct {
	frames *frameFile
	oob    []byte
}

// Bytes that a socket may hold: tens of thousands of small frames. A sent frame
// counts until a VM has received it, so a smaller send buffer would make a
// burst toward a VM wait for its reader.
const (
	receiveBuffer = 64 << 20
	sendBuffer    = 256 << 20
)

// openPacket opens a packet socket on a device of the namespace, by its index.
// It receives frames of one EtherType; unix.ETH_P_ALL means any. Frames that the device
// sends are never seen: a cable's end hears the far end only.
func (ns *Namespace) openPacket(index int, etherType uint16) (*packetSocket, error) {
	var fd int
	err := ns.Do(func() error {
		var err error
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer},
		{unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
	} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
			return nil, errors.Join(fmt.Errorf("packet socket option %d: %w", option.name, err), unix.Close(fd))
		}
	}
	// Bound last, so that no frame is received before the options hold.
	addr := &unix.SockaddrLinklayer{Protocol: hostToNetwork(etherType), Ifindex: index}
	if err := unix.Bind(fd, addr); err != nil {
		return nil, errors.Join(fmt.Errorf("bind the packet socket: %w", err), unix.Close(fd))
	}
	frames, err := newFrameFile(fd, "packet socket")
	if err != nil {
		return nil, err
	}
	return &packetSocket{frames: frames, oob: make([]byte, 256)}, nil
}

func (s *packetSocket) send(frame []byte) error {
	_, err := s.frames.file.Write(frame)
	return err
}

func (s *packetSocket) receive(timeout time.Duration) ([]byte, error) {
	var tag []byte
	frame, err := s.frames.receive(timeout, func(fd int, buf []byte) (int, error) {
		n, oobn, _, _, err := unix.Recvmsg(fd, buf, s.oob, 0)
		if err == nil {
			tag = liftedTag(s.oob[:oobn])
		}
		return n, err
	})
	if err != nil || tag == nil || len(frame) < macBytes {
		return frame, err
	}
	tagged := make([]byte, 0, len(frame)+len(tag))
	tagged = append(tagged, frame[:macBytes]...)
	tagged = append(tagged, tag...)
	return append(tagged, frame[macBytes:]...), nil
}

func (s *packetSocket) close() error { return s.frames.file.Close() }

// macBytes is the length of a frame's two addresses, after which a tag stands.
const macBytes = 12

// liftedTag gives the outermost VLAN tag, four bytes as on the wire, which the
// kernel takes out of every frame that it receives and reports beside it. It
// gives nil for a frame without one.
func liftedTag(oob []byte) []byte {
	for len(oob) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return nil
		}
		oob = rest
		if header.Level != unix.SOL_PACKET || header.Type != unix.PACKET_AUXDATA || len(data) < 20 {
			continue
		}
		// struct tpacket_auxdata of linux/if_packet.h
		status := binary.NativeEndian.Uint32(data)
		if status&unix.TP_STATUS_VLAN_VALID == 0 {
			return nil
		}
		protocol := uint16(unix.ETH_P_8021Q)
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			protocol = binary.NativeEndian.Uint16(data[18:])
		}
		tag := binary.BigEndian.AppendUint16(nil, protocol)
		return binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(data[16:]))
	}
	return nil
}

// hostToNetwork puts a number into the byte order that socket addresses want.
func hostToNetwork(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
