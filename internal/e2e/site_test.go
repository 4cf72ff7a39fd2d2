//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/lab"
)

// A site is a hypervisor on a LAN with a gateway to the internet.
type site struct {
	network *lab.Network
	hv      *hypervisor.Hypervisor
	// wire sees every frame on the hypervisor's cable.
	wire  *frames.Capture
	peers []peer
	vms   int // guests made so far, which numbers their addresses
}

// A peer is an address that a guest may want to reach.
type peer struct {
	host *lab.Host
	addr netip.Addr
	port uint16
	// hidden says that the default policy closes it.
	hidden bool
}

// Prefixes of the LAN, and the DNS server that the hypervisor's /etc/resolv.conf names.
const (
	lan4 = "192.168.2."
	lan6 = "2001:db8:2::"

	resolvConf = "nameserver 192.168.2.53\nnameserver 2001:db8:2::53\n"
)

// newSite makes a site, with libvirt running and no hook. It ends with the test.
func newSite(t *testing.T) *site {
	t.Helper()
	s := new(site)
	var err error
	s.network, err = lab.New(lab.Options{
		Addresses: prefixes(lan4+"10/24", lan6+"10/64"),
		Gateways:  []netip.Addr{netip.MustParseAddr(lan4 + "1"), netip.MustParseAddr("fe80::1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.network.Close(); err != nil {
			t.Error(err)
		}
	})
	s.populate(t)
	if s.hv, err = hypervisor.New(s.network.Hypervisor); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close(t) })
	// A link in place of the file would lead out of the hypervisor's /etc.
	path := s.hv.Path("/etc/resolv.conf")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(resolvConf), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.hv.StartLibvirt(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// close takes the hypervisor down, and shows what it last said if the test failed.
func (s *site) close(t *testing.T) {
	if t.Failed() {
		t.Log("libvirtd said:\n", s.hv.LibvirtLog())
	}
	if err := s.hv.Close(); err != nil {
		t.Error(err)
	}
}

// populate puts the hosts on the network and has each answer.
func (s *site) populate(t *testing.T) {
	t.Helper()
	gateway := s.addHost(t, "gateway", "52:54:00:00:00:01", lan4+"1/24", lan6+"1/64")
	dns := s.addHost(t, "dns", "52:54:00:00:00:53", lan4+"53/24", lan6+"53/64")
	hidden := s.addHost(t, "hidden", "52:54:00:00:00:77", lan4+"77/24", lan6+"77/64")
	internet, err := s.network.AddBehind(gateway, "internet", mac(t, "52:54:00:00:00:99"),
		prefixes("192.0.2.1/32", "198.51.100.7/32", "2001:db8:ffff::1/128")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*lab.Host{dns, hidden} {
		for _, router := range []string{lan4 + "1", "fe80::1"} {
			if err := h.SetGateway(netip.MustParseAddr(router)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.addPeer(t, gateway, 7, false, lan4+"1", "fe80::1")
	s.addPeer(t, dns, 53, false, lan4+"53", lan6+"53")
	s.addPeer(t, internet, 7, false, "192.0.2.1", "198.51.100.7", "2001:db8:ffff::1")
	s.addPeer(t, hidden, 7, true, lan4+"77", lan6+"77", "fe80::77")

	err = s.network.LAN.Do(func() (err error) {
		s.wire, err = frames.Listen("uplink")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// addHost puts a host on the LAN. Its IPv6 addresses include a link-local one that ends as its first does.
func (s *site) addHost(t *testing.T, name, hardware string, addrs ...string) *lab.Host {
	t.Helper()
	h, err := s.network.AddHost(name, mac(t, hardware), prefixes(addrs...)...)
	if err != nil {
		t.Fatal(err)
	}
	nic, err := h.Links().LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	local := net.IPNet{IP: net.ParseIP("fe80::" + hardware[len(hardware)-2:]), Mask: net.CIDRMask(64, 128)}
	if err := h.Links().AddrAdd(nic, &netlink.Addr{IPNet: &local}); err != nil {
		t.Fatal(err)
	}
	return h
}

// addPeer has a host answer on addresses of its own, UDP and TCP.
func (s *site) addPeer(t *testing.T, h *lab.Host, port uint16, hidden bool, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		p := peer{host: h, addr: netip.MustParseAddr(a), port: port, hidden: hidden}
		if err := p.serve(); err != nil {
			t.Fatal(err)
		}
		s.peers = append(s.peers, p)
	}
}

func (p peer) String() string { return fmt.Sprintf("%s %s", p.host.Name, p.addr) }

// serve echoes datagrams and greets connections.
func (p peer) serve() error {
	where := netip.AddrPortFrom(onLink(p.addr), p.port)
	packets, err := p.host.ListenPacket(where)
	if err != nil {
		return err
	}
	connections, err := p.host.Listen(where)
	if err != nil {
		return err
	}
	go echo(packets)
	go greet(connections)
	return nil
}

func echo(conn net.PacketConn) {
	data := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(data)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(data[:n], from) // whether it arrives is the asker's to say
	}
}

func greet(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte("hello\n"))
		_ = conn.Close()
	}
}

// onLink adds a host's NIC to a link-local address.
func onLink(addr netip.Addr) netip.Addr {
	if addr.Is6() && addr.IsLinkLocalUnicast() {
		return addr.WithZone("eth0")
	}
	return addr
}

// nics returns as many direct interfaces on the parent as asked for, for one new VM.
func (s *site) nics(count int) []hypervisor.NIC {
	s.vms++
	var nics []hypervisor.NIC
	for i := range count {
		host := 100 + 10*s.vms + i
		nics = append(nics, hypervisor.NIC{
			Name: fmt.Sprintf("eth%d", i), Type: "direct", Source: s.network.Parent,
			MAC:      net.HardwareAddr{0x52, 0x54, 0, 0xe2, byte(s.vms), byte(i)},
			Addr4:    netip.MustParsePrefix(fmt.Sprintf("%s%d/24", lan4, host)),
			Addr6:    netip.MustParsePrefix(fmt.Sprintf("%s%d/64", lan6, host)),
			Gateway4: netip.MustParseAddr(lan4 + "1"),
			Gateway6: netip.MustParseAddr("fe80::1"),
		})
	}
	return nics
}

// define tells libvirt of a VM, and the hidden host of its NICs: that host sends to them even when address resolution
// is filtered.
func (s *site) define(t *testing.T, name string, nics ...hypervisor.NIC) *hypervisor.VM {
	t.Helper()
	vm, err := s.hv.Define(t.Context(), name, nics...)
	if err != nil {
		t.Fatal(err)
	}
	for _, nic := range nics {
		for _, p := range s.peers {
			if p.hidden && nic.Addr4.IsValid() {
				introduce(t, p.host, nic)
			}
		}
	}
	return vm
}

// start defines and starts a VM.
func (s *site) start(t *testing.T, name string, nics ...hypervisor.NIC) *hypervisor.VM {
	t.Helper()
	vm := s.define(t, name, nics...)
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return vm
}

// introduce writes a guest's NIC into a host's neighbour table.
func introduce(t *testing.T, h *lab.Host, nic hypervisor.NIC) {
	t.Helper()
	link, err := h.Links().LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []netip.Addr{nic.Addr4.Addr(), nic.Addr6.Addr(), linkLocal(nic.MAC)} {
		err := h.Links().NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: nic.MAC,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// linkLocal is the address that a guest's kernel makes of a hardware address.
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
}

// guestAddr is the address of a guest's NIC that a peer would send to.
func guestAddr(nic hypervisor.NIC, p peer) netip.AddrPort {
	addr := nic.Addr4.Addr()
	switch {
	case p.addr.IsLinkLocalUnicast():
		addr = onLink(linkLocal(nic.MAC))
	case p.addr.Is6():
		addr = nic.Addr6.Addr()
	}
	return netip.AddrPortFrom(addr, guestrpc.EchoPort)
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func mac(t *testing.T, text string) net.HardwareAddr {
	t.Helper()
	hardware, err := net.ParseMAC(strings.ToLower(text))
	if err != nil {
		t.Fatal(err)
	}
	return hardware
}
