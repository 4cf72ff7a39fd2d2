package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// Listen opens a TCP listener on the host. The host closes it at its end.
func (h *Host) Listen(address netip.AddrPort) (net.Listener, error) {
	var listener net.Listener
	err := h.Do(func() error {
		var err error
		listener, err = net.Listen("tcp", onNIC(address).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.Name, err)
	}
	h.own(listener)
	return listener, nil
}

// ListenPacket opens a UDP socket on the host. The host closes it at its end.
func (h *Host) ListenPacket(address netip.AddrPort) (net.PacketConn, error) {
	var conn net.PacketConn
	err := h.Do(func() error {
		var err error
		conn, err = net.ListenPacket("udp", onNIC(address).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.Name, err)
	}
	h.own(conn)
	return conn, nil
}

// Dial connects from the host. network is tcp or udp, optionally with 4 or 6.
// The caller closes the connection.
func (h *Host) Dial(network string, to netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	var conn net.Conn
	err := h.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		var err error
		conn, err = new(net.Dialer).DialContext(ctx, network, onNIC(to).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.Name, err)
	}
	return conn, nil
}

// onNIC adds to a link-local address the NIC that it is meant on.
func onNIC(address netip.AddrPort) netip.AddrPort {
	if addr := address.Addr(); addr.Is6() && addr.IsLinkLocalUnicast() && addr.Zone() == "" {
		return netip.AddrPortFrom(addr.WithZone(hostNIC), address.Port())
	}
	return address
}

// EchoUDP has every address of the host answer each datagram to a port with
// its own content, until the network closes.
func (h *Host) EchoUDP(port uint16) error {
	return h.AnswerUDP(port, func(query []byte) []byte { return query })
}

// AnswerUDP has every address of the host answer each datagram to a port with
// what answer makes of it, until the network closes. Nil means silence.
func (h *Host) AnswerUDP(port uint16, answer func(query []byte) []byte) error {
	// One socket an address: the answer then comes from the address asked.
	for _, prefix := range h.Addresses {
		conn, err := h.ListenPacket(netip.AddrPortFrom(prefix.Addr(), port))
		if err != nil {
			return err
		}
		go answerUDP(conn, answer)
	}
	return nil
}

func answerUDP(conn net.PacketConn, answer func([]byte) []byte) {
	buf := make([]byte, maxFrame)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if reply := answer(buf[:n]); reply != nil {
			_, _ = conn.WriteTo(reply, from) // a lost answer is the asker's to notice
		}
	}
}

// EchoTCP has every address of the host accept connections to a port and send
// back what they bring, until the network closes.
func (h *Host) EchoTCP(port uint16) error {
	for _, prefix := range h.Addresses {
		listener, err := h.Listen(netip.AddrPortFrom(prefix.Addr(), port))
		if err != nil {
			return err
		}
		go echoTCP(listener)
	}
	return nil
}

// idle bounds how long an echoed connection may say nothing.
const idle = 2 * time.Minute

func echoTCP(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			if conn.SetDeadline(time.Now().Add(idle)) == nil {
				_, _ = io.Copy(conn, conn) // until either end has had enough
			}
		}()
	}
}
