package watch_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/watch"
)

// bound ends what hangs, and decides nothing else: however busy the machine is, what
// should happen takes less.
const bound = 5 * time.Minute

// A running is a watch that runs in a network's hypervisor.
type running struct {
	t       *testing.T
	n       *lab.Network
	file    string
	libvirt *fakeLibvirt
	cancel  context.CancelFunc
	ready   chan struct{} // closed when it is
	ended   chan struct{}

	mu  sync.Mutex
	log []string
}

// start runs a watch, and waits until it is ready and has asked libvirt. With xml, web-1
// runs already.
func start(t *testing.T, n *lab.Network, text string, xml ...string) *running {
	t.Helper()
	l := newFakeLibvirt(xml)
	w := begin(t, n, text, l.connect, l.keep)
	w.libvirt = l
	select {
	case <-w.ready:
	case <-w.ended:
		t.Fatal("watch ended")
	case <-time.After(bound):
		t.Fatal("watch is not ready")
	}
	w.until("it is connected to libvirt", l.connected)
	return w
}

// begin runs a watch.
func begin(t *testing.T, n *lab.Network, text string, connect func(time.Duration) (watch.Libvirt, error), keep func(context.Context, string, string) error) *running {
	t.Helper()
	w := &running{t: t, n: n, file: configFile(t, text), ready: make(chan struct{}), ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	o := w.options()
	o.Connect, o.Keep = connect, keep
	o.Ready = func() { close(w.ready) }
	go func() {
		defer close(w.ended)
		if err := inside(n, func() error { return watch.Run(ctx, o) }); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		w.stop()
		if t.Failed() {
			t.Logf("what watch logged:\n%s", strings.Join(w.log, "\n"))
		}
	})
	return w
}

// inside runs f in the hypervisor's namespace on a thread that stays there.
func inside(n *lab.Network, f func() error) error {
	return n.Hypervisor.Do(func() error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		return f()
	})
}

func (w *running) options() watch.Options {
	return watch.Options{
		ConfigFile: w.file,
		Connect:    func(time.Duration) (watch.Libvirt, error) { return nil, errors.New("libvirt: no daemon answers") },
		Ready:      func() {},
		Log: func(level slog.Level, message string, f journal.Fields) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.log = append(w.log, time.Now().Format("05.000 ")+level.String()+" "+message+fmt.Sprintf(" %+v", f))
		},
	}
}

// run runs a watch that is to fail.
func run(t *testing.T, n *lab.Network, o watch.Options) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	return inside(n, func() error { return watch.Run(ctx, o) })
}

func (w *running) stop() {
	w.cancel()
	select {
	case <-w.ended:
	case <-time.After(bound):
		w.t.Error("watch does not end")
	}
}

func (w *running) isReady() bool {
	select {
	case <-w.ready:
		return true
	default:
		return false
	}
}

// until waits for what should happen.
func (w *running) until(what string, happened func() bool) {
	w.t.Helper()
	for end := time.Now().Add(bound); ; {
		if happened() {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *running) logged(part string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.log, func(line string) bool { return strings.Contains(line, part) })
}

func (w *running) count(part string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(strings.Join(w.log, "\n"), part)
}

func (w *running) configure(text string) {
	w.t.Helper()
	if err := os.WriteFile(w.file+".new", []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(w.file+".new", w.file); err != nil {
		w.t.Fatal(err)
	}
}

// took waits until watch has read so many configurations that are right.
func (w *running) took(times int) bool {
	w.t.Helper()
	w.until("it takes the configuration", func() bool { return w.count("read the configuration") == times })
	_, err := ask(w.n) // the loop answers after the pass
	return err == nil
}

func (w *running) nft(script string) {
	w.t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := w.n.Hypervisor.Run(cmd); err != nil {
		w.t.Fatalf("nft: %v: %s", err, output.String())
	}
}

// tables gives the names of the tables that stand, sorted.
func (w *running) tables() []string {
	var names []string
	err := w.n.Hypervisor.Do(func() error {
		tables, err := kernel.Tables(context.Background())
		for _, s := range tables {
			names = append(names, s.Name)
		}
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
	slices.Sort(names)
	return names
}

// healed reports whether the rules of the interface macvtap0 stand.
func (w *running) healed() bool {
	return slices.Contains(w.tables(), ruleset.TableName("macvtap0"))
}

func plug(t *testing.T, n *lab.Network, name string, mac net.HardwareAddr) *lab.Tap {
	t.Helper()
	tap, err := n.AddMacvtap(name, mac)
	if err == nil {
		err = errors.Join(tap.Up(), tap.Open())
	}
	if err != nil {
		t.Fatal(err)
	}
	return tap
}

// passes reports whether a datagram from the VM to an address arrives on the wire.
func passes(t *testing.T, n *lab.Network, tap *lab.Tap, to string) bool {
	t.Helper()
	arrived, err := n.FromVM(tap, datagram(tap.MAC, netip.MustParseAddr(to)))
	if err != nil {
		t.Fatal(err)
	}
	return arrived
}

var serial uint32

// datagram is a UDP datagram that no other is like.
func datagram(from net.HardwareAddr, to netip.Addr) []byte {
	serial++
	frame := append([]byte{2, 0, 0, 0, 0, 1}, from...)
	frame = append(frame, 0x08, 0x00)
	header := []byte{0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 200}
	header = append(header, to.AsSlice()...)
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	frame = append(frame, header...)
	frame = append(frame, 0x30, 0x39, 0x30, 0x39, 0, 26, 0, 0)
	frame = binary.BigEndian.AppendUint32(frame, serial)
	return append(frame, make([]byte, 14)...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// hook programs the VM's rules, of the policy dmz, as its hook does.
func hook(t *testing.T, n *lab.Network) {
	t.Helper()
	err := inside(n, func() error {
		c, err := config.Parse("config.toml", []byte(dmz))
		if err != nil {
			return err
		}
		d, err := domain.Parse(strings.NewReader(web))
		if err != nil {
			return err
		}
		h, err := host.Open(context.Background())
		if err != nil {
			return err
		}
		defer h.Close()
		made, err := plan.Make(d, c, plan.Live{Host: h})
		if err != nil {
			return err
		}
		return kernel.Create(context.Background(), made.Tables)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A fakeLibvirt is a daemon whose VMs a test starts and stops.
type fakeLibvirt struct {
	mu      sync.Mutex
	vms     map[string]string // XML by UUID
	away    bool
	slow    bool // about its VMs
	current *connection

	asked   int           // how often somebody was about to write metadata
	kept    int           // how often they were written
	refuses error         // why they are not
	holds   chan struct{} // until it is closed they wait; nil for no wait
}

type connection struct {
	*fakeLibvirt
	changed chan string
	ended   chan struct{}
	once    sync.Once
}

func newFakeLibvirt(xmls []string) *fakeLibvirt {
	l := &fakeLibvirt{vms: map[string]string{}}
	for _, xml := range xmls {
		l.vms[webUUID] = xml
	}
	return l
}

func (l *fakeLibvirt) connect(time.Duration) (watch.Libvirt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return nil, errors.New("libvirt: no daemon answers")
	}
	l.current = &connection{fakeLibvirt: l, changed: make(chan string, 100), ended: make(chan struct{})}
	return l.current, nil
}

func (l *fakeLibvirt) connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current != nil
}

// run has the VM web-1 run, or run on with other XML.
func (l *fakeLibvirt) run(xml string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vms[webUUID] = xml
	l.current.changed <- webUUID
}

func (l *fakeLibvirt) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.vms, webUUID)
	l.current.changed <- webUUID
}

// hang has it answer nothing about VMs any more, or again.
func (l *fakeLibvirt) hang(slow bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = slow
	l.current.changed <- webUUID
}

func (l *fakeLibvirt) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = true
	l.current.Close()
}

func (l *fakeLibvirt) come() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = false
}

// keep has the VM's XML hold an element, as libvirt does.
func (l *fakeLibvirt) keep(ctx context.Context, uuid, element string) error {
	l.mu.Lock()
	l.asked++
	holds := l.holds
	l.mu.Unlock()
	if holds != nil {
		select {
		case <-holds:
		case <-ctx.Done():
			return libvirt.ErrSlow
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept++
	if l.refuses != nil {
		return l.refuses
	}
	head, rest, _ := strings.Cut(l.vms[uuid], "<metadata>")
	if _, after, there := strings.Cut(rest, "</metadata>"); there {
		rest = after
	} else {
		head, rest, _ = strings.Cut(head, "<devices>")
		rest = "<devices>" + rest
	}
	element = strings.Replace(element, "<addresses>", "<addresses xmlns='"+domain.AddressesNamespace+"'>", 1)
	l.vms[uuid] = head + "<metadata>" + element + "</metadata>" + rest
	l.current.changed <- uuid
	return nil
}

// says gives the addresses in the VM's metadata, and how often they were written.
func (l *fakeLibvirt) says(t *testing.T) (addresses string, written int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	d, err := domain.Parse(strings.NewReader(l.vms[webUUID]))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, b := range d.Addresses.Of(webMAC) {
		out = append(out, fmt.Sprint(b.Addr, " ", b.Known))
	}
	return strings.Join(out, ", "), l.kept
}

func (c *connection) Running(time.Duration) (uuids []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for uuid := range c.vms {
		uuids = append(uuids, uuid)
	}
	return uuids, nil
}

func (c *connection) LiveXML(uuid string, _ time.Duration) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	xml, ok := c.vms[uuid]
	if c.slow {
		return "", fmt.Errorf("VM %s: %w", uuid, libvirt.ErrSlow)
	}
	if !ok {
		return "", fmt.Errorf("VM %s: %w", uuid, libvirt.ErrGone)
	}
	return xml, nil
}

func (c *connection) Changed() <-chan string { return c.changed }
func (c *connection) Ended() <-chan struct{} { return c.ended }
func (c *connection) Close()                 { c.once.Do(func() { close(c.ended) }) }

func (w *running) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}
