package attack

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// client is a DHCP message by which the VM speaks for another (RFC 2131, 4.4): a server
// knows its clients by chaddr, and a relay by giaddr.
func (l *list) client() {
	const source = "RFC 2131, 4.4; RFC 7513"
	vm, victim, gateway := l.VM, l.Victim, l.Gateway
	send := func(m *layers.DHCPv4) []byte { return l.udp(vm.IPv4, gateway.IPv4, 68, 67, string(l.bytes(m))) }
	message := func(kind layers.DHCPMsgType, change func(*layers.DHCPv4)) *layers.DHCPv4 {
		m := &layers.DHCPv4{
			Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: 0x12345678, ClientHWAddr: vm.MAC,
			ClientIP: vm.IPv4.AsSlice(), YourClientIP: none4.AsSlice(), NextServerIP: none4.AsSlice(), RelayAgentIP: none4.AsSlice(),
			Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(kind)}), layers.NewDHCPOption(layers.DHCPOptEnd, nil)},
		}
		change(m)
		return m
	}
	another := func(m *layers.DHCPv4) { m.ClientHWAddr, m.ClientIP = victim.MAC, victim.IPv4.AsSlice() }
	for _, kind := range []struct {
		name string
		layers.DHCPMsgType
	}{{"discover", layers.DHCPMsgTypeDiscover}, {"request", layers.DHCPMsgTypeRequest}, {"decline", layers.DHCPMsgTypeDecline}, {"release", layers.DHCPMsgTypeRelease}, {"inform", layers.DHCPMsgTypeInform}} {
		m := message(kind.DHCPMsgType, another)
		l.fromVM("DHCP "+kind.name+" for another client", source, "dhcp-client", l.out(gateway.MAC, send(m)))
		l.fromVM("DHCP "+kind.name+" for another client, broadcast", source, "dhcp-client", l.out(allHosts, l.udp(none4, broadcast4, 68, 67, string(l.bytes(m)))),
			l.out(allHosts, l.udp(vm.IPv4, broadcast4, 68, 67, string(l.bytes(m)))))
	}
	release := send(message(layers.DHCPMsgTypeRelease, another))
	l.fromVM("DHCP release for another client, first fragments of every kind", "RFC 1858", "dhcp-client",
		l.out(gateway.MAC, fragment(changed(release[:20+8+16], 2, 0, 20+8+16), 0, true)), l.out(gateway.MAC, fragment(changed(release[:20+8+40], 2, 0, 20+8+40), 0, true)), l.out(gateway.MAC, fragment(release, 0, true)))
	l.fromVM("DHCP release for another client, from another port", source, "dhcp-client", l.out(gateway.MAC, l.udp(vm.IPv4, gateway.IPv4, 1068, 67, string(release[28:]))))
	l.fromVM("DHCP release for another client, to the name server", source, "dhcp-client", l.out(l.DNS.MAC, l.udp(vm.IPv4, l.DNS.IPv4, 68, 67, string(release[28:]))))
	l.fromVM("DHCP release too short to tell whose", source, "dhcp-client", l.out(gateway.MAC, l.udp(vm.IPv4, gateway.IPv4, 68, 67, string(release[28:28+30]))))
	for _, odd := range []struct {
		name   string
		change func(*layers.DHCPv4)
	}{
		{"by way of a relay, itself", func(m *layers.DHCPv4) { m.RelayAgentIP = vm.IPv4.AsSlice() }},
		{"by way of a relay, another", func(m *layers.DHCPv4) { m.RelayAgentIP = victim.IPv4.AsSlice() }},
		{"of another hardware type", func(m *layers.DHCPv4) { m.HardwareType = 6 }},
		{"of a server", func(m *layers.DHCPv4) { m.Operation = layers.DHCPOpReply }},
	} {
		l.fromVM("DHCP request "+odd.name, source, "dhcp-client", l.out(gateway.MAC, send(message(layers.DHCPMsgTypeRequest, odd.change))))
	}
	for _, length := range []byte{0, 5, 16} {
		own := send(message(layers.DHCPMsgTypeRequest, func(*layers.DHCPv4) {}))
		own[20+8+2] = length
		l.fromVM(fmt.Sprintf("DHCP request with a hardware address of %d bytes", length), source, "dhcp-client", l.out(gateway.MAC, own))
	}
}

// sources are frames from addresses that nobody has, or that the VM must not have.
func (l *list) sources() {
	const source4, source6 = "RFC 1122, 3.2.1.3", "RFC 4291, 2"
	type peer struct {
		name string
		mac  net.HardwareAddr
		ip   netip.Addr
	}
	for _, from := range []struct {
		name, address string
		known         bool // to the gateway and the name server: see spoofed
	}{
		{"loopback", "127.0.0.1", false}, {"a group", "224.0.0.1", false}, {"broadcast", "255.255.255.255", false}, {"class E", "240.0.0.1", false}, {"this network", "0.0.0.5", false},
		{"the subnet's broadcast address", last(l.LAN).String(), false}, {"the gateway", l.Gateway.IPv4.String(), true}, {"the name server", l.DNS.IPv4.String(), true},
	} {
		src := netip.MustParseAddr(from.address)
		for _, to := range []peer{{"the gateway", l.Gateway.MAC, l.Gateway.IPv4}, {"the name server", l.DNS.MAC, l.DNS.IPv4}, {"the internet", l.Web.MAC, l.Web.IPv4}} {
			if from.known && to.ip != l.Web.IPv4 {
				continue
			}
			l.fromVM("from "+from.name+" to "+to.name, source4, "spoofed-ip", l.out(to.mac, l.udp(src, to.ip, 40000, 53, from.name)),
				l.out(to.mac, l.tcp(src, to.ip, 40000, 53, false)), l.out(to.mac, l.icmp(src, to.ip, 8, make([]byte, 8))))
		}
	}
	for _, from := range []struct{ name, address string }{
		{"loopback", "::1"}, {"a group", "ff02::1"}, {"an IPv4-mapped address", "::ffff:192.168.2.77"}, {"no address", "::"}, {"the gateway", l.Gateway.Link.String()},
	} {
		src := netip.MustParseAddr(from.address)
		for _, to := range []peer{{"the gateway", l.Gateway.MAC, l.Gateway.Link}, {"the internet", l.Web.MAC, l.Web.IPv6}} {
			if src == to.ip {
				continue
			}
			l.fromVM("from "+from.name+" to "+to.name+", IPv6", source6, "spoofed-ip", l.out(to.mac, l.udp(src, to.ip, 40000, 53, from.name)),
				l.out(to.mac, l.tcp(src, to.ip, 40000, 53, false)), l.out(to.mac, l.icmp(src, to.ip, 128, make([]byte, 8))))
		}
	}
}

// probes are ARP probes by which the VM disputes another's address, and announcements in
// reverse ARP that are not QEMU's of the VM itself (see announcements).
func (l *list) probes() {
	vm := l.VM
	for _, taken := range []struct {
		name string
		Host
	}{{"the gateway", l.Gateway}, {"the name server", l.DNS}} {
		l.fromVM("ARP probe for "+taken.name+"'s address", "RFC 5227, 2.1", "arp-claim", l.out(allHosts, l.request(vm, none4, taken.IPv4)), l.out(taken.MAC, l.request(vm, none4, taken.IPv4)),
			l.out(allHosts, l.arpPacket(2, vm.MAC, none4, taken.MAC, taken.IPv4)))
	}
	for _, r := range []struct {
		name           string
		to             net.HardwareAddr
		op             uint16
		sender, target net.HardwareAddr
		from, of       netip.Addr
	}{
		{"an answer", allHosts, 4, vm.MAC, vm.MAC, none4, none4},
		{"a request of ARP's", allHosts, 1, vm.MAC, vm.MAC, none4, none4},
		{"for another", allHosts, 3, vm.MAC, l.Victim.MAC, none4, none4},
		{"of another", allHosts, 3, l.Victim.MAC, vm.MAC, none4, none4},
		{"with the gateway's address", allHosts, 3, vm.MAC, vm.MAC, l.Gateway.IPv4, none4},
		{"for the gateway's address", allHosts, 3, vm.MAC, vm.MAC, none4, l.Gateway.IPv4},
		{"to a denied host", l.Victim.MAC, 3, vm.MAC, vm.MAC, none4, none4},
		{"to a group", groupMAC(allNodes), 3, vm.MAC, vm.MAC, none4, none4},
	} {
		l.fromVM("reverse ARP, "+r.name, "RFC 903", "ethertype", ether(r.to, vm.MAC, typeRARP, l.arpPacket(r.op, r.sender, r.from, r.target, r.of)))
	}
}

// The chunks that open an association of SCTP's (RFC 9260, 3.3.2).
const sctpInit = 1

// chunk is an SCTP packet with one chunk of no content, without its checksum.
func (l *list) chunk(from, to uint16, kind byte) []byte {
	p := []byte{byte(from >> 8), byte(from), byte(to >> 8), byte(to), 0, 0, 0, 0, 0, 0, 0, 0}
	return append(p, kind, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}
