package status_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/status"
)

// bound is how long anything that should happen may take on a busy machine.
const bound = 5 * time.Minute

const (
	dmz = `
parents = ["enp88s0"]

[policy.dmz]
deny = ["192.168.0.0/16", "10.0.0.0/8"]

[[vm]]
name = "web-1"
policy = "dmz"
`
	webUUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
)

var (
	webMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	lanMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
)

// web is the running VM web-1 with one direct interface, macvtap0.
var web = fmt.Sprintf(`<domain><name>web-1</name><uuid>%s</uuid><devices><interface type='user'/><interface type='direct'>
<mac address='%s'/><source dev='enp88s0'/><target dev='macvtap0'/></interface></devices></domain>`, webUUID, webMAC)

func network(t testing.TB) *lab.Network {
	t.Helper()
	if unix.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("SKIPPED: needs root, nothing was tried in the kernel")
	}
	n, err := lab.New(lab.Options{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.2/24")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.168.2.1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := n.Hypervisor.SetNeighbour(n.Parent, netip.MustParseAddr("192.168.2.1"), lanMAC); err != nil {
		t.Fatal(err)
	}
	return n
}

// inside runs f in the hypervisor's namespace on a thread that stays there.
func inside(t testing.TB, n *lab.Network, f func() error) {
	t.Helper()
	err := n.Hypervisor.Do(func() error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		return f()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func plug(t testing.TB, n *lab.Network, name string, mac net.HardwareAddr) *lab.Tap {
	t.Helper()
	tap, err := n.AddMacvtap(name, mac)
	if err == nil {
		err = errors.Join(tap.Up(), tap.OpenVirtio())
	}
	if err != nil {
		t.Fatal(err)
	}
	return tap
}

// hook programs a VM's rules as its hook does.
func hook(t testing.TB, n *lab.Network, xml string) {
	t.Helper()
	hookWith(t, n, dmz, xml)
}

func hookWith(t testing.TB, n *lab.Network, toml, xml string) {
	t.Helper()
	c, err := config.Parse("config.toml", []byte(toml))
	if err != nil {
		t.Fatal(err)
	}
	d, err := domain.Parse(strings.NewReader(xml))
	if err != nil {
		t.Fatal(err)
	}
	program(t, n, c, d)
}

// program programs the rules that a domain should have.
func program(t testing.TB, n *lab.Network, c *config.Config, d *domain.Domain) {
	t.Helper()
	inside(t, n, func() error {
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
}

func nft(t testing.TB, n *lab.Network, script string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := n.Hypervisor.Run(cmd); err != nil {
		t.Fatalf("nft: %v: %s", err, output.String())
	}
}

// look collects in the hypervisor.
func look(t testing.TB, n *lab.Network, text string, l *fakeLibvirt) status.Status {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var s status.Status
	inside(t, n, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		s = status.Collect(ctx, status.Options{ConfigFile: file, Connect: l.connect})
		return nil
	})
	return s
}

// A fakeLibvirt is a daemon that knows VMs by their XML.
type fakeLibvirt struct {
	vms   []string
	away  bool
	asked int // for XML
}

func (l *fakeLibvirt) connect(context.Context) (status.Libvirt, error) {
	if l.away {
		return nil, errors.New("libvirt: no daemon answers")
	}
	return l, nil
}

func (l *fakeLibvirt) RunningVMs(context.Context) (map[string]string, error) {
	out := map[string]string{}
	for _, xml := range l.vms {
		d, err := domain.Parse(strings.NewReader(xml))
		if err != nil {
			return nil, err
		}
		out[d.UUID] = d.Name
	}
	return out, nil
}

func (l *fakeLibvirt) LiveXML(_ context.Context, name string) (string, error) {
	l.asked++
	for _, xml := range l.vms {
		if strings.Contains(xml, "<name>"+name+"</name>") {
			return xml, nil
		}
	}
	return "", errors.New("no such VM")
}

func (l *fakeLibvirt) Close() {}

// datagram is a UDP datagram with so many bytes of data, the first four of which are its
// number.
func datagram(from, to net.HardwareAddr, source, destination string, number uint32, size int) []byte {
	frame := append(slices.Clone(to), from...)
	frame = append(frame, 0x08, 0x00)
	header := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0}
	header = append(header, netip.MustParseAddr(source).AsSlice()...)
	header = append(header, netip.MustParseAddr(destination).AsSlice()...)
	binary.BigEndian.PutUint16(header[2:], uint16(28+size))
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	frame = append(frame, header...)
	frame = append(frame, 0x30, 0x39, 0x30, 0x39)
	frame = binary.BigEndian.AppendUint16(frame, uint16(8+size))
	frame = append(frame, 0, 0)
	frame = binary.BigEndian.AppendUint32(frame, number)
	return append(frame, make([]byte, size-4)...)
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

// tagged puts a VLAN tag into a frame.
func tagged(frame []byte) []byte {
	return slices.Concat(frame[:12], []byte{0x81, 0, 0, 7}, frame[12:])
}

// TestCounts sends frames of known sizes both ways through a VM's rules, and holds what
// is counted against what was sent: what passed, what each reason dropped, and the
// check of checksum offload, which is behind the rules.
func TestCounts(t *testing.T) {
	const toml = dmz + "addresses = [\"192.168.2.200\"]\n"
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	hookWith(t, n, toml, web)
	wire, err := n.Wire()
	if err != nil {
		t.Fatal(err)
	}
	before := look(t, n, toml, &fakeLibvirt{vms: []string{web}})

	var number uint32
	sent := map[string]*status.Count{}
	note := func(what string, frame []byte) []byte {
		if sent[what] == nil {
			sent[what] = &status.Count{}
		}
		sent[what].Packets++
		sent[what].Bytes += uint64(len(frame))
		return frame
	}
	send := func(what string, raw bool, frame []byte) {
		note(what, frame)
		var err error
		if raw {
			// The guest asks to have a sum stored over the IPv4 destination.
			err = tap.SendRaw(append([]byte{1, 0, 0, 0, 0, 0, 20, 0, 10, 0}, frame...))
		} else {
			err = tap.Send(frame)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out := func(to string, size int) []byte {
		number++
		return datagram(webMAC, lanMAC, "192.168.2.200", to, number, size)
	}
	for size := range 5 {
		send("out passed", false, out("192.0.2.1", 20+size))
	}
	for range 3 {
		send("out denied-ipv4", false, out("192.168.2.77", 100))
	}
	send("out vlan", false, tagged(out("192.0.2.1", 30)))
	for range 2 {
		send("out offload", true, out("192.0.2.1", 40))
	}
	send("out passed", false, out("192.0.2.1", 1400))
	arrives(t, wire, "the last frame leaves", number)

	in := func(from string, size int) []byte {
		number++
		return datagram(lanMAC, webMAC, from, "192.168.2.200", number, size)
	}
	put := func(what string, frame []byte) {
		if err := wire.Send(note(what, frame)); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		put("in passed", in("192.0.2.1", 64))
	}
	put("in denied-ipv4", in("192.168.2.77", 200))
	put("in denied-ipv4", in("192.168.2.78", 18))
	put("in passed", in("192.0.2.1", 900))
	arrives(t, tap, "the last frame comes", number)

	after := look(t, n, toml, &fakeLibvirt{vms: []string{web}})
	counted := changes(only(t, before), only(t, after))
	want := map[string]status.Count{}
	for what, count := range sent {
		want[what] = *count
	}
	want["in arrived"] = status.Count{
		Packets: sent["in passed"].Packets + sent["in denied-ipv4"].Packets,
		Bytes:   sent["in passed"].Bytes + sent["in denied-ipv4"].Bytes,
	}
	offload := want["out offload"]
	offload.Bytes = 0 // nobody counts them
	want["out offload"] = offload
	if diff := cmp.Diff(want, counted); diff != "" {
		t.Errorf("sent (-) and counted (+):\n%s", diff)
	}
}

// A receiver is where frames come out.
type receiver interface {
	Arrives(marker []byte, within time.Duration) (bool, error)
}

// arrives waits for the frame of that number.
func arrives(t *testing.T, at receiver, what string, number uint32) {
	t.Helper()
	ok, err := at.Arrives(binary.BigEndian.AppendUint32(nil, number), bound)
	if err != nil || !ok {
		t.Fatalf("never: %s: %v", what, err)
	}
}

func only(t *testing.T, s status.Status) status.Interface {
	t.Helper()
	if len(s.Interfaces) != 1 {
		t.Fatalf("%d interfaces, want one: %+v", len(s.Interfaces), s)
	}
	return s.Interfaces[0]
}

// changes gives what was counted between two looks, but for what was not.
func changes(a, b status.Interface) map[string]status.Count {
	out := map[string]status.Count{}
	add := func(what string, a, b status.Count) {
		if a != b {
			out[what] = status.Count{Packets: b.Packets - a.Packets, Bytes: b.Bytes - a.Bytes}
		}
	}
	add("out passed", *a.FromVM.Passed, *b.FromVM.Passed)
	add("in passed", *a.ToVM.Passed, *b.ToVM.Passed)
	add("in arrived", *a.ToVM.Arrived, *b.ToVM.Arrived)
	for way, drops := range map[string][2][]status.Drop{"out ": {a.FromVM.Drops, b.FromVM.Drops}, "in ": {a.ToVM.Drops, b.ToVM.Drops}} {
		for i, d := range drops[1] {
			add(way+d.Reason, count(drops[0][i]), count(d))
		}
	}
	return out
}

func count(d status.Drop) status.Count {
	c := status.Count{Packets: d.Packets}
	if d.Bytes != nil {
		c.Bytes = *d.Bytes
	}
	return c
}
