// Package rpc is a client of libvirt's remote protocol: the few calls of this program,
// the events that it waits for, and nothing of URIs, TLS, SSH, streams or files.
//
// It is our own, though github.com/digitalocean/go-libvirt has it all, for the hook's
// sake: the hook is the same program, never asks libvirt, and would with every start pay
// for that library's crypto/tls and golang.org/x/crypto/ssh. That library also takes a
// deadline for a passing fault and reads on, for ever. It stays the tests' witness: both
// write the same bytes.
//
// Facts are from libvirt's docs/kbase/internals/rpc.rst (messages),
// src/rpc/virnetprotocol.x (their header and limits), src/remote/remote_protocol.x (calls)
// and RFC 4506 (XDR). The keepalive protocol is not spoken: the daemon pings those only
// who asked for that feature.
package rpc
