package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"macvtap-filter/internal/e2e/guestrpc"
)

// Transfer sends much over a TCP connection, and tells what came back by it.
func (a *Agent) Transfer(t guestrpc.Transfer, received *guestrpc.Sum) error {
	ctx, cancel := context.WithTimeout(context.Background(), t.Wait)
	defer cancel()
	dialer := net.Dialer{Control: only(t.NIC)}
	conn, err := dialer.DialContext(ctx, "tcp", t.To.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(t.Wait)); err != nil {
		return err
	}
	if n, err := io.Copy(conn, guestrpc.Content(t.Size, t.Seed)); err != nil {
		return fmt.Errorf("after %d bytes sent: %w", n, err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if *received, err = guestrpc.SumOf(conn); err != nil {
		return fmt.Errorf("after %d bytes received: %w", received.Bytes, err)
	}
	return nil
}
