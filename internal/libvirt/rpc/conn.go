package rpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Limits of libvirt's src/rpc/virnetprotocol.x, in bytes.
const (
	headerLength = 4 + 24         // a message's length, and struct virNetMessageHeader
	messageMax   = 4 + 33_554_432 // VIR_NET_MESSAGE_MAX, which does not count the length
)

// Types of messages: enum virNetMessageType. The others carry streams and files.
const (
	typeCall  = 0
	typeReply = 1
	typeEvent = 2
)

// How a call went: enum virNetMessageStatus.
const (
	statusOK    = 0
	statusError = 1
)

// A header is struct virNetMessageHeader.
type header struct {
	program, version uint32
	procedure        procedure
	kind             uint32
	serial           uint32
	status           uint32
}

// ErrSlow says that a call's time was over before its answer came.
var ErrSlow = errors.New("no answer in time")

// A Conn is a connection to the daemon. Its calls may overlap; one whose context ends
// leaves the others alone, and nobody reads its answer when it comes.
type Conn struct {
	conn     net.Conn
	happened func(Domain)
	sending  chan struct{} // holds one while a message is written
	ended    chan struct{} // closed when the connection is over

	mu      sync.Mutex
	serial  uint32
	waiting map[uint32]waiting // for answers, by serial
	why     error              // the connection is over
}

// waiting is a call that was sent.
type waiting struct {
	procedure procedure
	answer    chan answer // takes one
}

type answer struct {
	results results
	err     error
}

func newConn(conn net.Conn, happened func(Domain)) *Conn {
	c := &Conn{
		conn: conn, happened: happened,
		sending: make(chan struct{}, 1), ended: make(chan struct{}),
		waiting: map[uint32]waiting{},
	}
	go c.read()
	return c
}

// Ended is closed when the connection is lost or closed.
func (c *Conn) Ended() <-chan struct{} { return c.ended }

// Cut closes the connection at once.
func (c *Conn) Cut() { c.end(net.ErrClosed) }

// end ends the connection, and tells all who wait for an answer why.
func (c *Conn) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		return
	}
	c.why = why
	close(c.ended)
	c.conn.Close()
	for serial, w := range c.waiting {
		w.answer <- answer{err: why}
		delete(c.waiting, serial)
	}
}

// call calls a procedure, and waits for its answer.
func (c *Conn) call(ctx context.Context, p procedure, a arguments) (results, error) {
	answered, err := c.send(ctx, p, a)
	if err != nil {
		return results{}, err
	}
	select {
	case a := <-answered:
		return a.results, a.err
	case <-ctx.Done():
		return results{}, over(ctx)
	}
}

// over says why a context ended.
func over(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrSlow
	}
	return ctx.Err()
}

// send writes a call, and gives where its answer will come. Nothing can be sent after
// half of a message: when ctx ends before all is written, the connection does, too.
func (c *Conn) send(ctx context.Context, p procedure, a arguments) (<-chan answer, error) {
	select {
	case c.sending <- struct{}{}:
		defer func() { <-c.sending }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return nil, over(ctx)
	}
	w := waiting{p, make(chan answer, 1)}
	serial, err := c.expect(w)
	if err != nil {
		return nil, err
	}
	message := arguments{}.number(uint32(headerLength + len(a))).
		number(remoteProgram).number(remoteVersion).number(uint32(p)).
		number(typeCall).number(serial).number(statusOK)
	stop := context.AfterFunc(ctx, func() { c.end(over(ctx)) })
	defer stop()
	if _, err := c.conn.Write(append(message, a...)); err != nil {
		c.end(err) // which answers
	}
	return w.answer, nil
}

// expect gives the serial by which an answer will be known.
func (c *Conn) expect(w waiting) (serial uint32, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		return 0, c.why
	}
	c.serial++
	c.waiting[c.serial] = w
	return c.serial, nil
}

// owes reports whether the daemon has not answered all calls.
func (c *Conn) owes() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) > 0
}

// read takes what the daemon sends, until the connection ends.
func (c *Conn) read() {
	in := bufio.NewReader(c.conn)
	for {
		h, payload, err := readMessage(in)
		if err == nil {
			err = c.receive(h, payload)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the daemon closed the connection (%w)", err)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// readMessage reads one message. No more memory is taken than has arrived, whatever
// length the message claims.
func readMessage(in io.Reader) (h header, payload []byte, err error) {
	fixed := make([]byte, headerLength)
	if _, err := io.ReadFull(in, fixed); err != nil {
		return h, nil, err
	}
	r := results{rest: fixed}
	length := r.number()
	if length < headerLength || length > messageMax {
		return h, nil, fmt.Errorf("a message of %d bytes, where %d to %d can be", length, headerLength, messageMax)
	}
	h = header{
		program: r.number(), version: r.number(), procedure: procedure(r.number()),
		kind: r.number(), serial: r.number(), status: r.number(),
	}
	length -= headerLength
	payload, err = io.ReadAll(io.LimitReader(in, int64(length)))
	if err == nil && len(payload) < int(length) {
		err = io.ErrUnexpectedEOF
	}
	return h, payload, err
}

// receive passes on a message. An error is of one after which nothing can be trusted.
func (c *Conn) receive(h header, payload []byte) error {
	ours := h.program == remoteProgram && h.version == remoteVersion
	switch {
	case h.kind == typeEvent && ours:
		return c.tell(h.procedure, results{rest: payload})
	case h.kind == typeEvent:
		return nil // of another program, that nobody asked
	case h.kind != typeReply || !ours:
		return fmt.Errorf("a message of type %d of program %#x, version %d: nobody asked for streams or files", h.kind, h.program, h.version)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.waiting[h.serial]
	switch {
	case !ok:
		return fmt.Errorf("an answer to call %d, which was none or is answered", h.serial)
	case w.procedure != h.procedure:
		return fmt.Errorf("an answer of procedure %d to procedure %d", h.procedure, w.procedure)
	}
	delete(c.waiting, h.serial)
	a := answer{results: results{rest: payload}}
	if h.status != statusOK {
		a.err = readError(h, a.results)
	}
	w.answer <- a
	return nil
}
