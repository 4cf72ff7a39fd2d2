package metrics

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/patience"
)

// Path is where the metrics are.
const Path = "/metrics"

// ContentType is what the text is called in HTTP.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Of more than so many connections the oldest is closed: who only sits there makes room. A
// page is made once for all who ask within its age.
const (
	mostAsking = 64
	longestAsk = 8 << 10
	pageAge    = time.Second
)

// Listen opens the socket of an address: network is "tcp" or "unix". A socket in the
// file system that a former process left is replaced; anybody may connect to a new one,
// as to a port.
func Listen(network, address string) (net.Listener, error) {
	if network == "unix" {
		if err := clear(address); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
	}
	l, err := net.Listen(network, address)
	if err == nil && network == "unix" {
		err = os.Chmod(address, 0o666)
	}
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("listen on %s: %w: the service may use no IP; \"systemctl edit macvtap-filter-watch\", and below [Service] write RestrictAddressFamilies=AF_INET AF_INET6 and IPAddressAllow=localhost", address, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// clear removes a socket behind which nobody is. Any other file stays.
func clear(name string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return errors.New("a file that is no socket is in its place")
	}
	conn, err := net.DialTimeout("unix", name, patience.Ask)
	if err == nil {
		_ = conn.Close()
		return errors.New("another process listens there")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return os.Remove(name)
}

// Serve answers HTTP requests for the page that render gives, until ctx ends, and closes
// the listener. It speaks as much of HTTP as a scrape needs (RFC 9112): one request a
// connection, nothing of whose headers matters. Go's own server would make the program
// a quarter larger, and every hook call start later.
func Serve(ctx context.Context, l net.Listener, render func(context.Context) ([]byte, error)) {
	s := server{render: render}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	last := make(chan net.Conn, mostAsking) // most of them long closed
	for ctx.Err() == nil {
		conn, err := l.Accept()
		if err != nil {
			select { // out of files, say: that passes
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		if len(last) == cap(last) {
			_ = (<-last).Close()
		}
		last <- conn
		go func() {
			defer conn.Close()
			s.answer(ctx, conn)
		}()
	}
}

type server struct {
	render func(context.Context) ([]byte, error)

	lock  sync.Mutex
	page  []byte
	since time.Time
}

// answer reads a request and answers it.
func (s *server) answer(ctx context.Context, conn net.Conn) {
	if conn.SetDeadline(time.Now().Add(patience.Ask)) != nil {
		return
	}
	method, target, err := request(conn)
	path, _, _ := strings.Cut(target, "?")
	code, page := 200, []byte(nil)
	switch {
	case errors.Is(err, errNotHTTP):
		code = 400
	case err != nil:
		return // too slow, or gone
	case path != Path:
		code = 404
	case method != "GET" && method != "HEAD":
		code = 405
	default:
		if page, err = s.current(ctx); err != nil {
			code = 503
		}
	}
	kind := ContentType
	if code != 200 {
		kind, page = "text/plain; charset=utf-8", []byte(reasons[code]+"\n")
	}
	if conn.SetDeadline(time.Now().Add(patience.Answer)) != nil {
		return
	}
	head := "HTTP/1.1 " + strconv.Itoa(code) + " " + reasons[code] + "\r\nContent-Type: " + kind +
		"\r\nContent-Length: " + strconv.Itoa(len(page)) + "\r\nConnection: close\r\n\r\n"
	if method == "HEAD" {
		page = nil
	}
	answer := net.Buffers{[]byte(head), page}
	_, _ = answer.WriteTo(conn) // who asked may have gone
}

var reasons = map[int]string{
	200: "OK", 400: "Bad Request", 404: "Not Found: the metrics are at " + Path, 405: "Method Not Allowed", 503: "Service Unavailable",
}

var errNotHTTP = errors.New("no HTTP request")

// request reads a request without a body as far as its headers go.
func request(r io.Reader) (method, target string, err error) {
	lines := bufio.NewScanner(io.LimitReader(r, longestAsk))
	lines.Buffer(make([]byte, 512), longestAsk)
	first := ""
	for lines.Scan() {
		if first == "" {
			first = lines.Text()
			continue
		}
		if lines.Text() == "" {
			words := strings.Split(first, " ")
			if len(words) != 3 || !strings.HasPrefix(words[2], "HTTP/1.") {
				return "", "", errNotHTTP
			}
			return words[0], words[1], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", "", err
	}
	return "", "", errNotHTTP
}

// current gives the page, which is made anew when it has become old. Who asks meanwhile
// waits for it: there is one at work at any time, however many ask.
func (s *server) current(ctx context.Context) (page []byte, err error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if time.Since(s.since) < pageAge {
		return s.page, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience.Answer)
	defer cancel()
	defer func() {
		// Who keeps the rules standing must not end for that.
		if fault := recover(); fault != nil {
			err = fmt.Errorf("a fault of the program: %v", fault)
		}
	}()
	if page, err = s.render(ctx); err == nil {
		s.page, s.since = page, time.Now()
	}
	return page, err
}
