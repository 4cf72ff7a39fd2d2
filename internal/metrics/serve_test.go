package metrics_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"macvtap-filter/internal/metrics"
	"macvtap-filter/internal/patience"
)

// bound ends what hangs, and decides nothing else: however busy the machine is, what
// should happen takes less.
const bound = 5 * time.Minute

// serve serves a page until the test ends, and gives the address.
func serve(t *testing.T, network, address string, render func(context.Context) ([]byte, error)) net.Addr {
	t.Helper()
	l, err := metrics.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); metrics.Serve(ctx, l, render) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-ended:
		case <-time.After(bound):
			t.Error("the server does not end")
		}
	})
	return l.Addr()
}

// client is Go's own, which speaks all of HTTP, to whatever address.
func client(at net.Addr) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, at.Network(), at.String())
	}
	return &http.Client{Timeout: bound, Transport: &http.Transport{DialContext: dial}}
}

// TestServe shows that a client of HTTP gets the page, and others what they deserve.
func TestServe(t *testing.T) {
	page := strings.Repeat("macvtap_filter_watch_up 1\n", 400_000)
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")} {
		at := serve(t, network, address, func(context.Context) ([]byte, error) { return []byte(page), nil })
		for _, test := range []struct {
			method, path string
			code         int
			body         string
		}{
			{"GET", "/metrics", 200, page},
			{"GET", "/metrics?x=y", 200, page},
			{"HEAD", "/metrics", 200, ""},
			{"GET", "/", 404, "Not Found: the metrics are at /metrics\n"},
			{"POST", "/metrics", 405, "Method Not Allowed\n"},
		} {
			request, err := http.NewRequest(test.method, "http://localhost"+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := client(at).Do(request)
			if err != nil {
				t.Errorf("%s %s: %v", test.method, test.path, err)
				continue
			}
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || answer.StatusCode != test.code || string(body) != test.body {
				t.Errorf("%s %s: %d, %d bytes, %v, want %d, %d bytes", test.method, test.path, answer.StatusCode, len(body), err, test.code, len(test.body))
			}
			if kind := answer.Header.Get("Content-Type"); test.code == 200 && kind != metrics.ContentType {
				t.Errorf("%s %s is %q", test.method, test.path, kind)
			}
		}
	}
}

// TestServeOddities shows what becomes of what is no request: an answer that says so,
// or the end of the connection, and the next one is served as ever.
func TestServeOddities(t *testing.T) {
	at := serve(t, "tcp", "127.0.0.1:0", func(context.Context) ([]byte, error) { return []byte("page"), nil })
	for _, test := range []struct{ sent, want string }{
		{"\r\n\r\n", ""},
		{"hello\r\n\r\n", "HTTP/1.1 400 "},
		{"GET /metrics\r\n\r\n", "HTTP/1.1 400 "},
		{"GET /metrics HTTP/2.0\r\n\r\n", "HTTP/1.1 400 "},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", "HTTP/1.1 400 "},
		{"GET /metrics HTTP/1.0\n\n", "HTTP/1.1 200 OK\r\n"},
		{"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
		{"GET /metrics HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 10_000), ""},
		{"GET /" + strings.Repeat("x", 100_000), ""},
		{strings.Repeat("\n", 10_000), ""},
	} {
		conn, err := net.Dial(at.Network(), at.String())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(bound)); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, test.sent) // it may be cut off
		_ = conn.(*net.TCPConn).CloseWrite()
		line, err := bufio.NewReader(conn).ReadString('\n')
		conn.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(line, test.want) {
			t.Errorf("%.40q: %q, %v, want %q", test.sent, line, err, test.want)
		}
	}
	if answer, err := client(at).Get("http://localhost/metrics"); err != nil || answer.StatusCode != 200 {
		t.Errorf("afterwards: %v, %v", answer, err)
	}
}

// TestServeSilence shows that who says nothing is cut off.
func TestServeSilence(t *testing.T) {
	usual := patience.Ask
	t.Cleanup(func() { patience.Ask = usual })
	patience.Ask = 10 * time.Millisecond
	at := serve(t, "tcp", "127.0.0.1:0", func(context.Context) ([]byte, error) { return nil, nil })
	conn, err := net.Dial(at.Network(), at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(bound)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%d bytes, %v, want the end", n, err)
	}
}

// TestServeCrowd shows that who connects and says nothing holds up nobody for long, and
// that a page is made once for all who ask at once.
func TestServeCrowd(t *testing.T) {
	var made atomic.Int64
	at := serve(t, "tcp", "127.0.0.1:0", func(context.Context) ([]byte, error) {
		return fmt.Appendf(nil, "page %d", made.Add(1)), nil
	})
	for range 300 {
		idle, err := net.Dial(at.Network(), at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer idle.Close()
	}
	began := time.Now()
	var group sync.WaitGroup
	const askers = 50
	for range askers {
		group.Go(func() {
			answer, err := client(at).Get("http://localhost/metrics")
			if err != nil {
				t.Error(err)
				return
			}
			answer.Body.Close()
		})
	}
	group.Wait()
	if seconds := int64(time.Since(began).Seconds()) + 1; made.Load() > seconds {
		t.Errorf("%d pages in %d seconds for %d who asked", made.Load(), seconds, askers)
	}
}

// TestServeFaults shows that a page that cannot be made harms nobody but who asks.
func TestServeFaults(t *testing.T) {
	faults := []func() ([]byte, error){
		func() ([]byte, error) { panic("oops") },
		func() ([]byte, error) { return nil, errors.New("oops") },
		func() ([]byte, error) { return []byte("page"), nil },
	}
	n := 0
	at := serve(t, "tcp", "127.0.0.1:0", func(context.Context) ([]byte, error) { n++; return faults[n-1]() })
	for _, want := range []int{503, 503, 200} {
		answer, err := client(at).Get("http://localhost/metrics")
		if err != nil || answer.StatusCode != want {
			t.Errorf("%v, %v, want %d", answer, err, want)
		}
	}
}

// TestListen shows what is replaced by a socket, and what is not.
func TestListen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "socket")
	at := serve(t, "unix", name, func(context.Context) ([]byte, error) { return []byte("page"), nil })
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := metrics.Listen("unix", name); err == nil || !strings.Contains(err.Error(), name+": another process listens there") {
		t.Errorf("a second server: %v", err)
	}
	if answer, err := client(at).Get("http://localhost/metrics"); err != nil || answer.StatusCode != 200 {
		t.Errorf("the first server answers %v, %v", answer, err)
	}
	left := filepath.Join(t.TempDir(), "left")
	former, err := net.ListenUnix("unix", &net.UnixAddr{Name: left})
	if err != nil {
		t.Fatal(err)
	}
	former.SetUnlinkOnClose(false)
	_ = former.Close()
	serve(t, "unix", left, func(context.Context) ([]byte, error) { return nil, nil })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := metrics.Listen("unix", file); err == nil || !strings.Contains(err.Error(), file+": a file that is no socket") {
		t.Errorf("a file's place: %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// TestWriteFile shows that a file comes in one step, is everybody's to read, and leaves
// nothing beside it, even where it cannot come.
func TestWriteFile(t *testing.T) {
	folder := t.TempDir()
	name := filepath.Join(folder, "macvtap-filter.prom")
	for _, text := range []string{"first\n", "second, and longer\n", "3\n"} {
		if err := metrics.WriteFile(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != text {
			t.Errorf("%q, %v, want %q", got, err, text)
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	taken := filepath.Join(folder, "folder.prom")
	if err := os.Mkdir(taken, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{taken, filepath.Join(folder, "none", "x.prom"), "/dev/null/x.prom"} {
		if err := metrics.WriteFile(bad, []byte("text")); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 2 {
		t.Errorf("%v, %v: want the file and the folder", left, err)
	}
}
