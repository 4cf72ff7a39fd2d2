//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/lab"
)

// A site is a hypervisor on a LAN with a gateway to the internet.
type site struct {
	// The machine that tests mean if they name none.
	*machine
	network *lab.Network
	peers   []peer
	// hidden is the host that the default policy closes.
	hidden *lab.Host
	// witness answers every guest by UDP: the gateway, where a policy does not close it.
	witness peer
	vms     int // guests made so far, which numbers their addresses
}

// A peer is an address that a guest may want to reach.
type peer struct {
	host   *lab.Host
	addr   netip.Addr
	port   uint16
	hidden bool
}

// Prefixes of the LAN, and the DNS server that the hypervisor's /etc/resolv.conf names.
const (
	lan4 = "192.168.2."
	lan6 = "2001:db8:2::"
	// chosen is the hidden host's too, and opened by a VM's metadata in one test.
	chosen = lan4 + "78"

	resolvConf = "nameserver 192.168.2.53\nnameserver 2001:db8:2::53\n"
)

// Hardware addresses of those who are allowed.
const (
	gatewayMAC = "52:54:00:00:00:01"
	dnsMAC     = "52:54:00:00:00:53"
)

// newSite makes a site, with libvirt running and no hook. It ends with the test.
func newSite(t *testing.T) *site {
	t.Helper()
	s := new(site)
	var err error
	s.network, err = lab.New(lab.Options{
		Addresses: prefixes(lan4+"10/24", lan6+"10/64"),
		Gateways:  gateways(),
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
	s.knowsRouter(t, s.network.Hypervisor)
	s.machine = s.newMachine(t, "uplink", s.network.Hypervisor)
	return s
}

// knowsRouter has a hypervisor know its router's MAC address, as one does that has the
// internet.
func (s *site) knowsRouter(t *testing.T, ns *lab.Namespace) {
	t.Helper()
	for _, address := range gateways() {
		if err := ns.SetNeighbour(s.network.Parent, address, mac(t, gatewayMAC)); err != nil {
			t.Fatal(err)
		}
	}
}

// populate puts the hosts on the network and has each answer.
func (s *site) populate(t *testing.T) {
	t.Helper()
	gateway := s.addHost(t, "gateway", gatewayMAC, lan4+"1/24", lan6+"1/64", "fe80::1/64")
	dns := s.addHost(t, "dns", dnsMAC, lan4+"53/24", lan6+"53/64", "fe80::53/64")
	s.hidden = s.addHost(t, "hidden", "52:54:00:00:00:77", lan4+"77/24", lan6+"77/64", "fe80::77/64", chosen+"/24")
	internet, err := s.network.AddBehind(gateway, "internet", mac(t, "52:54:00:00:00:99"),
		prefixes("192.0.2.1/32", "198.51.100.7/32", "2001:db8:ffff::1/128")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*lab.Host{dns, s.hidden} {
		for _, router := range []string{lan4 + "1", "fe80::1"} {
			if err := h.SetGateway(netip.MustParseAddr(router)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.addPeers(t, gateway, 7, lan4+"1", "fe80::1")
	s.addPeers(t, dns, dnsPort, lan4+"53", lan6+"53")
	s.addPeers(t, internet, 7, "192.0.2.1", "198.51.100.7", "2001:db8:ffff::1")
	s.addPeers(t, s.hidden, 7, lan4+"77", lan6+"77", "fe80::77")
	s.witness = s.peers[0]
}

func (s *site) addHost(t *testing.T, name, hardware string, addrs ...string) *lab.Host {
	t.Helper()
	h, err := s.network.AddHost(name, mac(t, hardware), prefixes(addrs...)...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// addPeers has a host answer UDP and TCP on a port, with what was asked unless it is the name server's, and the tests ask it by these of its addresses.
func (s *site) addPeers(t *testing.T, h *lab.Host, port uint16, addrs ...string) {
	t.Helper()
	answer := func(query []byte) []byte { return query }
	if port == dnsPort {
		answer = answerDNS
	}
	if err := errors.Join(h.AnswerUDP(port, answer), h.EchoTCP(port)); err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		s.peers = append(s.peers, peer{host: h, addr: netip.MustParseAddr(a), port: port, hidden: h == s.hidden})
	}
}

func (p peer) String() string { return fmt.Sprintf("%s %s", p.host.Name, p.addr) }

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
	return s.defineSpec(t, hypervisor.Spec{Name: name, NICs: nics})
}

func (s *site) defineSpec(t *testing.T, spec hypervisor.Spec) *hypervisor.VM {
	t.Helper()
	vm, err := s.hv.Define(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	s.introduce(t, spec.NICs...)
	return vm
}

// introduce tells the hidden host of NICs.
func (s *site) introduce(t *testing.T, nics ...hypervisor.NIC) {
	t.Helper()
	for _, nic := range nics {
		if !nic.Addr4.IsValid() {
			continue
		}
		for _, addr := range []netip.Addr{nic.Addr4.Addr(), nic.Addr6.Addr(), linkLocal(nic.MAC)} {
			if err := s.hidden.SetNeighbour(addr, nic.MAC); err != nil {
				t.Fatal(err)
			}
		}
	}
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

// linkLocal is the address that a guest's kernel makes of a hardware address.
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
}

// slaac is the address that it makes of one and the LAN's prefix.
func slaac(mac net.HardwareAddr) netip.Addr {
	return attack.EUI64(netip.MustParseAddr(lan6), mac)
}

// guestAddr is the address of a guest's NIC that a peer would send to.
func guestAddr(nic hypervisor.NIC, p peer) netip.AddrPort {
	addr := nic.Addr4.Addr()
	switch {
	case p.addr.IsLinkLocalUnicast():
		addr = linkLocal(nic.MAC)
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
