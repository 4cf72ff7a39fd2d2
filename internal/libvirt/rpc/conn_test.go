package rpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
)

// Whatever a daemon does wrong, who asks gets an error, and gets it in time.
func TestBrokenDaemons(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*daemon, header)
		want   string
	}{
		"closes": {func(d *daemon, _ header) { d.conn.Close() }, "the daemon closed the connection"},
		"closes in the middle": {func(d *daemon, h header) {
			h.kind = typeReply
			_, _ = d.conn.Write(message(h, arguments{}.text("<domain/>"))[:headerLength+6])
			d.conn.Close()
		}, "the daemon closed the connection"},
		"no length":      {raw(0), "a message of 0 bytes"},
		"short":          {raw(headerLength - 1), "a message of 27 bytes"},
		"long":           {raw(messageMax + 1), "a message of 33554437 bytes"},
		"longest":        {raw(math.MaxUint32), "a message of 4294967295 bytes"},
		"another call":   {func(d *daemon, h header) { h.serial += 7; d.answer(h, nil) }, "none or is answered"},
		"another answer": {func(d *daemon, h header) { h.procedure++; d.answer(h, nil) }, "an answer of procedure 15 to procedure 14"},
		"a call":         {func(d *daemon, h header) { d.send(h, nil) }, "nobody asked for streams or files"},
		"a stream":       {func(d *daemon, h header) { h.kind = 3; d.send(h, nil) }, "nobody asked for streams or files"},
		"files":          {func(d *daemon, h header) { h.kind = 5; d.send(h, nil) }, "nobody asked for streams or files"},
		"version":        {func(d *daemon, h header) { h.version++; d.answer(h, nil) }, "version 2"},
		"program":        {func(d *daemon, h header) { h.program++; d.answer(h, nil) }, "program 0x20008087"},
		"status":         {func(d *daemon, h header) { h.status = 2; d.answer(h, nil) }, "an answer of status 2"},
		"nothing":        {func(d *daemon, h header) { d.answer(h, nil) }, "procedure 14 in remote_protocol.x is broken: it ends too early"},
		"text too short": {func(d *daemon, h header) { d.answer(h, arguments{}.number(5).number(0)) }, "it ends too early"},
		"text too long":  {func(d *daemon, h header) { d.answer(h, arguments{}.number(math.MaxUint32)) }, "it holds 4294967295 of what there are at most 4194304"},
		"broken event":   {func(d *daemon, _ header) { d.send(header{remoteProgram, 1, eventLifecycle, typeEvent, 0, 0}, nil) }, "procedure 318 in remote_protocol.x is broken"},
		"no words": {func(d *daemon, h header) {
			h.status = statusError
			d.answer(h, arguments{}.number(38).number(7).number(0))
		}, "error 38 of part 7"},
		"broken error": {func(d *daemon, h header) { h.status = statusError; d.answer(h, nil) }, "it ends too early"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := listening(t, nil, func(d *daemon) {
				if h, _, ok := d.next(); ok {
					c.answer(d, h)
				}
				for ok := true; ok; {
					_, _, ok = d.next()
				}
			})
			failed := make(chan error, 1)
			go func() {
				_, err := conn.XML(t.Context(), guest) // bounded by nothing
				failed <- err
			}()
			err := soon(t, failed, "the call comes back")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
}

// raw sends a message's beginning that claims a length.
func raw(length uint32) func(*daemon, header) {
	return func(d *daemon, h header) {
		h.kind = typeReply
		_, _ = d.conn.Write(append(arguments{}.number(length), message(h, nil)[4:]...))
	}
}

// A daemon that never answers, or stops in the middle of an answer, is given up; others'
// calls go on, and closing does not wait for it.
func TestSlowDaemons(t *testing.T) {
	for name, part := range map[string]int{"no answer": 0, "half a header": 11, "half an answer": headerLength + 5} {
		t.Run(name, func(t *testing.T) {
			conn := listening(t, nil, func(d *daemon) {
				for {
					h, _, ok := d.next()
					if !ok {
						return
					}
					h.kind = typeReply
					_, _ = d.conn.Write(message(h, arguments{}.text("<domain/>"))[:part])
					part = 0
				}
			})
			wantSlow(t, func(ctx context.Context) error {
				_, err := conn.XML(ctx, guest)
				return err
			})
			conn.Close(t.Context()) // bounded by nothing
			soon(t, conn.Ended(), "the connection ends")
			if _, err := conn.XML(t.Context(), guest); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a call after the end: %v", err)
			}
		})
	}
}

// A daemon that does not even read is given up by all who call.
func TestDeafDaemon(t *testing.T) {
	client, server := net.Pipe() // which takes nothing that nobody reads
	t.Cleanup(func() { server.Close() })
	conn := newConn(client, nil)
	t.Cleanup(conn.Cut)
	first, stop := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Version(first)
		failed <- err
	}()
	for len(conn.sending) == 0 { // until it writes
		if first.Err() != nil {
			t.Fatal("it never writes")
		}
	}
	wantSlow(t, func(ctx context.Context) error {
		_, err := conn.Version(ctx)
		return err
	})
	stop()
	if err := soon(t, failed, "the call that writes comes back"); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want %v", err, context.Canceled)
	}
	soon(t, conn.Ended(), "what is half written ends the connection")
}

// Calls overlap: answers may come in any order, and an answer that comes too late does
// no harm.
func TestAnswersOutOfOrder(t *testing.T) {
	const calls = 50
	late := make(chan struct{})
	conn := listening(t, nil, func(d *daemon) {
		first, _, ok := d.next()
		if !ok {
			return
		}
		<-late
		var waiting []header
		for range calls {
			h, _, ok := d.next()
			if !ok {
				return
			}
			waiting = append([]header{h}, waiting...)
		}
		d.answer(first, arguments{}.text("too late"))
		for _, h := range waiting {
			d.answer(h, arguments{}.text(fmt.Sprintf("%d", h.serial)))
		}
	})
	wantSlow(t, func(ctx context.Context) error {
		_, err := conn.XML(ctx, guest)
		return err
	})
	close(late)
	got := make(chan string, calls)
	for range calls {
		go func() {
			xml, err := conn.XML(within(t, bound), guest)
			if err != nil {
				xml = err.Error()
			}
			got <- xml
		}()
	}
	seen := map[string]bool{}
	for range calls {
		xml := soon(t, got, "an answer")
		if len(xml) > 2 || seen[xml] {
			t.Errorf("an answer says %q", xml)
		}
		seen[xml] = true
	}
}

// Events are told from the moment of the subscription on, those too that come before its
// answer; events that nobody asked for, and other programs', are let by.
func TestEvents(t *testing.T) {
	told := make(chan Domain, 10)
	conn := listening(t, func(vm Domain) { told <- vm }, func(d *daemon) {
		for id := int32(1); ; id++ {
			h, _, ok := d.next()
			if !ok {
				return
			}
			for i, p := range []procedure{eventLifecycle, eventDeviceRemoved, eventDeviceAdded, eventMetadataChange} {
				d.tell(p, Domain{Name: fmt.Sprint("before ", i), ID: id})
			}
			d.tell(319, Domain{Name: "a reboot"})
			d.send(header{program: 0x20008087, version: 9, procedure: eventLifecycle, kind: typeEvent}, nil)
			d.answer(h, arguments{}.number(1))
			d.tell(eventLifecycle, Domain{Name: "after", ID: id})
		}
	})
	if err := conn.Subscribe(within(t, bound), Lifecycle); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before 0", "before 1", "before 2", "before 3", "after"} {
		if vm := soon(t, told, want); vm.Name != want || vm.ID != 1 {
			t.Errorf("told of %+v, want %q", vm, want)
		}
	}
}

func TestErrors(t *testing.T) {
	conn := listening(t, nil, func(d *daemon) {
		for code := uint32(noDomain); ; code++ {
			h, _, ok := d.next()
			if !ok {
				return
			}
			d.fail(h, code, "Domain not found")
		}
	})
	ctx := within(t, bound)
	_, err := conn.LookupByName(ctx, "web")
	var said *Error
	if !errors.Is(err, ErrNoDomain) || !errors.As(err, &said) || *said != (Error{42, 10, "Domain not found"}) {
		t.Errorf("%#v", err)
	}
	if _, err := conn.LookupByName(ctx, "web"); errors.Is(err, ErrNoDomain) || !errors.As(err, &said) || said.Code != 43 {
		t.Errorf("%#v", err)
	}
}

func TestAuthentication(t *testing.T) {
	for _, c := range []struct {
		ways []uint32
		want string
	}{
		{[]uint32{noAuthentication}, ""},
		{[]uint32{polkit}, ""},
		{[]uint32{1, polkit}, ""},
		{[]uint32{1}, "auth_unix_rw"},
		{nil, "auth_unix_rw"},
		{make([]uint32, authListMax+1), "at most 20"},
	} {
		client, end := sockets(t)
		go (&daemon{t, end, bufio.NewReader(end)}).welcome(c.ways...)
		conn, err := Open(within(t, bound), client, "qemu:///system", nil)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.ways, err, c.want)
		}
		if err == nil {
			conn.Cut()
		}
	}
}

// No list is longer than libvirt's longest, and that one is read.
func TestLongLists(t *testing.T) {
	conn := listening(t, nil, func(d *daemon) {
		for n := uint32(MaxDomains); ; n++ {
			h, _, ok := d.next()
			if !ok {
				return
			}
			list := arguments{}.number(n)
			for range n {
				list = list.domain(guest)
			}
			d.answer(h, list.number(n))
		}
	})
	domains, err := conn.Domains(within(t, bound), Active)
	if err != nil || len(domains) != MaxDomains || domains[MaxDomains-1] != guest {
		t.Errorf("%d domains, %v", len(domains), err)
	}
	if domains, err := conn.Domains(within(t, bound), Active); err == nil || len(domains) > 0 {
		t.Errorf("%d domains, of a list that is too long", len(domains))
	}
}
