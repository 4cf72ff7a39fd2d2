package main

import (
	"context"
	"errors"
	"net"
	"time"

	"macvtap-filter/internal/e2e/guestrpc"
)

// Transfer sends much over a TCP connection, and tells what came by it meanwhile.
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
	// Both ways at once: neither end waits for the other to be through.
	sent := make(chan error, 1)
	go func() { sent <- guestrpc.Send(conn.(*net.TCPConn), t.Size, t.Seed) }()
	*received, err = guestrpc.SumOf(conn)
	return errors.Join(err, <-sent)
}
