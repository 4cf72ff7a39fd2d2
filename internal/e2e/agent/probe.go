package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"macvtap-filter/internal/e2e/guestrpc"
)

// again is how long a question waits for its answer before it is asked again.
const again = 300 * time.Millisecond

var errSilence = errors.New("no answer")

// askUDP sends the token until it comes back.
func askUDP(p guestrpc.Probe) error {
	dialer := net.Dialer{Control: only(p.NIC)}
	conn, err := dialer.Dial("udp", target(p).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	return repeat(p, conn.SetReadDeadline,
		func() error {
			_, err := conn.Write([]byte(p.Token))
			return err
		},
		func(data []byte) (int, error) { return conn.Read(data) },
		func(data []byte) bool { return string(data) == p.Token })
}

// askTCP connects, sends the token and waits for it to come back.
func askTCP(p guestrpc.Probe) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.Wait)
	defer cancel()
	conn, err := connect(ctx, p)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(p.Wait)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, p.Token); err != nil {
		return err
	}
	answer := make([]byte, len(p.Token))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if string(answer) != p.Token {
		return fmt.Errorf("answered %q", answer)
	}
	return nil
}

// connect connects until it has, or the probe's time is over. That nobody is there is the kernel's word after three
// questions in as many seconds: on a busy machine an answer may take longer.
func connect(ctx context.Context, p guestrpc.Probe) (net.Conn, error) {
	dialer := net.Dialer{Control: only(p.NIC)}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", target(p).String())
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(again):
		}
	}
}

// ping sends ICMP echo requests with the token until a reply brings it back.
func ping(p guestrpc.Probe) error {
	network, local, protocol := "ip4:icmp", "0.0.0.0", 1
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if p.To.Addr().Is6() {
		network, local, protocol = "ip6:ipv6-icmp", "::", 58
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	config := net.ListenConfig{Control: only(p.NIC)}
	conn, err := config.ListenPacket(context.Background(), network, local)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	defer conn.Close()
	// The kernel fills in ICMPv6's checksum.
	message, err := (&icmp.Message{Type: request, Body: &icmp.Echo{ID: os.Getpid(), Data: []byte(p.Token)}}).Marshal(nil)
	if err != nil {
		return err
	}
	to := target(p).Addr()
	return repeat(p, conn.SetReadDeadline,
		func() error {
			_, err := conn.WriteTo(message, &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()})
			return err
		},
		func(data []byte) (int, error) {
			n, _, err := conn.ReadFrom(data)
			return n, err
		},
		func(data []byte) bool {
			got, err := icmp.ParseMessage(protocol, data)
			if err != nil || got.Type != reply {
				return false
			}
			body, ok := got.Body.(*icmp.Echo)
			return ok && string(body.Data) == p.Token
		})
}

// repeat asks until an answer is the right one or the probe's time is over. That a question could not be sent is no
// reason to stop: a filter's drop is told to the sender as an error, and address resolution takes its time.
func repeat(p guestrpc.Probe, deadline func(time.Time) error, ask func() error, hear func([]byte) (int, error),
	right func([]byte) bool) error {
	end := time.Now().Add(p.Wait)
	data := make([]byte, 1<<16)
	reason := errSilence
	for time.Now().Before(end) {
		if err := ask(); err != nil {
			reason = err
		}
		next := time.Now().Add(again) // decides nothing
		if err := deadline(next); err != nil {
			return err
		}
		for {
			n, err := hear(data)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				// Refused: it came as an answer to this datagram, so the pace is kept by waiting.
				reason = err
				time.Sleep(time.Until(next))
				break
			}
			if right(data[:n]) {
				return nil
			}
		}
	}
	return reason
}

// target is whom a probe asks. A link-local address is one of the NIC's link.
func target(p guestrpc.Probe) netip.AddrPort {
	addr := p.To.Addr()
	if addr.Is6() && addr.IsLinkLocalUnicast() {
		addr = addr.WithZone(zone(p.NIC))
	}
	return netip.AddrPortFrom(addr, p.To.Port())
}

// zone is a NIC's number as text. Go remembers the number of a name for a while, when another NIC may have it.
func zone(nic string) string {
	device, err := net.InterfaceByName(nic)
	if err != nil {
		return nic
	}
	return strconv.Itoa(device.Index)
}
