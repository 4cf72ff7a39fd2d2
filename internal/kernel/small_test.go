package kernel_test

import (
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// TestSmallDatagrams sends datagrams too short for the kernels that count the
// Ethernet header into the IP header's length when they look for the protocol.
func TestSmallDatagrams(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), services))
	for _, w := range []way{out, in} {
		for _, peer := range []string{"192.0.2.1", "192.168.2.1", "2001:db8:ffff::1", "fe80::1"} {
			for size := range 20 {
				eth, ip := w.ip(peer, layers.IPProtocolUDP)
				udp := &layers.UDP{SrcPort: 4500, DstPort: 4500}
				if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
					t.Fatal(err)
				}
				frame := serialize(t, eth, ip.(gopacket.SerializableLayer), udp, gopacket.Payload(make([]byte, size)))
				crosses(t, n, tap, w, sample{"UDP " + peer, frame, true})
			}
		}
	}
}
