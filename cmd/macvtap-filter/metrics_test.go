package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"macvtap-filter/internal/metrics"
)

const closedToLAN = "parents = [\"enp88s0\"]\n[policy.default]\ngateway_macs = [\"02:00:00:00:00:77\"]\ndeny = [\"192.168.0.0/16\"]\nallow = []\nipv6 = \"drop\"\nlearn = \"off\"\n"

// program gives a call of the program in the site's namespace.
func (s *logSite) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.program, args...)
	cmd.Env = append(os.Environ(), "MACVTAP_FILTER_CONFIG="+s.config)
	return cmd
}

// output calls the program, and gives what it prints.
func (s *logSite) output(args ...string) (out, said string, err error) {
	cmd := s.command(args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = s.n.Hypervisor.Run(cmd)
	return stdout.String(), stderr.String(), err
}

// figure gives the value of the series with these labels, "" for none.
func figure(page, name, labels string) string {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	found := regexp.MustCompile(`(?m)^macvtap_filter_` + regexp.QuoteMeta(name+labels) + ` (\S+)$`).FindStringSubmatch(page)
	if found == nil {
		return ""
	}
	return found[1]
}

// send has the VM send so many frames of a kind.
func (s *logSite) send(count int, frame []byte) {
	s.Helper()
	for range count {
		s.check(s.tap.Send(frame))
	}
}

const webLabels = `vm="web",uuid="` + oddUUID + `",device="macvtap0"`

// wantTraffic wants a page to tell of so many frames to the LAN, dropped, and to the
// internet, sent.
func wantTraffic(t *testing.T, page string, dropped, sent int) {
	t.Helper()
	for _, want := range []struct{ name, labels, value string }{
		{"dropped_packets_total", webLabels + `,direction="from-vm",reason="denied-ipv4"`, fmt.Sprint(dropped)},
		{"dropped_packets_total", webLabels + `,direction="from-vm",reason="vlan"`, "0"},
		{"dropped_bytes_total", webLabels + `,direction="from-vm"`, fmt.Sprint(60 * dropped)},
		{"sent_packets_total", webLabels, fmt.Sprint(sent)},
		{"sent_bytes_total", webLabels, fmt.Sprint(60 * sent)},
	} {
		if got := figure(page, want.name, want.labels); got != want.value {
			t.Errorf("%s{%s} is %q, want %s\n%s", want.name, want.labels, got, want.value, page)
		}
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestMetrics sends frames from a VM and to it, and finds their numbers, printed and in
// a file.
func TestMetrics(t *testing.T) {
	s := newLogSite(t, closedToLAN)
	if said, err := s.hook("web", "start", "begin"); err != nil || said != "" {
		t.Fatalf("%v: %s", err, said)
	}
	s.check(errors.Join(s.tap.Up(), s.tap.Open()))
	s.send(5, udpFrom(s.tap.MAC, net.IPv4(192, 168, 2, 77)))
	s.send(3, udpFrom(s.tap.MAC, net.IPv4(192, 0, 2, 1)))
	page, said, err := s.output("metrics")
	// There is no libvirt in the namespace: the page says that it lacks something.
	if exitCodeOf(err) != exitFailed || !strings.Contains(said, "macvtap-filter: warning: ") || figure(page, "scrape_success", "") != "0" {
		t.Errorf("without libvirt: %v, %q, scrape_success %q", err, said, figure(page, "scrape_success", ""))
	}
	wantTraffic(t, page, 5, 3)
	if got := figure(page, "interface_state", webLabels+`,state="protected"`); got != "1" {
		t.Errorf("the state protected is %q", got)
	}
	if got := figure(page, "interface_info", webLabels+`,parent="enp88s0",policy="default",mac="`+s.tap.MAC.String()+`"`); got != "1" {
		t.Errorf("the interface is not told of: %q\n%s", got, page)
	}
	file := filepath.Join(t.TempDir(), "web.prom")
	if out, said, err := s.output("metrics", "--textfile", file); exitCodeOf(err) != exitFailed || out != "" {
		t.Errorf("%v: %q, %q", err, out, said)
	}
	text, err := os.ReadFile(file)
	s.check(err)
	wantTraffic(t, string(text), 5, 3)

	// Rules that stand as they should count on.
	again := func() {
		t.Helper()
		if said, err := s.hook("web", "reconnect", "begin"); err != nil || said != "" {
			t.Fatalf("%v: %s", err, said)
		}
		s.send(2, udpFrom(s.tap.MAC, net.IPv4(192, 168, 2, 77)))
		page, _, _ = s.output("metrics")
	}
	again()
	wantTraffic(t, page, 7, 3)
	// Rules that have to be programmed again count anew, as counters may.
	s.check(s.n.Hypervisor.Run(exec.Command("nft", "flush", "ruleset")))
	again()
	wantTraffic(t, page, 2, 3)
}

// TestMetricsWrong shows what the command says of what it cannot do.
func TestMetricsWrong(t *testing.T) {
	s := newLogSite(t, closedToLAN)
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"metrics", "--textfile", "/tmp/x.txt"}, exitInput, "macvtap-filter: error: --textfile /tmp/x.txt: node_exporter reads only files that end in .prom\n"},
		{[]string{"metrics", "--textfile", "/none/x.prom"}, exitFailed, "macvtap-filter: error: /none/x.prom: open /none/.x.prom."},
		{[]string{"metrics", "web"}, exitInput, `unexpected argument "web"`},
		{[]string{"watch", "--listen", "0.0.0.0:9477"}, exitInput, `macvtap-filter: error: --listen: "0.0.0.0:9477": others could read the figures there: want a loopback address`},
		{[]string{"watch", "--listen", "9477"}, exitInput, `macvtap-filter: error: --listen: "9477": want a loopback address with a port`},
	} {
		out, said, err := s.output(test.args...)
		if exitCodeOf(err) != test.code || !strings.Contains(said, test.want) || out != "" {
			t.Errorf("%v: %v, %q, %q, want exit code %d and %q", test.args, err, out, said, test.code, test.want)
		}
	}
	// A reader that goes ends it, as it does any program, and nothing is said.
	cmd := s.command("metrics")
	reader, writer, err := os.Pipe()
	s.check(err)
	s.check(reader.Close())
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = writer, &said
	err = s.n.Hypervisor.Run(cmd)
	s.check(writer.Close())
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE || said.Len() > 0 {
		t.Errorf("into a closed pipe: %v: %q", err, &said)
	}
	// Without the right to look there are no figures, and who reads it sees why.
	if err := os.Symlink(s.program, filepath.Join(filepath.Dir(s.program), "unprivileged")); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(filepath.Join(filepath.Dir(s.program), "unprivileged"), s.program, "metrics")
	cmd.Env = append(os.Environ(), "MACVTAP_FILTER_CONFIG="+s.config)
	var page strings.Builder
	said.Reset()
	cmd.Stdout, cmd.Stderr = &page, &said
	err = s.n.Hypervisor.Run(cmd)
	if exitCodeOf(err) != exitFailed || !strings.Contains(said.String(), "this needs root") || figure(page.String(), "scrape_success", "") != "0" {
		t.Errorf("without privilege: %v: %q, scrape_success %q", err, &said, figure(page.String(), "scrape_success", ""))
	}
}

func exitCodeOf(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return exitDone
}

// TestMetricsOfWatch shows a watch whose figures are read where the configuration says,
// and elsewhere when that changes, and that mends while nobody reads what it sends.
func TestMetricsOfWatch(t *testing.T) {
	s := newLogSite(t, "listen = \"127.0.0.1:9477\"\n"+closedToLAN)
	s.check(s.n.Hypervisor.Run(exec.Command("ip", "link", "set", "lo", "up")))
	var taken net.Listener
	s.check(s.n.Hypervisor.Do(func() (err error) { taken, err = net.Listen("tcp", "127.0.0.1:9477"); return err }))
	if said, err := s.hook("web", "start", "begin"); err != nil || said != "" {
		t.Fatalf("%v: %s", err, said)
	}
	s.check(errors.Join(s.tap.Up(), s.tap.Open()))
	cmd := s.command("watch")
	said := &spoken{}
	cmd.Stderr = said
	s.check(s.n.Hypervisor.Start(cmd))
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	s.send(4, udpFrom(s.tap.MAC, net.IPv4(192, 168, 2, 77)))

	// An address that is taken hinders nothing, and is tried again.
	said.until(t, "macvtap-filter: error: metrics: listen on 127.0.0.1:9477: ")
	s.check(taken.Close())
	tcp := func(context.Context) (conn net.Conn, err error) {
		err = s.n.Hypervisor.Do(func() (err error) { conn, err = net.DialTimeout("tcp", "127.0.0.1:9477", bound); return err })
		return conn, err
	}
	page := awaitPage(t, tcp)
	if up := figure(page, "watch_up", ""); up != "1" {
		t.Errorf("watch_up is %q", up)
	}
	// Without libvirt watch leaves the hook's rules as they are; that they are right was
	// found by comparison, which does not tell since when.
	if got := figure(page, "interface_state_change_timestamp_seconds", webLabels); got != "" {
		t.Errorf("it says since when, which nobody can know:\n%s", page)
	}
	wantTraffic(t, page, 4, 0)

	socket := filepath.Join(t.TempDir(), "metrics")
	s.check(os.WriteFile(s.config, []byte("listen = \"unix:"+socket+"\"\n"+closedToLAN), 0o600))
	s.check(cmd.Process.Signal(syscall.SIGHUP))
	page = awaitPage(t, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	})
	wantTraffic(t, page, 4, 0)
	for end := time.Now().Add(bound); ; time.Sleep(5 * time.Millisecond) {
		conn, err := tcp(context.Background())
		if err != nil {
			break
		}
		_ = conn.Close()
		if time.Now().After(end) {
			t.Fatal("the former address is open still")
		}
	}

	// Many who ask and do not read, and rules that somebody flushes.
	for range 100 {
		conn, err := net.Dial("unix", socket)
		s.check(err)
		defer func() { _ = conn.Close() }()
		_, err = io.WriteString(conn, "GET /metrics HTTP/1.1\r\n\r\n")
		s.check(err)
	}
	denied := udpFrom(s.tap.MAC, net.IPv4(192, 168, 2, 77))
	s.check(s.n.Hypervisor.Run(exec.Command("nft", "flush", "ruleset")))
	for end := time.Now().Add(bound); ; {
		seen, err := s.n.Watch(func() error { return s.tap.Send(denied) })
		s.check(err)
		if !seen.OnWire(denied) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("watch does not mend")
		}
	}
}

// spoken is what a process that runs on has said.
type spoken struct {
	lock sync.Mutex
	text strings.Builder
}

func (s *spoken) Write(p []byte) (int, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.text.Write(p)
}

func (s *spoken) String() string {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.text.String()
}

// until waits until it has said something.
func (s *spoken) until(t *testing.T, part string) {
	t.Helper()
	for end := time.Now().Add(bound); !strings.Contains(s.String(), part); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never says %q: %s", part, s)
		}
	}
}

// awaitPage asks for a page until there is one.
func awaitPage(t *testing.T, dial func(context.Context) (net.Conn, error)) string {
	t.Helper()
	client := &http.Client{Timeout: bound, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	for end := time.Now().Add(bound); ; time.Sleep(10 * time.Millisecond) {
		answer, err := client.Get("http://localhost" + metrics.Path)
		if err == nil {
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if err == nil && answer.StatusCode == 200 && answer.Header.Get("Content-Type") == metrics.ContentType {
				return string(body)
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no page: %v, %v", answer, err)
		}
	}
}
