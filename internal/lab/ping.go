package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Ping has the host's kernel send one echo request, and reports whether the
// answer came in time.
func (h *Host) Ping(to netip.Addr, timeout time.Duration) (bool, error) {
	network, protocol := "ip4:icmp", ipv4.ICMPTypeEcho.Protocol()
	ask, answer := icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply)
	if to.Is6() {
		network, protocol = "ip6:ipv6-icmp", ipv6.ICMPTypeEchoRequest.Protocol()
		ask, answer = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	var conn net.PacketConn
	err := h.Do(func() error {
		var err error
		conn, err = net.ListenPacket(network, "")
		return err
	})
	if err != nil {
		return false, fmt.Errorf("host %s: %w", h.Name, err)
	}
	defer func() { _ = conn.Close() }()
	echo := &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: int(time.Now().UnixNano() & 0xffff), Data: []byte("lab")}
	request, err := (&icmp.Message{Type: ask, Body: echo}).Marshal(nil) // the kernel adds ICMPv6's checksum
	if err != nil {
		return false, fmt.Errorf("echo request: %w", err)
	}
	address := onNIC(netip.AddrPortFrom(to, 0)).Addr()
	if _, err := conn.WriteTo(request, &net.IPAddr{IP: address.AsSlice(), Zone: address.Zone()}); err != nil {
		return false, fmt.Errorf("host %s: ping %s: %w", h.Name, to, err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return false, fmt.Errorf("host %s: %w", h.Name, err)
	}
	buf := make([]byte, maxFrame)
	for {
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("host %s: %w", h.Name, err)
		}
		reply, err := icmp.ParseMessage(protocol, buf[:n])
		if err != nil || reply.Type != answer {
			continue
		}
		if body, ok := reply.Body.(*icmp.Echo); ok && body.ID == echo.ID && body.Seq == echo.Seq {
			return true, nil
		}
	}
}
