//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/lab"
)

// Addresses of the internet host: one that is probed, and one that bears witness.
const (
	internet4 = "192.0.2.1"
	internet6 = "2001:db8:ffff::1"
	witness4  = "198.51.100.7"
)

const (
	webPort = 443
	ntpPort = 123
)

// The allowed host of the LAN, and the name server that is a real one.
const (
	adminMAC  = "52:54:00:00:00:60"
	serverMAC = "52:54:00:00:00:54"
)

// A web server with inbound = ["tcp/443"]: it is reached there and nowhere else, from the internet and the LAN, and its
// own traffic is as without. Its connections outlive the change.
func TestInbound(t *testing.T) {
	s := shieldedSite(t, "")
	s.addInternet(t)
	admin := s.addHost(t, "admin", adminMAC, lan4+"60/24", lan6+"60/64")
	s.addNameServer(t)
	internet := s.witness.host
	ftp := serveFTP(t, internet, netip.MustParseAddr(internet4))

	open := s.readConfig(t) + fmt.Sprintf(`
[[vm]]
name = "web"
policy = "web"

[policy.web]
allow = ["router", "dns udp/53 tcp/53", "broadcast", "%s60", "%s60"]
`, lan4, lan6)
	s.writeConfig(t, open)
	nics := s.nics(1)
	nic := nics[0]
	nic.Auto = true
	nic.Addr6 = netip.PrefixFrom(slaac(nic.MAC), 64)
	vm := s.start(t, "web", nic)
	s.expectAutoconfigured(t, vm, nic)
	s.expectLease(t, vm, nic)
	content := serveWeb(t, vm)

	var sessions []net.Conn
	for _, addr := range []netip.Addr{nic.Addr4.Addr(), nic.Addr6.Addr()} {
		conn, err := internet.Dial("tcp", netip.AddrPortFrom(addr, guestrpc.EchoPort), answerTime)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		sessions = append(sessions, conn)
	}
	goOn(t, "before inbound", sessions)
	expectFTP(t, vm, nic, ftp, true)

	s.writeConfig(t, open+"inbound = [\"tcp/443\"]\n")
	s.run(t, "macvtap-filter", "apply", "--all")
	goOn(t, "with inbound", sessions)
	for _, h := range []*lab.Host{internet, admin, s.hidden} {
		s.expectWebAlone(t, vm, nic, h, h != s.hidden)
	}
	goOn(t, "after the scan", sessions)
	s.expectOrdinary(t, vm, nic, ftp)
	s.narrow(t)
	for _, addr := range []string{internet4, internet6} {
		s.wire.Forget()
		p := peer{host: internet, addr: netip.MustParseAddr(addr)}
		s.expectTransfer(t, vm, nic, p)
		s.expectTooBig(t, p)
		goOn(t, "after a large transfer", sessions)
	}
	for _, addr := range []netip.Addr{nic.Addr4.Addr(), nic.Addr6.Addr()} {
		if got, err := get(internet, addr, "/large"); err != nil || got != content {
			t.Errorf("GET from %s: not what the server has: %v", addr, err)
		}
	}
	s.expectLease(t, vm, nic)
	goOn(t, "after all", sessions)
}

// addInternet has the internet host answer as name, time and QUIC servers do, by datagrams, and as a web server.
func (s *site) addInternet(t *testing.T) {
	t.Helper()
	for _, p := range s.peers {
		if p.host.Name == "internet" {
			s.witness = p
		}
	}
	h := s.witness.host
	s.witness.addr, s.witness.port = netip.MustParseAddr(witness4), ntpPort
	if err := errors.Join(h.EchoUDP(ntpPort), h.EchoUDP(webPort), h.EchoUDP(dnsPort)); err != nil {
		t.Fatal(err)
	}
}

// manyName has more addresses than a datagram holds.
const (
	manyName      = "many.example."
	manyAddresses = 200
)

// addNameServer puts dnsmasq on the LAN, in the place of the test's own name server.
func (s *site) addNameServer(t *testing.T) {
	t.Helper()
	h := s.addHost(t, "dnsmasq", serverMAC, lan4+"54/24", lan6+"54/64")
	var hosts strings.Builder
	for i := range manyAddresses {
		fmt.Fprintf(&hosts, "203.0.113.%d %s\n", i+1, strings.TrimSuffix(manyName, "."))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "hosts")
	if err := os.WriteFile(file, []byte(hosts.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--no-resolv", "--no-hosts",
		"--bind-interfaces", "--interface=eth0", "--pid-file="+dir+"/pid", "--addn-hosts="+file)
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it says "killed"
	})
	text := fmt.Sprintf("nameserver %s54\nnameserver %s54\n", lan4, lan6)
	if err := os.WriteFile(s.hv.Path("/etc/resolv.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// serveWeb has busybox's web server serve a small and a large file, and gives the large one's sum.
func serveWeb(t *testing.T, vm *hypervisor.VM) string {
	t.Helper()
	sum, _, _ := strings.Cut(shell(t, vm, `mkdir /www && echo small >/www/small && dd if=/dev/urandom of=/www/large bs=1M count=24 2>/dev/null
httpd -p 443 -h /www
sha256sum </www/large`), " ")
	return sum
}

// get gives the sum of a file of a guest's web server.
func get(h *lab.Host, addr netip.Addr, path string) (string, error) {
	to := netip.AddrPortFrom(addr, webPort)
	client := http.Client{Timeout: answerTime, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return h.Dial("tcp", to, answerTime) },
	}}
	response, err := client.Get("http://" + to.String() + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, response.Body)
	return fmt.Sprintf("%x", sum.Sum(nil)), err
}

// goOn fails unless what is said over each connection comes back.
func goOn(t *testing.T, when string, sessions []net.Conn) {
	t.Helper()
	for _, conn := range sessions {
		if err := once(conn, token(), time.Now().Add(answerTime)); err != nil {
			t.Errorf("%s: the connection to %s: %v", when, conn.RemoteAddr(), err)
		}
	}
}

// closedPorts are some that a guest of these tests listens on (the first), or might.
var closedPorts = []uint16{guestrpc.EchoPort, 22, 80, 442, 3389, 65535}

// expectWebAlone fails unless a host reaches a guest's port 443, if it may, and nothing else of it.
func (s *site) expectWebAlone(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, h *lab.Host, may bool) {
	t.Helper()
	s.wire.Forget()
	var all sync.WaitGroup
	for _, addr := range []netip.Addr{nic.Addr4.Addr(), nic.Addr6.Addr()} {
		ports := closedPorts
		if !may {
			ports = append([]uint16{webPort}, ports...)
		}
		for _, port := range ports {
			all.Go(func() { s.expectSilence(t, h, netip.AddrPortFrom(addr, port)) })
		}
		all.Go(func() { expectNoEcho(t, h, addr) })
		for _, port := range []uint16{guestrpc.EchoPort, webPort} {
			all.Go(func() { s.expectUnheard(t, vm, nic, h, netip.AddrPortFrom(addr, port)) })
		}
		if may {
			all.Go(func() {
				if _, err := get(h, addr, "/small"); err != nil {
					t.Errorf("%s: %v", h.Name, err)
				}
			})
		}
	}
	all.Wait()
}

// expectSilence fails unless a connection is neither opened nor refused.
func (s *site) expectSilence(t *testing.T, h *lab.Host, to netip.AddrPort) {
	conn, err := h.Dial("tcp", to, silenceTime)
	if err == nil {
		_ = conn.Close()
	}
	if late, is := errors.AsType[net.Error](err); !is || !late.Timeout() {
		t.Errorf("%s connects to %s: %v, want no answer at all", h.Name, to, err)
	}
	const port = 2 // of TCP's header, the destination's
	if !s.wire.Await(answerTime, func(f frames.Frame) bool {
		_, dst, ok := f.Addrs()
		header := transport(f)
		return ok && f.Sent && dst == to.Addr() && len(header) > port+1 && binary.BigEndian.Uint16(header[port:]) == to.Port()
	}) {
		t.Errorf("%s has sent no segment to %s: this shows nothing", h.Name, to)
	}
}

// transport is what follows a frame's IP header without options.
func transport(f frames.Frame) []byte {
	at := 14 + 40
	if src, _, ok := f.Addrs(); !ok {
		return nil
	} else if src.Is4() {
		at = 14 + 20
	}
	return f.Data[min(at, len(f.Data)):]
}

func expectNoEcho(t *testing.T, h *lab.Host, addr netip.Addr) {
	if answered, err := h.Ping(addr, silenceTime); answered || err != nil {
		t.Errorf("%s pings %s: answered %t, %v", h.Name, addr, answered, err)
	}
}

// expectUnheard fails unless datagrams leave for a guest and do not come to it.
func (s *site) expectUnheard(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, h *lab.Host, to netip.AddrPort) {
	text := token()
	if err := (peer{host: h}).ask(t.Context(), "udp", to, text, silenceTime); err == nil {
		t.Errorf("%s asks %s by UDP: answered", h.Name, to)
	}
	s.expectOnWire(t, text)
	var seen int
	sight := guestrpc.Sight{NIC: nic.Name, Token: text, Until: s.fence(t, vm, nic)}
	if err := vm.Call(t.Context(), "Seen", sight, &seen); err != nil || seen > 0 {
		t.Errorf("%s asks %s by UDP: %d datagrams came, %v", h.Name, to, seen, err)
	}
}

// expectOrdinary fails unless what a guest asks is answered: names, the time, QUIC, ping, datagrams in fragments,
// traceroute, and files by FTP as far as FTP can.
func (s *site) expectOrdinary(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, ftp *ftpServer) {
	t.Helper()
	s.wire.Forget()
	for _, server := range []string{lan4 + "54", lan6 + "54"} {
		s.expectManyAddresses(t, vm, nic, netip.AddrPortFrom(netip.MustParseAddr(server), dnsPort))
	}
	for _, addr := range []string{internet4, internet6} {
		p := peer{host: s.witness.host, addr: netip.MustParseAddr(addr)}
		for _, port := range []uint16{ntpPort, webPort, dnsPort} {
			p.port = port
			s.expectOut(t, vm, nic, p, "udp", true)
		}
		s.expectOut(t, vm, nic, p, "ping", true)
		text := token() + strings.Repeat(".", datagramSize)
		expectAnswer(t, vm, guestrpc.Probe{NIC: nic.Name, Kind: "udp", To: netip.AddrPortFrom(p.addr, ntpPort), Token: text, Wait: answerTime})
	}
	expectRoute(t, vm, "traceroute", lan4+"1", internet4)
	expectRoute(t, vm, "traceroute -I", lan4+"1", internet4)
	expectRoute(t, vm, "traceroute6", lan6+"1", internet6)
	expectFTP(t, vm, nic, ftp, false)
}

func expectAnswer(t *testing.T, vm *hypervisor.VM, p guestrpc.Probe) {
	t.Helper()
	var answer guestrpc.Answer
	if err := vm.Call(t.Context(), "Probe", p, &answer); err != nil || !answer.Answered {
		t.Errorf("%s to %s, %d bytes: %s %v", p.Kind, p.To, len(p.Token), answer.Reason, err)
	}
}

// expectManyAddresses has a guest ask for a name whose addresses no datagram holds: it is asked again by TCP (RFC 7766).
func (s *site) expectManyAddresses(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, server netip.AddrPort) {
	t.Helper()
	var got []netip.Addr
	question := guestrpc.Question{NIC: nic.Name, Server: server, Name: manyName, Wait: answerTime}
	if err := vm.Call(t.Context(), "Resolve", question, &got); err != nil || len(got) != manyAddresses {
		t.Errorf("%s gives %d addresses of %s, want %d: %v", server, len(got), manyName, manyAddresses, err)
	}
	for _, proto := range []byte{17, 6} {
		if s.wire.Count(func(f frames.Frame) bool {
			src, _, ok := f.Addrs()
			return ok && f.Sent && src == server.Addr() && protocol(f) == proto
		}) == 0 {
			t.Errorf("no answer of %s by protocol %d", server, proto)
		}
	}
}

// protocol is the one that a frame's IP header names.
func protocol(f frames.Frame) byte {
	if src, _, _ := f.Addrs(); src.Is4() {
		return f.Data[14+9]
	}
	return f.Data[14+6]
}

// expectRoute fails unless a guest's program finds the way to an address: the router, and then itself.
func expectRoute(t *testing.T, vm *hypervisor.VM, program, router, to string) {
	t.Helper()
	said := shell(t, vm, program+" -n -w 10 -m 4 "+to)
	for hop, addr := range []string{router, to} {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^ *%d .*%s `, hop+1, regexp.QuoteMeta(addr))).MatchString(said) {
			t.Errorf("%s does not say that hop %d is %s:\n%s", program, hop+1, addr, said)
		}
	}
}

// narrow has the gateway pass on no more than 1300 bytes to the internet, as many tunnels do: senders are told by ICMP
// (RFC 1191, RFC 8201).
func (s *site) narrow(t *testing.T) {
	t.Helper()
	// Of IPv6 a lower metric goes before the route that stands; of IPv4 none is lower.
	for _, to := range [][]string{{internet4 + "/32"}, {internet6 + "/128", "metric", "1"}} {
		cmd := exec.Command("ip", append(append([]string{"route", "replace"}, to...), "dev", "internet", "mtu", "lock", "1300")...)
		if err := s.peers[0].host.Run(cmd); err != nil {
			t.Fatal(err)
		}
	}
}

// expectTooBig fails unless the guest was told that its packets are too big for a peer.
func (s *site) expectTooBig(t *testing.T, p peer) {
	t.Helper()
	proto, kind := byte(1), []byte{3, 4}
	if p.addr.Is6() {
		proto, kind = 58, []byte{2, 0}
	}
	if !s.wire.Await(answerTime, func(f frames.Frame) bool {
		_, dst, ok := f.Addrs()
		return ok && f.Sent && dst.IsGlobalUnicast() && protocol(f) == proto && strings.HasPrefix(string(transport(f)), string(kind))
	}) {
		t.Errorf("%s: nothing was too big: this shows nothing", p)
	}
}
