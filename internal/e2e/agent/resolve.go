package main

import (
	"context"
	"net"
	"net/netip"

	"macvtap-filter/internal/e2e/guestrpc"
)

// Resolve asks a name server for the addresses of a name.
func (a *Agent) Resolve(q guestrpc.Question, addrs *[]netip.Addr) error {
	ctx, cancel := context.WithTimeout(context.Background(), q.Wait)
	defer cancel()
	dialer := net.Dialer{Control: only(q.NIC)}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, q.Server.String())
	}}
	found, err := resolver.LookupNetIP(ctx, "ip", q.Name)
	for _, addr := range found {
		*addrs = append(*addrs, addr.Unmap())
	}
	return err
}
