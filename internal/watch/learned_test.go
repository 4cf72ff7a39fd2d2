package watch_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/watch"
)

// vmAddress is a datagram's.
var vmAddress = netip.MustParseAddr("192.0.2.200")

const noGrace = "flush set netdev macvtap-filter nic-running"

// TestPutsBackWhatWasLearned has rules learn a VM's address from its lease, and flushes them:
// with the rules, the lease is back. Nothing tells watch when rules learn, so that one which
// is a moment old may be lost; then the VM is given it again.
func TestPutsBackWhatWasLearned(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, "parents = [\"enp88s0\"]\n[policy.default]\nlearn = \"dhcp\"\n", web)
	// A VM that runs already has some minutes to use what it has: here, none.
	w.until("protected", func() bool { return w.healed() })
	w.nft(noGrace)
	if passes(t, n, tap, "192.0.2.1") {
		t.Fatal("the VM has an address before its lease")
	}
	w.putsBack(tap)
	if passes(t, n, tap, "192.168.2.77") {
		t.Error("open to the LAN")
	}
}

// TestPutsBackWhatWasLearnedWithoutLibvirt has a VM's hook make its rules, and nobody tell of the
// VM.
func TestPutsBackWhatWasLearnedWithoutLibvirt(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	hook(t, n)
	w := begin(t, n, dmz, func(time.Duration) (watch.Libvirt, error) { return nil, libvirt.ErrSlow }, nil)
	w.until("ready", w.isReady)
	w.putsBack(tap)
	if passes(t, n, tap, "198.51.100.9") {
		t.Error("open to what the VM's policy denies")
	}
}

// putsBack has a VM lease an address and rules be flushed, until both are back.
func (w *running) putsBack(tap *lab.Tap) {
	w.t.Helper()
	for end := time.Now().Add(bound); ; {
		lease(w.t, w.n, tap, vmAddress)
		if !passes(w.t, w.n, tap, "192.0.2.1") {
			w.t.Fatal("the VM has no address after its lease")
		}
		time.Sleep(6 * time.Second)
		w.nft("flush ruleset")
		w.until("put back", func() bool { return w.healed() })
		w.nft(noGrace)
		if passes(w.t, w.n, tap, "192.0.2.1") {
			return
		}
		if time.Now().After(end) {
			w.t.Fatal("what was learned is never put back")
		}
	}
}

// lease sends the VM what the gateway's DHCP server does.
func lease(t *testing.T, n *lab.Network, tap *lab.Tap, address netip.Addr) {
	t.Helper()
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP("192.168.2.1"), DstIP: address.AsSlice()}
	udp := &layers.UDP{SrcPort: 67, DstPort: 68}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	message := &layers.DHCPv4{
		Operation: layers.DHCPOpReply, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, YourClientIP: address.AsSlice(), ClientHWAddr: tap.MAC,
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(layers.DHCPMsgTypeAck)}), layers.NewDHCPOption(layers.DHCPOptEnd, nil)},
	}
	buffer := gopacket.NewSerializeBuffer()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 2, 1}, DstMAC: tap.MAC, EthernetType: layers.EthernetTypeIPv4}
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, udp, message); err != nil {
		t.Fatal(err)
	}
	if _, err := n.ToVM(tap, buffer.Bytes()); err != nil {
		t.Fatal(err)
	}
}
