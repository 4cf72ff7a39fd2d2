package lab

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A Wire is the LAN end of the hypervisor's cable, where every frame between
// the two can be seen and any frame can be put on it. Frames have their VLAN
// tags. Send and the receiving methods may be used at the same time; two
// receivers may not.
type Wire struct{ socket *packetSocket }

func (ns *Namespace) openWire(index int) (*Wire, error) {
	socket, err := ns.openPacket(index, unix.ETH_P_ALL)
	if err != nil {
		return nil, fmt.Errorf("listen on the cable: %w", err)
	}
	return &Wire{socket: socket}, nil
}

// Send puts a frame, Ethernet header included, on the cable toward the hypervisor.
func (w *Wire) Send(frame []byte) error {
	if err := w.socket.send(frame); err != nil {
		return fmt.Errorf("send %d bytes to the hypervisor: %w", len(frame), err)
	}
	return nil
}

// Receive gives the next frame that the hypervisor sent. A timeout of 0 looks
// once; ErrTimeout says that none came.
func (w *Wire) Receive(timeout time.Duration) ([]byte, error) {
	return withoutSentinels(timeout, w.socket.receive)
}

// Drain gives all frames that are waiting, and waits for none.
func (w *Wire) Drain() ([][]byte, error) { return drain(w.Receive) }

// Arrives reports whether a frame that holds marker comes from the hypervisor
// in time. It takes the frames before it off the wire. Where many frames are
// judged, Network.Watch is exact and needs no such wait.
func (w *Wire) Arrives(marker []byte, within time.Duration) (bool, error) {
	return arrives(w.Receive, marker, within)
}

func (w *Wire) close() error { return w.socket.close() }

func arrives(receive func(time.Duration) ([]byte, error), marker []byte, within time.Duration) (bool, error) {
	end := time.Now().Add(within)
	for {
		frame, err := receive(max(time.Until(end), 0))
		if errors.Is(err, ErrTimeout) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if bytes.Contains(frame, marker) {
			return true, nil
		}
	}
}
