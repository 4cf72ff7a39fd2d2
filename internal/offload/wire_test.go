// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/lab"
)

var (
	vmMAC  = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	lanMAC = net.HardwareAddr{2, 0, 0, 0, 2, 0x4d}
)

// network makes a test network with one VM's tap on it, whose parent computes sums
// and cuts frames up as a NIC does.
func network(t *testing.T) (*lab.Network, *lab.Tap) {
	t.Helper()
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := n.SetOffload(false); err != nil {
		t.Fatal(err)
	}
	return n, addTap(t, n, "macvtap0", vmMAC)
}

func addTap(t *testing.T, n *lab.Network, name string, mac net.HardwareAddr) *lab.Tap {
	t.Helper()
	tap, err := n.AddMacvtap(name, mac)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tap.OpenVirtio(), tap.Up()); err != nil {
		t.Fatal(err)
	}
	return tap
}

// in does something in the hypervisor's namespace.
func in(t *testing.T, n *lab.Network, do func() error) {
	t.Helper()
	if err := n.Hypervisor.Do(do); err != nil {
		t.Fatal(err)
	}
}

// A way is how the check comes on a device: the usual one, that of a device that has
// another qdisc in its place, and what watch makes of the usual one.
type way struct {
	name   string
	attach func(t *testing.T, n *lab.Network, tap *lab.Tap)
}

var ways = []way{
	{"clsact", attach},
	{"beside the qdisc ingress", func(t *testing.T, n *lab.Network, tap *lab.Tap) {
		t.Helper()
		addIngress(t, n, tap)
		if hasTCX(t, n, tap) {
			attach(t, n, tap)
			return
		}
		t.Log("this kernel has no such way (Linux 6.6): the qdisc is removed again")
		if err := n.Hypervisor.Links().QdiscDel(ingress(tap)); err != nil {
			t.Fatal(err)
		}
		attach(t, n, tap)
	}},
	{"moved to tcx", func(t *testing.T, n *lab.Network, tap *lab.Tap) {
		t.Helper()
		attach(t, n, tap)
		if moved := moveToTCX(t, n, tap); moved != hasTCX(t, n, tap) {
			t.Errorf("moved: %v", moved)
		}
	}},
}

func attach(t *testing.T, n *lab.Network, tap *lab.Tap) {
	t.Helper()
	in(t, n, func() error { return Attach(tap.Index) })
}

func moveToTCX(t *testing.T, n *lab.Network, tap *lab.Tap) (moved bool) {
	t.Helper()
	in(t, n, func() (err error) {
		moved, err = MoveToTCX(tap.Index)
		return err
	})
	return moved
}

// ingress is the qdisc that libvirt makes for <bandwidth>.
func ingress(tap *lab.Tap) *netlink.Ingress {
	return &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: tap.Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
}

func addIngress(t *testing.T, n *lab.Network, tap *lab.Tap) {
	t.Helper()
	if err := n.Hypervisor.Links().QdiscAdd(ingress(tap)); err != nil {
		t.Fatal(err)
	}
}

func hasTCX(t *testing.T, n *lab.Network, tap *lab.Tap) (has bool) {
	t.Helper()
	in(t, n, func() error {
		s, err := findTCX(tap.Index)
		has = s.tcx
		return err
	})
	return has
}

// never is the first place in a frame where a sum may be stored, where there is
// none.
const never = 1 << 16

// A shape is a kind of frame, with the first place where a sum may be stored in it.
type shape struct {
	name  string
	first int
	frame []byte
	only  bool // no other place
}

func (s shape) takes(place int) bool {
	return place == s.first || place > s.first && !s.only
}

func ether(kind uint16, parts ...[]byte) []byte {
	frame := append(append([]byte(nil), lanMAC...), vmMAC...)
	frame = binary.BigEndian.AppendUint16(frame, kind)
	for _, p := range parts {
		frame = append(frame, p...)
	}
	return frame
}

// ipv4 is a header, with so many bytes of options, to 192.0.2.1.
func ipv4(proto byte, fragment uint16, options int) []byte {
	h := make([]byte, 20+options)
	h[0] = 0x40 | byte(len(h)/4)
	h[6], h[7] = byte(fragment>>8), byte(fragment)
	h[8], h[9] = 64, proto
	copy(h[12:], []byte{203, 0, 113, 7, 192, 0, 2, 1})
	return h
}

// ipv6 is a header to 3fff::1.
func ipv6(next byte) []byte {
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, next, 64
	h[8], h[9], h[23] = 0x20, 0x01, 7
	h[24], h[25], h[39] = 0x3f, 0xff, 1
	return h
}

// extension is a header of so many bytes behind IPv6's.
func extension(next byte, size int) []byte {
	h := make([]byte, size)
	h[0], h[1] = next, byte(size/8-1)
	return h
}

// shapes are the kinds of frames that the program tells apart, each followed by more
// than any header.
func shapes() []shape {
	rest := make([]byte, 40)
	short := ipv4(6, 0, 0)
	short[0] = 0x44
	return []shape{
		{"IPv4, TCP", 14 + 20 + 16, ether(0x0800, ipv4(6, 0, 0), rest), false},
		{"IPv4, UDP", 14 + 20 + 6, ether(0x0800, ipv4(17, 0, 0), rest), false},
		{"IPv4, not to be cut, UDP", 14 + 20 + 6, ether(0x0800, ipv4(17, 0x4000, 0), rest), false},
		{"IPv4 with an option, TCP", 14 + 24 + 16, ether(0x0800, ipv4(6, 0, 4), rest), false},
		{"IPv4 with all options, UDP", 14 + 60 + 6, ether(0x0800, ipv4(17, 0, 40), rest), false},
		{"IPv4, a header too short", never, ether(0x0800, short, rest), false},
		{"IPv4, DHCP to a server", 14 + 20 + 6, ether(0x0800, ipv4(17, 0, 0), body(68, 67, 300)), true},
		{"IPv4 with an option, DHCP to a server", 14 + 24 + 6, ether(0x0800, ipv4(17, 0, 4), body(68, 67, 300)), true},
		{"IPv4, DHCP to a server, cut short", never, ether(0x0800, ipv4(17, 0, 0), body(68, 67, 8)[:3]), false},
		{"IPv4, first fragment", never, ether(0x0800, ipv4(17, 0x2000, 0), rest), false},
		{"IPv4, later fragment", never, ether(0x0800, ipv4(17, 1, 0), rest), false},
		{"IPv4, last offset", never, ether(0x0800, ipv4(17, 0x1fff, 0), rest), false},
		{"IPv4, ICMP", never, ether(0x0800, ipv4(1, 0, 0), rest), false},
		{"IPv4, IPv4 in IP", 14 + 20 + 4, ether(0x0800, ipv4(4, 0, 0), ipv4(6, 0, 0), rest), false},
		{"IPv4, GRE", 14 + 20 + 4, ether(0x0800, ipv4(47, 0, 0), rest), false},
		{"IPv4, IGMP", never, ether(0x0800, ipv4(2, 0, 0), rest), false},
		{"IPv4, SCTP", never, ether(0x0800, ipv4(132, 0, 0), rest), false},
		{"IPv4, cut short", never, ether(0x0800, ipv4(17, 0, 0)[:16]), false},
		{"IPv4, nothing behind", never, ether(0x0800, ipv4(17, 0, 0)), false},

		{"IPv6, TCP", 14 + 40 + 16, ether(0x86dd, ipv6(6), rest), false},
		{"IPv6, UDP", 14 + 40 + 6, ether(0x86dd, ipv6(17), rest), false},
		{"IPv6, UDP behind options", 14 + 48 + 6, ether(0x86dd, ipv6(60), extension(17, 8), rest), false},
		{"IPv6, DHCP to a server", 14 + 40 + 6, ether(0x86dd, ipv6(17), body(546, 547, 300)), true},
		{"IPv6, DHCP to a server, cut short", never, ether(0x86dd, ipv6(17), body(546, 547, 8)[:3]), false},
		{"IPv6, TCP behind long options", 14 + 64 + 16, ether(0x86dd, ipv6(60), extension(6, 24), rest), false},
		{"IPv6, UDP behind hop-by-hop options", 14 + 48 + 6, ether(0x86dd, ipv6(0), extension(17, 8), rest), false},
		{"IPv6, TCP behind a route", 14 + 64 + 16, ether(0x86dd, ipv6(43), extension(6, 24), rest), false},
		{"IPv6, IPv6 in IP behind options", 14 + 48 + 4, ether(0x86dd, ipv6(60), extension(41, 8), ipv6(17), rest), false},
		{"IPv6, ESP", 14 + 40 + 4, ether(0x86dd, ipv6(50), rest), false},
		{"IPv6, ICMPv6", never, ether(0x86dd, ipv6(58), rest), false},
		{"IPv6, ICMPv6 behind options", never, ether(0x86dd, ipv6(60), extension(58, 8), rest), false},
		{"IPv6, options twice", never, ether(0x86dd, ipv6(60), extension(60, 8), extension(17, 8), rest), false},
		{"IPv6, a route behind options", never, ether(0x86dd, ipv6(0), extension(43, 8), extension(17, 8), rest), false},
		{"IPv6, options that are not all there", never, ether(0x86dd, ipv6(60), []byte{17, 255}, rest), false},
		{"IPv6, fragment", never, ether(0x86dd, ipv6(44), extension(17, 8), rest), false},
		{"IPv6, fragment behind options", never, ether(0x86dd, ipv6(60), extension(44, 8), extension(17, 8), rest), false},
		{"IPv6, authentication", never, ether(0x86dd, ipv6(51), rest), false},
		{"IPv6, cut short", never, ether(0x86dd, ipv6(17)[:30]), false},
		{"IPv6, nothing behind", never, ether(0x86dd, ipv6(60)), false},

		{"ARP", never, ether(0x0806, []byte{0, 1, 8, 0, 6, 4, 0, 1}, rest), false},
		{"VLAN tag", 14, ether(0x8100, []byte{0, 5, 8, 0}, ipv4(17, 0, 0), rest), false},
		{"LLDP", 14, ether(0x88cc, rest), false},
	}
}

// header is a virtio header (the virtio specification, 5.1.6).
func header(flags, gso byte, size, start, offset int) []byte {
	h := []byte{flags, gso}
	for _, n := range []int{0, size, start, offset} {
		h = binary.NativeEndian.AppendUint16(h, uint16(n))
	}
	return h
}

// summed is a frame with the checksum of all from start on stored at a place, as
// the kernel does it (net/core/dev.c, skb_checksum_help).
func summed(frame []byte, start, at int) []byte {
	total := uint32(0)
	for i, b := range frame[start:] {
		total += uint32(b) << (8 * (1 - i%2))
	}
	for total > 0xffff {
		total = total&0xffff + total>>16
	}
	sum := ^uint16(total)
	if sum == 0 {
		sum = 0xffff
	}
	out := append([]byte(nil), frame...)
	binary.BigEndian.PutUint16(out[at:], sum)
	return out
}

// A request is a frame in which a sum is to be stored.
type request struct {
	start, at int
	frame     []byte
}

// requests asks for a sum at every place in a frame, from several starts, those in
// the Ethernet header among them, and from the place itself.
func requests(s shape) []request {
	var out []request
	ask := func(start, at int) {
		// No two are the same.
		frame := binary.BigEndian.AppendUint32(append([]byte(nil), s.frame...), uint32(len(out)+1))
		out = append(out, request{start: start, at: at, frame: frame})
	}
	for at := 0; at+2 <= len(s.frame); at++ {
		for _, start := range []int{0, 6, 12, 14, 20} {
			if start < at {
				ask(start, at)
			}
		}
		ask(at, at)
	}
	return out
}

// lowest is the first start that every kernel takes: newer ones take none that lies
// before any IP header's end (include/linux/virtio_net.h).
const lowest = 20

// TestEveryPlace has a sum stored at every place in every kind of frame: without the
// check all of them come out on the wire, changed so; with it those whose sum lies
// where it belongs, or behind, and no others.
func TestEveryPlace(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			n, tap := network(t)
			refused := 0
			for _, s := range shapes() {
				refused += everyPlace(t, n, tap, s, func(int) bool { return true })
			}
			t.Logf("the kernel itself refused %d frames for their starts", refused)
			w.attach(t, n, tap)
			for _, s := range shapes() {
				everyPlace(t, n, tap, s, s.takes)
			}
		})
	}
}

// everyPlace gives how many frames the kernel refuses to take.
func everyPlace(t *testing.T, n *lab.Network, tap *lab.Tap, s shape, takes func(place int) bool) int {
	t.Helper()
	all := requests(s)
	taken := all[:0:0]
	seen, err := n.Watch(func() error {
		for _, r := range all {
			err := tap.SendRaw(append(header(1, 0, 0, r.start, r.at-r.start), r.frame...))
			if errors.Is(err, unix.EINVAL) && r.start < lowest {
				continue
			}
			if err != nil {
				return err
			}
			taken = append(taken, r)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	for _, r := range taken {
		if arrived, want := seen.OnWire(summed(r.frame, r.start, r.at)), takes(r.at); arrived != want {
			t.Errorf("%s: sum from %d on at %d: arrived: %v, want %v", s.name, r.start, r.at, arrived, want)
		}
	}
	return len(all) - len(taken)
}

// TestNothingElseChanges sends frames of all kinds without a request, and frames
// that begin with all that a frame may: each comes out as it was sent.
func TestNothingElseChanges(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			n, tap := network(t)
			w.attach(t, n, tap)
			var frames [][]byte
			for _, s := range shapes() {
				frames = append(frames, s.frame)
			}
			for first := range 256 {
				for _, second := range []byte{0, 1, 0x7f, 0x80, 0xfe, 0xff} {
					frame := ether(0x0800, ipv4(17, 0, 0), make([]byte, 40))
					frame[0], frame[1] = byte(first), second
					frames = append(frames, frame)
				}
			}
			for _, flags := range []byte{0, 2} { // 2: the sum is said to be right
				seen, err := n.Watch(func() error {
					for _, frame := range frames {
						if err := tap.SendRaw(append(header(flags, 0, 0, 0, 0), frame...)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				for _, frame := range frames {
					if !seen.OnWire(frame) {
						t.Errorf("flags %d: a frame did not come out as it was sent: %x", flags, frame)
					}
				}
			}
			in(t, n, func() error {
				if drops, err := Drops(tap.Index); err != nil || drops != 0 {
					return fmt.Errorf("%d frames dropped: %w", drops, err)
				}
				return nil
			})
		})
	}
}

// TestCutUp sends frames to be cut up: they are, unless the kernel would take them
// for another protocol than their EtherType says.
func TestCutUp(t *testing.T) {
	n, tap := network(t)
	datagram := func(kind uint16, ip []byte, size int) []byte {
		frame := ether(kind, ip, make([]byte, size))
		if len(ip) == 20 {
			binary.BigEndian.PutUint16(frame[16:], uint16(len(frame)-14))
		} else {
			binary.BigEndian.PutUint16(frame[18:], uint16(len(frame)-54))
		}
		binary.BigEndian.PutUint16(frame[14+len(ip)+4:], uint16(size)) // UDP's length
		return frame
	}
	segment := func(kind uint16) []byte {
		frame := datagram(kind, ipv6(6), 20+3000)
		frame[14+40+12] = 5 << 4 // TCP's header length
		return frame
	}
	const ufo, tcp6, uso = 3, 4, 5 // VIRTIO_NET_HDR_GSO_…
	all := []struct {
		name   string
		kind   byte
		header int // where the transport header is; 0: no sum is asked for
		offset int
		frame  []byte
		passes bool
	}{
		{"UDP over IPv4, in fragments", ufo, 34, 6, datagram(0x0800, ipv4(17, 0, 0), 3008), true},
		{"UDP over IPv6, in fragments", ufo, 54, 6, datagram(0x86dd, ipv6(17), 3008), true},
		{"UDP over IPv4, in fragments, no sum", ufo, 0, 0, datagram(0x0800, ipv4(17, 0, 0), 3008), true},
		{"UDP over IPv4, in datagrams", uso, 34, 6, datagram(0x0800, ipv4(17, 0, 0), 3008), true},
		{"UDP over IPv6, in datagrams", uso, 54, 6, datagram(0x86dd, ipv6(17), 3008), true},
		{"TCP over IPv6", tcp6, 54, 16, segment(0x86dd), true},
		{"TCP over IPv6, no sum", tcp6, 0, 0, segment(0x86dd), true},
		{"EtherType 0, as UDP over IPv4", ufo, 0, 0, datagram(0, ipv4(17, 0, 0), 3008), false},
		{"EtherType 0, as UDP over IPv6", ufo, 0, 0, datagram(0, ipv6(17), 3008), false},
		{"EtherType 0, as TCP over IPv6", tcp6, 0, 0, segment(0), false},
		{"EtherType IPv4, as UDP over IPv6", ufo, 0, 0, datagram(0x0800, ipv6(17), 3008), false},
	}
	for _, checked := range []bool{false, true} {
		if checked {
			attach(t, n, tap)
		}
		for _, test := range all {
			flags := byte(0)
			if test.header > 0 {
				flags = 1
			}
			const most = 1400 // bytes in a piece; all make three
			seen, err := n.Watch(func() error {
				return tap.SendRaw(append(header(flags, test.kind, most, test.header, test.offset), test.frame...))
			})
			want := 3
			if checked && !test.passes {
				want = 0
			}
			switch {
			case errors.Is(err, unix.EINVAL) && test.kind == uso:
				t.Logf("%s: this kernel's taps do not take it (Linux 6.2)", test.name)
			case err != nil:
				t.Errorf("%s: %v", test.name, err)
			case len(seen.Wire) != want:
				t.Errorf("%s, checked: %v: %d frames came out, want %d", test.name, checked, len(seen.Wire), want)
			}
		}
	}
}
