package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"macvtap-filter/internal/lab"
)

// The addresses of the scene. The LAN host is the one that must stay hidden.
var (
	hypervisor4 = netip.MustParsePrefix("192.168.2.10/24")
	hypervisor6 = netip.MustParsePrefix("2001:db8:2::10/64")
	gateway4    = netip.MustParseAddr("192.168.2.1")
	gateway6    = netip.MustParseAddr("fe80::1")
	dns4        = netip.MustParseAddr("192.168.2.53")
	dns6        = netip.MustParseAddr("2001:db8:2::53")
	neighbour4  = netip.MustParseAddr("192.168.2.77")
	neighbour6  = netip.MustParseAddr("2001:db8:2::77")
	neighbourLL = netip.MustParseAddr("fe80::77")
	internet4   = netip.MustParseAddr("192.0.2.1")
	internet6   = netip.MustParseAddr("2001:db8:ffff::1")
)

// Ports of the services that are asked for.
const (
	portDNS  = 53
	portHTTP = 80
	portTLS  = 443
	portNote = 9 // where the LAN host takes note of what it is sent
)

// A scene is the network of the demonstration, and its VMs.
type scene struct {
	network   *lab.Network
	gateway   *lab.Host
	neighbour *lab.Host
	vms       []*vm
	macs      map[netip.Addr]net.HardwareAddr // of everything on the LAN
	notes     *notebook
	ipv6      bool
}

// newScene builds the network, with both VMs running and no hook called yet.
func newScene(ipv6 bool) (*scene, error) {
	s := &scene{macs: make(map[netip.Addr]net.HardwareAddr), notes: new(notebook), ipv6: ipv6}
	if err := s.build(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *scene) build() error {
	options := lab.Options{
		Addresses: s.prefixes(hypervisor4, hypervisor6),
		Gateways:  s.addrs(gateway4, gateway6),
	}
	var err error
	if s.network, err = lab.New(options); err != nil {
		return err
	}
	if err := s.addHosts(); err != nil {
		return err
	}
	for i, name := range []string{"web", "mail"} {
		vm := newVM(name, i, s)
		s.vms = append(s.vms, vm)
		if err := s.introduce(vm); err != nil {
			return err
		}
		if err := s.plugIn(vm, func() error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) addHosts() error {
	var err error
	add := func(name string, last byte, addresses ...netip.Prefix) *lab.Host {
		if err != nil {
			return nil
		}
		mac := net.HardwareAddr{2, 0, 0, 0, 0, last}
		var host *lab.Host
		host, err = s.network.AddHost(name, mac, s.prefixes(addresses...)...)
		for _, address := range addresses {
			s.macs[address.Addr()] = mac
		}
		return host
	}
	s.gateway = add("gateway", 0x01, on24(gateway4), on64(gateway6), netip.MustParsePrefix("2001:db8:2::1/64"))
	dns := add("dns", 0x53, on24(dns4), on64(dns6))
	s.neighbour = add("neighbour", 0x77, on24(neighbour4), on64(neighbour6), on64(neighbourLL))
	if err != nil {
		return err
	}
	whole := s.prefixes(netip.PrefixFrom(internet4, 32), netip.PrefixFrom(internet6, 128))
	internet, err := s.network.AddBehind(s.gateway, "internet", net.HardwareAddr{2, 0, 0, 0, 0, 0xff}, whole...)
	if err != nil {
		return err
	}
	return errors.Join(
		dns.AnswerUDP(portDNS, answerDNS),
		s.neighbour.EchoTCP(portHTTP),
		s.neighbour.AnswerUDP(portNote, s.notes.write),
		internet.EchoTCP(portTLS),
	)
}

// introduce tells the LAN host where the VM is, so that what it sends needs no
// address resolution, which the rules may stop.
func (s *scene) introduce(vm *vm) error {
	var errs []error
	for _, address := range vm.addresses() {
		if address.Is4() || s.ipv6 {
			s.macs[address] = vm.mac
			errs = append(errs, s.neighbour.SetNeighbour(address, vm.mac))
		}
	}
	return errors.Join(errs...)
}

// plugIn makes the VM's device as libvirt does, down, calls hook, and runs the VM.
func (s *scene) plugIn(vm *vm, hook func() error) error {
	tap, err := s.network.AddMacvtap(vm.device, vm.mac)
	if err != nil {
		return err
	}
	vm.tap = tap
	if err := tap.Open(); err != nil {
		return err
	}
	if err := hook(); err != nil {
		return err
	}
	if err := tap.Up(); err != nil {
		return err
	}
	vm.run()
	return nil
}

// restart stops the VM, removes its device, and starts it anew.
func (s *scene) restart(ctx context.Context, vm *vm, hook func() error) error {
	vm.stop()
	if err := vm.tap.Delete(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.plugIn(vm, hook)
}

func (s *scene) close() error {
	for _, vm := range s.vms {
		vm.stop()
	}
	if s.network == nil {
		return nil
	}
	return s.network.Close()
}

// picture draws the network.
func (s *scene) picture() string {
	web, mail := s.vms[0], s.vms[1]
	return fmt.Sprintf(`
  VM %-5s %-14s %s ─┐             ┌─ gateway     %s ─── internet host %s
                                    ├─ %s ═══┼─ DNS server  %s
  VM %-5s %-14s %s ─┘             └─ LAN host    %s, to stay hidden`,
		web.name, web.addr4, web.device, gateway4, internet4,
		s.network.Parent, dns4,
		mail.name, mail.addr4, mail.device, neighbour4)
}

// prefixes leaves out what the kernel cannot speak.
func (s *scene) prefixes(all ...netip.Prefix) []netip.Prefix {
	var some []netip.Prefix
	for _, prefix := range all {
		if prefix.Addr().Is4() || s.ipv6 {
			some = append(some, prefix)
		}
	}
	return some
}

// addrs leaves out what the kernel cannot speak.
func (s *scene) addrs(all ...netip.Addr) []netip.Addr {
	var some []netip.Addr
	for _, addr := range all {
		if addr.Is4() || s.ipv6 {
			some = append(some, addr)
		}
	}
	return some
}

func on24(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, 24) }
func on64(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, 64) }

// A notebook is what the LAN host's own socket received.
type notebook struct {
	mu   sync.Mutex
	seen map[string]bool
}

// write notes a datagram, and answers nothing.
func (n *notebook) write(datagram []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil {
		n.seen = make(map[string]bool)
	}
	n.seen[string(datagram)] = true
	return nil
}

// has reports whether a datagram was received.
func (n *notebook) has(datagram []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seen[string(datagram)]
}
