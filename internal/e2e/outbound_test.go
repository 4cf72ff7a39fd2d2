//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/lab"
)

// What the VMs of TestOutbound may do in a second.
const (
	maxFlows      = 50
	maxBroadcasts = 20
)

// A VM that somebody broke into, with outbound and limits: it sends no mail, scans nobody and floods nobody; it fetches
// the web and resolves names. A flood of connections from outside leaves its own connections and another VM's alone.
func TestOutbound(t *testing.T) {
	s := shieldedSite(t, "")
	s.addInternet(t)
	internet := s.witness.host
	if err := internet.EchoTCP(25); err != nil {
		t.Fatal(err)
	}
	if err := internet.EchoTCP(webPort); err != nil {
		t.Fatal(err)
	}
	s.writeConfig(t, s.readConfig(t)+fmt.Sprintf(`
[[vm]]
name = "fallen-*"
policy = "fallen"

[policy.fallen]
allow = ["router", "dns udp/53 tcp/53", "broadcast"]
inbound = ["tcp/443"]
outbound = ["dns udp/53 tcp/53", "tcp/80", "tcp/443", "udp/123"]
max_new_flows = %d
max_broadcasts = %d
`, maxFlows, maxBroadcasts))
	vm := s.start(t, "fallen-1", s.nics(1)...)
	other := s.start(t, "fallen-2", s.nics(1)...)
	nic := vm.NICs[0]

	s.expectMayNot(t, vm, nic)
	s.expectMay(t, vm, nic)
	s.expectNoAckScan(t, vm, nic)
	s.expectFewBroadcasts(t, vm, nic)
	s.expectFewFlows(t, vm, nic)
	s.expectFloodBounded(t, vm, other)
}

// expectMayNot fails unless mail, scans, foreign name servers and pings of a guest stay where they are.
func (s *site) expectMayNot(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	s.wire.Forget()
	var all sync.WaitGroup
	for _, addr := range []string{internet4, internet6} {
		for _, port := range []uint16{22, 25, 445, 3389} {
			p := peer{host: s.witness.host, addr: netip.MustParseAddr(addr), port: port}
			all.Go(func() { s.expectOut(t, vm, nic, p, "tcp", false) })
		}
		for _, port := range []uint16{dnsPort, webPort} {
			p := peer{host: s.witness.host, addr: netip.MustParseAddr(addr), port: port}
			all.Go(func() { s.expectOut(t, vm, nic, p, "udp", false) })
		}
		all.Go(func() {
			s.expectOut(t, vm, nic, peer{host: s.witness.host, addr: netip.MustParseAddr(addr)}, "ping", false)
		})
	}
	all.Wait()
}

// expectMay fails unless a guest resolves names, and fetches what a web server has.
func (s *site) expectMay(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	s.expectNames(t, vm, nic)
	for _, addr := range []string{internet4, internet6} {
		to := netip.AddrPortFrom(netip.MustParseAddr(addr), 80)
		listener, err := s.witness.host.Listen(to)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the page") }))
		}()
		if said := shell(t, vm, "wget -q -O - http://"+to.String()+"/"); said != "the page" {
			t.Errorf("wget from %s: %s", to, said)
		}
		p := peer{host: s.witness.host, addr: to.Addr(), port: ntpPort}
		s.expectOut(t, vm, nic, p, "udp", true)
	}
}

// segment is a TCP segment without data, of IPv4 or IPv6.
func segment(from, to net.HardwareAddr, source, destination netip.AddrPort, flags layers.TCP) ([]byte, error) {
	ethernet := &layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: layers.EthernetTypeIPv4}
	tcp := flags
	tcp.SrcPort, tcp.DstPort, tcp.Window = layers.TCPPort(source.Port()), layers.TCPPort(destination.Port()), 64240
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	} = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: source.Addr().AsSlice(), DstIP: destination.Addr().AsSlice()}
	if source.Addr().Is6() {
		ethernet.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: source.Addr().AsSlice(), DstIP: destination.Addr().AsSlice()}
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ethernet, ip, &tcp); err != nil {
		return nil, err
	}
	if source.Addr().Is4() { // without padding, which bridges may take off
		return buffer.Bytes()[:14+20+20], nil
	}
	return buffer.Bytes(), nil
}

// expectNoAckScan fails unless a guest is spared segments of no connection, by which scanners look for ports.
func (s *site) expectNoAckScan(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	var scan [][]byte
	for _, ends := range [][2]string{{internet4, nic.Addr4.Addr().String()}, {internet6, nic.Addr6.Addr().String()}} {
		for i, flags := range []layers.TCP{{SYN: true}, {ACK: true}, {SYN: true, ACK: true}, {RST: true}, {FIN: true}, {}, {FIN: true, PSH: true, URG: true}} {
			source := netip.AddrPortFrom(netip.MustParseAddr(ends[0]), uint16(40000+i))
			frame, err := segment(mac(t, gatewayMAC), nic.MAC, source, netip.AddrPortFrom(netip.MustParseAddr(ends[1]), guestrpc.EchoPort), flags)
			if err != nil {
				t.Fatal(err)
			}
			scan = append(scan, frame)
		}
	}
	sender := s.openAt(t, s.peers[0].host)
	for _, frame := range scan {
		if err := sender.Send(frame); err != nil {
			t.Fatal(err)
		}
	}
	var heard []bool
	if err := vm.Call(t.Context(), "Heard", guestrpc.Heard{NIC: nic.Name, Frames: scan, Until: []string{s.fence(t, vm, nic)}}, &heard); err != nil {
		t.Fatal(err)
	}
	for i, came := range heard {
		if came {
			t.Errorf("segment %d of the scan came to the guest", i)
		}
	}
	for i, left := range s.wire.Carried(scan, true) {
		if !left {
			t.Errorf("segment %d of the scan has not left for the guest: this shows nothing", i)
		}
	}
}

// openAt has frames sent from a host's NIC, until the test ends.
func (s *site) openAt(t *testing.T, h *lab.Host) *frames.Sender {
	t.Helper()
	var sender *frames.Sender
	err := h.Do(func() (err error) {
		sender, err = frames.OpenSender("eth0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close() })
	return sender
}

// expectFew has a guest send frames at once, of which no more arrive than the seconds that it takes have room for, each
// second and one second's worth at once.
func (s *site) expectFew(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, all [][]byte, aSecond int, reason string) {
	t.Helper()
	s.wire.Forget()
	before, began := s.dropped(t, reason), time.Now()
	for rest := all; len(rest) > 0; {
		n := min(len(rest), 500)
		if err := vm.Call(t.Context(), "Send", guestrpc.Raw{NIC: nic.Name, Frames: rest[:n]}, &guestrpc.Nothing{}); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	s.fence(t, vm, nic)
	took := time.Since(began)
	arrived := 0
	for _, came := range s.wire.Carried(all, false) {
		if came {
			arrived++
		}
	}
	room := aSecond + int(float64(aSecond)*took.Seconds()) + 1
	dropped := s.dropped(t, reason) - before
	t.Logf("%s: of %d frames %d arrived in %s, %d are counted", reason, len(all), arrived, took.Round(time.Millisecond), dropped)
	if arrived == 0 || arrived > room {
		t.Errorf("%s: %d frames arrived in %s, want some, and no more than %d", reason, arrived, took, room)
	}
	if dropped < len(all)-arrived {
		t.Errorf("%s: %d frames are counted, want %d", reason, dropped, len(all)-arrived)
	}
}

// expectFewFlows has a guest open thousands of connections at once, to ports that it may.
func (s *site) expectFewFlows(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	var all [][]byte
	for i := range 3000 {
		source, destination := nic.Addr4.Addr(), sourceOf(i, false)
		if i%2 == 1 {
			source, destination = nic.Addr6.Addr(), sourceOf(i, true)
		}
		frame, err := segment(nic.MAC, mac(t, gatewayMAC), netip.AddrPortFrom(source, uint16(1024+i)), netip.AddrPortFrom(destination, webPort), layers.TCP{SYN: true})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, frame)
	}
	s.expectFew(t, vm, nic, all, maxFlows, "max-new-flows")
}

// expectFewBroadcasts has a guest ask for the gateway by ARP again and again, in frames that can be told apart by what
// follows the message.
func (s *site) expectFewBroadcasts(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC) {
	t.Helper()
	var all [][]byte
	for i := range 1000 {
		buffer := gopacket.NewSerializeBuffer()
		err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{},
			&layers.Ethernet{SrcMAC: nic.MAC, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP},
			&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
				SourceHwAddress: nic.MAC, SourceProtAddress: nic.Addr4.Addr().AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: netip.MustParseAddr(lan4 + "1").AsSlice()},
			gopacket.Payload(fmt.Sprintf("%018d", i)))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, buffer.Bytes())
	}
	s.expectFew(t, vm, nic, all, maxBroadcasts, "max-broadcasts")
}

// sourceOf is one of many addresses of the internet.
func sourceOf(i int, ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.AddrFrom16([16]byte{0x24, 0, 12: byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
	}
	return netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
}

// What a flood from outside must come to, and how many flows of one NIC's peers rules let stand at once, and more each
// second (RFC 4987 is about what a flood does to who listens).
const (
	floodSize = 1_000_000
	peersOnce = 4096
	peersMore = 100
)

// expectFloodBounded floods one guest with half-open connections, each of another source. Its connection that stands goes on
// meanwhile, and another guest opens new ones.
func (s *site) expectFloodBounded(t *testing.T, vm, other *hypervisor.VM) {
	t.Helper()
	nic := vm.NICs[0]
	shell(t, vm, "nc -ll -p 443 -e cat >/dev/null 2>&1 </dev/null & until netstat -ltn | grep -q :443; do usleep 10000; done")
	conn, err := s.witness.host.Dial("tcp", netip.AddrPortFrom(nic.Addr4.Addr(), webPort), answerTime)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s.wire.Forget()
	const counter = "to-vm-max-new-flows"
	before, stood, began := s.counted(t, counter), s.newConnections(t), time.Now()
	sent, stop := s.flood(t, nic)
	defer stop()
	rounds := 0
	for dropped := 0; dropped < floodSize; rounds++ {
		goOn(t, "in the flood", []net.Conn{conn})
		s.wire.Forget() // a million frames are much to remember
		p := guestrpc.Probe{NIC: other.NICs[0].Name, Kind: "tcp", To: netip.AddrPortFrom(netip.MustParseAddr(internet4), webPort), Token: token(), Wait: answerTime}
		expectAnswer(t, other, p)
		if dropped = s.counted(t, counter) - before; time.Since(began) > answerTime {
			t.Fatalf("only %d frames of the flood were dropped in %s", dropped, answerTime)
		}
	}
	stop()
	took := time.Since(began)
	more := s.newConnections(t) - stood
	room := peersOnce + maxFlows + int((peersMore+maxFlows)*took.Seconds()) + 1 // and the other guest's own
	t.Logf("of segments of %d sources %d were dropped in %s, %d flows more stand; %d times the connection that stood went on and another VM opened one",
		sent.Load(), s.counted(t, counter)-before, took.Round(time.Millisecond), more, rounds)
	if more > room {
		t.Errorf("%d flows more stand, want no more than %d", more, room)
	}
	goOn(t, "after the flood", []net.Conn{conn})
}

// newConnections is how many connections that are being opened rules know, of all NICs.
func (s *site) newConnections(t *testing.T) (n int) {
	t.Helper()
	for _, family := range []string{"ipv4", "ipv6"} {
		n += strings.Count(s.run(t, "nft", "list", "set", "netdev", "macvtap-filter", "nic-flows-tcp-new-"+family), " expires ")
	}
	return n
}

// flood sends segments that open connections until it is stopped, and counts them.
func (s *site) flood(t *testing.T, nic hypervisor.NIC) (sent *atomic.Int64, stop func()) {
	t.Helper()
	sender, gateway := s.openAt(t, s.peers[0].host), mac(t, gatewayMAC)
	sent = new(atomic.Int64)
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-ending:
				return
			default:
			}
			from, to := sourceOf(i, false), nic.Addr4.Addr()
			if i%2 == 1 {
				from, to = sourceOf(i, true), nic.Addr6.Addr()
			}
			frame, err := segment(gateway, nic.MAC, netip.AddrPortFrom(from, uint16(1024+i%60000)), netip.AddrPortFrom(to, webPort), layers.TCP{SYN: true, Seq: uint32(i)})
			if err != nil {
				t.Error(err)
				return
			}
			if sender.Send(frame) == nil { // its NIC's queue may be full
				sent.Add(1)
			}
		}
	}()
	return sent, sync.OnceFunc(func() {
		close(ending)
		<-ended
	})
}
