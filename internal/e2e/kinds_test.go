//go:build e2e

package e2e

import (
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/e2e/frames"
	"macvtap-filter/internal/e2e/guestrpc"
	"macvtap-filter/internal/e2e/hypervisor"
)

// A kind is a way to put a datagram into a frame.
type kind struct {
	name string
	// ether is the EtherType that stands after the addresses; between is what stands before the IP header.
	ether   layers.EthernetType
	between []gopacket.SerializableLayer
	ipv6    bool
}

// kinds are the ways in which a datagram for the hidden host could leave, or one of its could come in.
var kinds = []kind{
	{name: "IPv4", ether: layers.EthernetTypeIPv4},
	{name: "IPv6", ether: layers.EthernetTypeIPv6, ipv6: true},
	{name: "VLAN 0", ether: layers.EthernetTypeDot1Q, between: []gopacket.SerializableLayer{vlan(0, layers.EthernetTypeIPv4)}},
	{name: "VLAN 5", ether: layers.EthernetTypeDot1Q, between: []gopacket.SerializableLayer{vlan(5, layers.EthernetTypeIPv4)}},
	{name: "VLAN 0, IPv6", ether: layers.EthernetTypeDot1Q, ipv6: true,
		between: []gopacket.SerializableLayer{vlan(0, layers.EthernetTypeIPv6)}},
	{name: "VLAN 0 in 802.1ad 0", ether: layers.EthernetTypeQinQ,
		between: []gopacket.SerializableLayer{vlan(0, layers.EthernetTypeDot1Q), vlan(0, layers.EthernetTypeIPv4)}},
	{name: "LLC and SNAP", ether: layers.EthernetTypeLLC, between: []gopacket.SerializableLayer{
		&layers.LLC{DSAP: 0xaa, SSAP: 0xaa, Control: 3}, &layers.SNAP{OrganizationalCode: []byte{0, 0, 0}, Type: layers.EthernetTypeIPv4}}},
}

func vlan(id uint16, inside layers.EthernetType) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: id, Type: inside}
}

// expectKinds has the guest send frames of each kind to the hidden host, and the hidden host to the guest, past their own
// kernels' routing and address resolution, and fails unless they arrive, or do not.
func (s *site) expectKinds(t *testing.T, vm *hypervisor.VM, arrive bool) {
	t.Helper()
	wire, err := s.network.Wire()
	if err != nil {
		t.Fatal(err)
	}
	for _, nic := range vm.NICs {
		out, in := map[string]string{}, map[string]string{}
		raw := guestrpc.Raw{NIC: nic.Name}
		for _, k := range kinds {
			out[k.name], in[k.name] = token(), token()
			raw.Frames = append(raw.Frames, k.frame(t, nic.MAC, s.hidden.MAC, s.ends(nic, k.ipv6), out[k.name]))
			back := s.ends(nic, k.ipv6)
			back[0], back[1] = back[1], back[0]
			if err := wire.Send(k.frame(t, s.hidden.MAC, nic.MAC, back, in[k.name])); err != nil {
				t.Fatal(err)
			}
		}
		if err := vm.Call(t.Context(), "Send", raw, &guestrpc.Nothing{}); err != nil {
			t.Fatal(err)
		}
		until := s.fence(t, vm, nic)
		for _, k := range kinds {
			left := s.wire.Count(func(f frames.Frame) bool { return !f.Sent && f.Contains(out[k.name]) })
			if (left > 0) != arrive {
				t.Errorf("%s %s: %d frames left as %s, want any: %t", vm.Name, nic.Name, left, k.name, arrive)
			}
			var came int
			sight := guestrpc.Sight{NIC: nic.Name, Token: in[k.name], Until: until}
			if err := vm.Call(t.Context(), "Seen", sight, &came); err != nil {
				t.Fatal(err)
			}
			if (came > 0) != arrive {
				t.Errorf("%s %s: %d frames came in as %s, want any: %t", vm.Name, nic.Name, came, k.name, arrive)
			}
		}
	}
}

// ends are a guest's address and the hidden host's.
func (s *site) ends(nic hypervisor.NIC, ipv6 bool) [2]net.IP {
	if ipv6 {
		return [2]net.IP{nic.Addr6.Addr().AsSlice(), net.ParseIP(lan6 + "77")}
	}
	return [2]net.IP{nic.Addr4.Addr().AsSlice(), net.ParseIP(lan4 + "77").To4()}
}

// frame is a UDP datagram from the first end to the second.
func (k kind) frame(t *testing.T, from, to net.HardwareAddr, ends [2]net.IP, text string) []byte {
	t.Helper()
	ethernet := &layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: k.ether}
	datagram := &layers.UDP{SrcPort: 4000, DstPort: 4000}
	var ip gopacket.SerializableLayer
	var err error
	if k.ipv6 {
		packet := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: ends[0], DstIP: ends[1]}
		ip, err = packet, datagram.SetNetworkLayerForChecksum(packet)
	} else {
		packet := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ends[0], DstIP: ends[1]}
		ip, err = packet, datagram.SetNetworkLayerForChecksum(packet)
	}
	if err != nil {
		t.Fatal(err)
	}
	all := append([]gopacket.SerializableLayer{ethernet}, k.between...)
	all = append(all, ip, datagram, gopacket.Payload(text))
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}
