package kernel_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"macvtap-filter/internal/attack"
)

// TestScansFromServedPorts sends segments from a port that the VM serves: denied hosts get
// what answers their connections, and nothing that asks for one, or that a closed port
// answers (RFC 9293, 3.10.7.1).
func TestScansFromServedPorts(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned+"serve = [\"tcp/443\", \"sctp/5000\"]"))
	const fin, syn, rst, psh, ack, urg, ece, cwr = 1, 2, 4, 8, 16, 32, 64, 128
	for flags := range 256 {
		if flags&(ack|rst) == 0 || flags&(syn|ack) == syn {
			c := attack.Case{Name: fmt.Sprintf("TCP, flags %08b", flags), Way: attack.FromVM, Reason: "denied-ipv4", Frames: [][]byte{answering(t, 443, byte(flags))}}
			dropped(t, n, tap, c)
		}
	}
	for _, flags := range []byte{syn | ack, syn | ack | ece, ack, ack | psh, ack | fin, ack | fin | psh, ack | urg, ack | ece, ack | cwr, rst, rst | ack} {
		crosses(t, n, tap, out, sample{fmt.Sprintf("TCP, flags %08b", flags), answering(t, 443, flags), true})
	}
	// The chunks of RFC 9260, 3.2: an association is opened by INIT, which a verification tag
	// of 0 goes with, and COOKIE ECHO.
	for kind, opens := range map[byte]bool{0: false, 1: true, 2: false, 3: false, 6: false, 7: false, 10: true, 11: false, 14: false} {
		frame := association(t, 5000, kind)
		name := fmt.Sprintf("SCTP, chunk %d", kind)
		if opens {
			dropped(t, n, tap, attack.Case{Name: name, Way: attack.FromVM, Reason: "denied-ipv4", Frames: [][]byte{frame}})
			continue
		}
		crosses(t, n, tap, out, sample{name, frame, true})
	}
}

// association is an SCTP packet from a port of the VM's to a denied host, with one chunk.
func association(t *testing.T, port uint16, kind byte) []byte {
	t.Helper()
	frame := out.udp(t, "192.168.2.77", 40000)[:34]
	frame[23] = 132
	frame = binary.BigEndian.AppendUint16(frame, port)
	frame = binary.BigEndian.AppendUint16(frame, 40000)
	frame = append(frame, 0, 0, 0, 1, 0, 0, 0, 0, kind, 0, 0, 20)
	frame = append(frame, make([]byte, 16)...)
	binary.BigEndian.PutUint16(frame[16:], uint16(len(frame)-14))
	return fragment(frame, 0, false) // with its header's checksum
}
