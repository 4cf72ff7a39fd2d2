// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/lab"
)

// What a guest asks its host to cut a frame into (VIRTIO_NET_HDR_GSO_…).
const (
	tcp4Segments = 1
	udpFragments = 3
	tcp6Segments = 4
	udpDatagrams = 5
)

// A cut is a frame to be cut up, and how many of its pieces have ports without the
// check, and with it.
type cut struct {
	name          string
	kind          byte
	size          int // of a piece
	frame         []byte
	without, with int
}

// body is the header of UDP between two ports, and what follows it, each eight bytes of
// which read like a header from port 67 to port 68.
func body(from, to uint16, size int) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = append(b, 0, 67, 0, 68)[:8]
	return append(b, bytes.Repeat([]byte{0, 67, 0, 68, 0, 8, 0, 0}, size/8)...)[:size]
}

// packet gives an IP header the length of what follows it, or as much of it as the
// field can say.
func packet(kind uint16, ip []byte, rest ...[]byte) []byte {
	frame := ether(kind, append([][]byte{ip}, rest...)...)
	if kind == 0x0800 {
		binary.BigEndian.PutUint16(frame[16:], uint16(min(len(frame)-14, 0xffff)))
	} else {
		binary.BigEndian.PutUint16(frame[18:], uint16(min(len(frame)-54, 0xffff)))
	}
	return frame
}

func cuts() []cut {
	datagram4 := func(size int) []byte { return packet(0x0800, ipv4(17, 0, 0), body(40000, 443, size)) }
	datagram6 := func(size int) []byte { return packet(0x86dd, ipv6(17), body(40000, 443, size)) }
	behind := func(length int) []byte {
		return packet(0x86dd, ipv6(60), extension(17, length), body(40000, 443, 3000))
	}
	segment := func(rest int) []byte {
		s := body(40000, 443, 20+rest)
		s[12] = 5 << 4 // TCP's header length
		return s
	}
	return []cut{
		{"fragments of 8 bytes, IPv4", udpFragments, 8, datagram4(200), 1, 1},
		{"fragments of 8 bytes, IPv6", udpFragments, 8, datagram6(200), 1, 1},
		{"fragments of 7 bytes, IPv4", udpFragments, 7, datagram4(200), 2, 0},
		{"fragments of 7 bytes, IPv6", udpFragments, 7, datagram6(200), 2, 0},
		{"fragments of 4 bytes, IPv4", udpFragments, 4, datagram4(8), 2, 0},
		{"fragments of 4 bytes, IPv6", udpFragments, 4, datagram6(8), 2, 0},
		{"fragments of 1 byte, IPv4", udpFragments, 1, datagram4(16), 8, 0},
		{"fragments of 1 byte, IPv6", udpFragments, 1, datagram6(16), 8, 0},
		{"a fragment behind the last offset, IPv4", udpFragments, 1024, datagram4(1<<16 + 512), 2, 0},
		{"a fragment behind the last offset, IPv6", udpFragments, 1024, datagram6(1<<16 + 512), 2, 0},
		{"the longest packet, IPv4", udpFragments, 1024, datagram4(longest - 20), 1, 1},
		{"the longest packet, IPv6", udpFragments, 1024, datagram6(longest - 40), 1, 1},
		{"fragments that each repeat options of 248 bytes", udpFragments, 8, behind(248), 2, 0},
		{"fragments behind IPv4 options", udpFragments, 800, packet(0x0800, ipv4(17, 0, 4), body(40000, 443, 3000)), 1, 0},
		{"DHCP, in fragments", udpFragments, 16, packet(0x0800, ipv4(17, 0, 0), body(68, 67, 300)), 1, 0},
		{"DHCP, in datagrams", udpDatagrams, 300, packet(0x0800, ipv4(17, 0, 0), body(68, 67, 608)), 2, 0},
		{"datagrams of 1252 bytes, IPv4", udpDatagrams, 1252, datagram4(3000), 3, 3},
		{"datagrams of 1252 bytes, IPv6", udpDatagrams, 1252, datagram6(3000), 3, 3},
		{"datagrams to port 67 over IPv6, where no rule looks inside", udpDatagrams, 300, packet(0x86dd, ipv6(17), body(68, 67, 608)), 2, 2},
		{"DHCPv6, in fragments", udpFragments, 16, packet(0x86dd, ipv6(17), body(546, 547, 304)), 1, 0},
		{"DHCPv6, in datagrams", udpDatagrams, 300, packet(0x86dd, ipv6(17), body(546, 547, 608)), 2, 0},
		{"segments of 100 bytes, IPv4", tcp4Segments, 100, packet(0x0800, ipv4(6, 0, 0), segment(250)), 3, 3},
		{"segments of 100 bytes, IPv6", tcp6Segments, 100, packet(0x86dd, ipv6(6), segment(250)), 3, 3},
		{"segments behind IPv4 options", tcp4Segments, 1000, packet(0x0800, ipv4(6, 0, 4), segment(3000)), 3, 3},
		{"segments behind IPv6 options", tcp6Segments, 1000, packet(0x86dd, ipv6(60), extension(6, 8), segment(3000)), 3, 3},
	}
}

// TestPieces has the host cut up frames. Of fragments none but the first has ports, or
// none comes out; of segments and datagrams each has.
func TestPieces(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			n, tap := network(t)
			for _, c := range cuts() {
				c.send(t, n, tap, c.without)
			}
			w.attach(t, n, tap)
			for _, c := range cuts() {
				c.send(t, n, tap, c.with)
			}
		})
	}
}

// send counts the pieces with ports that come out, and, where none should, all of them.
func (c cut) send(t *testing.T, n *lab.Network, tap *lab.Tap, want int) {
	t.Helper()
	var flags byte
	start, offset := 0, 0
	headers := 14 + 20 + 8
	if c.frame[12] == 0x86 {
		headers = 14 + 40 + 8
	}
	if c.kind == udpDatagrams { // newer kernels demand a sum
		flags, start, offset = 1, headers-8, 6
	}
	asked := header(flags, c.kind, c.size, start, offset)
	binary.NativeEndian.PutUint16(asked[2:], uint16(headers)) // as guests do: they stand in one piece
	seen, err := n.Watch(func() error { return tap.SendRaw(append(asked, c.frame...)) })
	if errors.Is(err, unix.EINVAL) && c.kind == udpDatagrams {
		t.Logf("%s: this kernel's taps do not take it (Linux 6.2)", c.name)
		return
	}
	if err != nil {
		t.Errorf("%s: %v", c.name, err)
		return
	}
	heads := 0
	for _, frame := range seen.Wire {
		if want == 0 || hasPorts(frame) {
			heads++
		}
	}
	if heads != want {
		t.Errorf("%s: %d of %d pieces have ports, want %d", c.name, heads, len(seen.Wire), want)
	}
}

// hasPorts reports whether a frame is one from whose transport header a host takes
// ports: no fragment, or a first one.
func hasPorts(frame []byte) bool {
	if frame[12] == 8 {
		return binary.BigEndian.Uint16(frame[20:])&0x1fff == 0
	}
	next, at := frame[20], 54
	for next == 60 || next == 0 || next == 43 {
		next, at = frame[at], at+8*(int(frame[at+1])+1)
	}
	return next != 44 || binary.BigEndian.Uint16(frame[at+2:])&0xfff8 == 0
}
