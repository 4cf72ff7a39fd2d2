package rpc

import (
	"bufio"
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// bound ends what hangs, and decides nothing else: however busy the machine is, what
// should happen takes less.
const bound = 5 * time.Minute

// sockets gives both ends of a connection.
func sockets(t *testing.T) (client, daemon net.Conn) {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if client, err = net.Dial("unix", listener.Addr().String()); err == nil {
		daemon, err = listener.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		daemon.Close()
	})
	return client, daemon
}

// A daemon answers calls as a test says.
type daemon struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// next gives the next call, false when the client has gone.
func (d *daemon) next() (h header, a arguments, ok bool) {
	h, a, err := readMessage(d.in)
	if err != nil {
		return h, nil, false
	}
	if h.kind != typeCall || h.status != statusOK || h.program != remoteProgram || h.version != remoteVersion {
		d.t.Errorf("no call: %+v", h)
	}
	return h, a, true
}

// send sends a message.
func (d *daemon) send(h header, payload arguments) {
	_, _ = d.conn.Write(message(h, payload)) // who goes early goes early
}

func (d *daemon) answer(h header, payload arguments) {
	h.kind = typeReply
	d.send(h, payload)
}

// fail answers with an error.
func (d *daemon) fail(h header, code uint32, words string) {
	h.status = statusError
	d.answer(h, arguments{}.number(code).number(10).number(1).text(words))
}

// tell tells of an event.
func (d *daemon) tell(p procedure, vm Domain) {
	d.send(header{program: remoteProgram, version: remoteVersion, procedure: p, kind: typeEvent}, arguments{}.number(0).domain(vm))
}

// message gives a message's bytes.
func message(h header, payload arguments) []byte {
	m := arguments{}.number(uint32(headerLength + len(payload))).
		number(h.program).number(h.version).number(uint32(h.procedure)).
		number(h.kind).number(h.serial).number(h.status)
	return append(m, payload...)
}

// listening opens a connection to a daemon that then goes on as serve says.
func listening(t *testing.T, happened func(Domain), serve func(*daemon)) *Conn {
	t.Helper()
	client, conn := sockets(t)
	d := &daemon{t, conn, bufio.NewReader(conn)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.welcome(noAuthentication)
		serve(d)
	}()
	c, err := Open(within(t, bound), client, "qemu:///system", happened)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Cut()
		conn.Close()
		soon(t, ended, "the daemon ends")
	})
	return c
}

// welcome answers the calls of Open.
func (d *daemon) welcome(ways ...uint32) {
	for {
		h, _, ok := d.next()
		if !ok {
			return
		}
		var a arguments
		if h.procedure == authList {
			a = a.number(uint32(len(ways)))
			for _, way := range ways {
				a = a.number(way)
			}
		}
		if h.procedure == authPolkit {
			a = a.number(1)
		}
		d.answer(h, a)
		if h.procedure == connectOpen {
			return
		}
	}
}

func within(t *testing.T, patience time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// soon waits for what must come.
func soon[T any](t *testing.T, c <-chan T, what string) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(bound):
		t.Fatalf("never: %s", what)
	}
	return got
}

// wantSlow wants a call to give up as its context ends.
func wantSlow(t *testing.T, call func(context.Context) error) {
	t.Helper()
	failed := make(chan error, 1)
	go func() { failed <- call(within(t, 50*time.Millisecond)) }()
	if err := soon(t, failed, "the call comes back"); !errors.Is(err, ErrSlow) {
		t.Errorf("the error is %v, want %v", err, ErrSlow)
	}
}
