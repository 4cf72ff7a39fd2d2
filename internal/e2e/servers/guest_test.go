//go:build e2e

package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/lab"
)

const (
	vmName   = "web"
	vmDevice = "macvtap0"
	guestNIC = "eth0"
)

// A guest is a namespace behind a macvtap device: what its NIC sends is what a VM's would.
type guest struct {
	*lab.Namespace
	site *site
	tap  *lab.Tap
	nic  netlink.Link
	seen *frames.Capture // what the NIC sends and hears
	dir  string          // for its clients' files
}

// newGuest plugs a guest in whose rules stand, as libvirt does. Its NIC is up, and the hidden host was heard of.
func newGuest(t *testing.T, s *site) *guest {
	t.Helper()
	tap, err := s.AddMacvtap(vmDevice, guestMAC)
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.Open(); err != nil {
		t.Fatal(err)
	}
	g := &guest{site: s, tap: tap, dir: t.TempDir()}
	s.hook(t)
	if err := tap.Up(); err != nil {
		t.Fatal(err)
	}
	g.addNIC(t)
	if err := g.Links().LinkSetUp(g.nic); err != nil {
		t.Fatal(err)
	}
	if s.learn == "first" {
		g.hears(t)
	}
	return g
}

// hook calls the program as libvirt does when the VM starts.
func (s *site) hook(t *testing.T) {
	t.Helper()
	cmd := s.filter(vmName, "start", "begin", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`<domain type='kvm' id='1'><name>%s</name><uuid>11111111-2222-4333-8444-555555555555</uuid><devices>
<interface type='direct'><mac address='%s'/><source dev='%s' mode='bridge'/><target dev='%s'/></interface></devices></domain>`, vmName, guestMAC, s.Parent, vmDevice))
	run(t, s.Hypervisor, cmd)
}

// filter prepares a call of the program on the hypervisor.
func (s *site) filter(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "MACVTAP_FILTER_CONFIG=/run/macvtap-filter.toml")
	return cmd
}

// addNIC makes the guest's namespace with its NIC, and carries frames between that and the macvtap device.
func (g *guest) addNIC(t *testing.T) {
	t.Helper()
	var err error
	if g.Namespace, err = lab.NewNamespace(); err != nil {
		t.Fatal(err)
	}
	var file *os.File
	err = g.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(guestNIC)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = errors.Join(unix.IoctlIfreq(fd, unix.TUNSETIFF, request), g.speakIPv6())
		file = os.NewFile(uintptr(fd), guestNIC) // not before: who polls it before it has a device is told of an error
		return err
	})
	if err == nil {
		g.nic, err = g.Links().LinkByName(guestNIC)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(g.Links().LinkSetHardwareAddr(g.nic, guestMAC), g.Hide("/run"), g.Hide("/var/lib/dhcpcd"), g.Do(func() (err error) {
		g.seen, err = frames.Listen(guestNIC)
		return err
	}))
	if err != nil {
		t.Fatal(err)
	}
	g.carry(t, file)
}

// carry passes frames on until the test ends. While the NIC is down it takes none.
func (g *guest) carry(t *testing.T, file *os.File) {
	ctx, cancel := context.WithCancel(context.Background())
	out, in := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(in)
		for ctx.Err() == nil {
			frame, err := g.tap.Receive(100 * time.Millisecond) // meant to look at ctx again
			if err == nil {
				_, _ = file.Write(frame)
			}
		}
	}()
	go func() {
		defer close(out)
		frame := make([]byte, 1<<16)
		for {
			n, err := file.Read(frame)
			if err != nil {
				return
			}
			_ = g.tap.Send(frame[:n]) // what rules drop is no error
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-in
		_ = file.Close()
		<-out
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

// speakIPv6 undoes, on the calling thread's namespace, what keeps hosts of the lab quiet.
func (g *guest) speakIPv6() error {
	return g.sysctl("accept_dad=1", "accept_ra=2", "router_solicitations=-1", "addr_gen_mode=0", "disable_ipv6=0")
}

func (g *guest) sysctl(settings ...string) error {
	var errs []error
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		errs = append(errs, os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", guestNIC, name), []byte(value), 0))
	}
	return errors.Join(errs...)
}

// hears waits until the rules have heard the hidden host ask for somebody. Linux defends no address of its own against
// who takes it without a probe: learn = "first" lets the first who comes have one that nobody was heard to use.
func (g *guest) hears(t *testing.T) {
	t.Helper()
	await(t, "that the hidden host was heard", func() bool {
		if conn, err := g.site.hidden.Dial("udp4", netip.MustParseAddrPort("192.168.2.250:9"), time.Second); err == nil {
			_, _ = conn.Write([]byte("?")) // nobody is there
			_ = conn.Close()
		}
		heard := run(t, g.site.Hypervisor, exec.Command("nft", "list", "set", "netdev", "macvtap-filter", "nic-heard-ipv4"))
		return strings.Contains(heard, fmt.Sprintf("0x%x", hidden4.Addr().AsSlice()))
	})
}

// addresses gives those of a prefix that the guest uses: it has them, and they are not tentative.
func (g *guest) addresses(t *testing.T, within netip.Prefix) []netip.Addr {
	t.Helper()
	list, err := g.Links().AddrList(g.nic, unix.AF_UNSPEC)
	if err != nil {
		t.Fatal(err)
	}
	var out []netip.Addr
	for _, a := range list {
		addr, _ := netip.AddrFromSlice(a.IP)
		if addr = addr.Unmap(); within.Contains(addr) && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
			out = append(out, addr)
		}
	}
	return out
}

// awaitAddress waits until the guest uses an address of a prefix.
func (g *guest) awaitAddress(t *testing.T, within netip.Prefix) netip.Addr {
	t.Helper()
	var got []netip.Addr
	await(t, "an address within "+within.String(), func() bool {
		got = g.addresses(t, within)
		return len(got) > 0
	})
	return got[0]
}

// known gives the addresses that the program shows for the VM, and how it knows each.
func (g *guest) known(t *testing.T) map[string]string {
	t.Helper()
	var all []struct {
		VM        string
		Addresses []struct{ Address, Source string }
	}
	text := run(t, g.site.Hypervisor, g.site.filter("addresses", "--json", vmName))
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 {
		t.Fatalf("addresses --json: %v: %s", err, text)
	}
	out := map[string]string{}
	for _, a := range all[0].Addresses {
		out[a.Address] = a.Source
	}
	return out
}

// expectKnown fails unless the program names an address as the VM's, by this source.
func (g *guest) expectKnown(t *testing.T, a netip.Addr, source string) {
	t.Helper()
	if known := g.known(t); known[a.String()] != source {
		t.Errorf("%s is known by %q, want %q; all that is known: %v", a, known[a.String()], source, known)
	}
}

// expectInternet fails unless the internet's host answers the guest, from one of its addresses.
func (g *guest) expectInternet(t *testing.T, from netip.Addr) {
	t.Helper()
	to := internet4
	if from.Is6() {
		to = internet6
	}
	var conn net.Conn
	text := token()
	await(t, fmt.Sprintf("an answer of %s to %s", to, from), func() bool {
		err := g.Do(func() (err error) {
			dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
			conn, err = dialer.Dial("udp", netip.AddrPortFrom(to, echoPort).String())
			return err
		})
		if err != nil {
			return false // no route yet
		}
		defer conn.Close()
		answer := make([]byte, len(text))
		_ = conn.SetDeadline(time.Now().Add(time.Second)) // decides nothing
		_, err = conn.Write([]byte(text))
		n, _ := conn.Read(answer)
		return err == nil && string(answer[:n]) == text
	})
}
