package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/e2e/guestrpc"
)

// serve answers UDP and TCP on the echo port of one NIC, for IPv4 and IPv6.
func serve(nic string) error {
	config := net.ListenConfig{Control: only(nic)}
	where := fmt.Sprintf("[::]:%d", guestrpc.EchoPort)
	packets, err := config.ListenPacket(context.Background(), "udp", where)
	if err != nil {
		return fmt.Errorf("echo on %s: %w", nic, err)
	}
	connections, err := config.Listen(context.Background(), "tcp", where)
	if err != nil {
		return fmt.Errorf("echo on %s: %w", nic, err)
	}
	asked := ipv6.NewPacketConn(packets)
	if err := asked.SetControlMessage(ipv6.FlagDst, true); err != nil {
		return fmt.Errorf("echo on %s: %w", nic, err)
	}
	go echo(asked)
	go echoStreams(connections)
	return nil
}

// only binds a socket to one NIC: what comes by another is not heard, and what is sent leaves by no other.
func only(nic string) func(network, address string, conn syscall.RawConn) error {
	return func(_, _ string, conn syscall.RawConn) error {
		var bound error
		if err := conn.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), nic) }); err != nil {
			return err
		}
		return bound
	}
}

// echo answers from the address that was asked: a NIC may have several, of which the kernel would take another.
func echo(conn *ipv6.PacketConn) {
	data := make([]byte, 1<<16)
	for {
		n, asked, from, err := conn.ReadFrom(data)
		if err == nil && asked != nil {
			// Whether the answer arrives is the asker's to say.
			_, _ = conn.WriteTo(data[:n], &ipv6.ControlMessage{Src: asked.Dst}, from)
		}
	}
}

func echoStreams(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}
