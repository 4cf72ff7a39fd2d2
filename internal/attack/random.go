package attack

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"

	"macvtap-filter/internal/ruleset"
)

// A Maker makes frames that are likely to meet many different rules: addresses,
// ports and types from what the policies name and what lies beside it, then a few
// bytes changed, cut off, or tags and extension headers put in between.
type Maker struct {
	*rand.Rand
	vm     net.HardwareAddr
	serial uint32
}

// NewMaker gives one of frames from and to a VM's MAC address.
func NewMaker(r *rand.Rand, vm net.HardwareAddr) *Maker { return &Maker{Rand: r, vm: vm} }

func pick[T any](m *Maker, all ...T) T { return all[m.IntN(len(all))] }

// Frame makes one frame, different from every other.
func (m *Maker) Frame(hook ruleset.HookType) []byte {
	f := m.ether(hook)
	switch m.IntN(8) {
	case 0:
		f = append(f, m.arp()...)
	case 1, 2, 3:
		f = append(f, m.ipv4()...)
	case 4, 5, 6:
		f = append(f, m.ipv6()...)
	default:
		f = append(f, m.other()...)
	}
	f = m.mutate(f)
	m.serial++
	return binary.BigEndian.AppendUint32(f, m.serial) // behind the datagram's end
}

// ether is a pair of MAC addresses.
func (m *Maker) ether(hook ruleset.HookType) []byte {
	far := pick(m, []byte{2, 0, 0, 0, 2, 1}, []byte{2, 0, 0, 0, 2, 0x4d})
	near := []byte(m.vm)
	if m.IntN(20) == 0 && hook == ruleset.Egress {
		near = []byte{0x52, 0x54, 0, 0, 0, 9}
	}
	group := pick(m, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []byte{1, 0, 0x5e, 0, 0, 0xfb}, []byte{0x33, 0x33, 0xff, 0, 0, 1})
	from, to := near, far
	if hook == ruleset.Ingress {
		from, to = far, near
	}
	if m.IntN(4) == 0 {
		to = group
	}
	return append(append([]byte(nil), to...), from...)
}

var peers4 = []string{
	"192.0.2.1", "203.0.113.7", "192.168.2.1", "192.168.2.53", "192.168.2.77", "192.168.2.20", "192.168.2.70", "192.168.2.80",
	"192.168.2.255", "255.255.255.255", "224.0.0.251", "239.255.255.250", "0.0.0.0", "127.0.0.1", "169.254.1.1", "240.0.0.1", "10.5.0.1", "10.6.0.1",
	"8.8.8.8", "1.1.1.1", "126.255.255.255", "128.0.0.0", "169.253.2.1", "169.255.2.1", "192.167.2.1", "192.169.2.1", "223.255.255.255",
}

var peers6 = []string{
	"2001:db8:ffff::1", "2001:db8:5::7", "fe80::1", "fe80::77", "2001:db8:2::53", "2001:db8:2::77", "2001:db8:2::80", "fd00::1", "::", "::1",
	"::ffff:192.168.2.77", "64:ff9b::c0a8:24d", "64:ff9b::c000:201", "64:ff9b:1::1", "2002:c0a8:24d::1", "2002:c000:201::1",
	"ff02::1", "ff02::2", "ff02::16", "ff02::fb", "ff02::1:2", "ff02::1:ff00:1", "ff02::1:ff00:77", "fe80::5054:ff:fe00:1", "2001:db8:5:0:5054:ff:fe00:1",
	"3fff:fff::1", "2606:4700::1111", "2001:4860:4860::8888", "2a00:1450:2:0::1", "2001:1::1", "2001:0:1::1", "2003::1", "1fff::1", "4000::1", "2001:db8:2:1::1",
}

func (m *Maker) addr(all []string) []byte { return netip.MustParseAddr(pick(m, all...)).AsSlice() }

func (m *Maker) port() []byte {
	return binary.BigEndian.AppendUint16(nil, pick[uint16](m, 53, 67, 68, 80, 85, 443, 546, 547, 4500, 5353, 9, 40000))
}

func (m *Maker) ipv4() []byte {
	proto := pick[byte](m, 1, 4, 6, 6, 17, 17, 17, 41, 47, 50, 97, 2)
	body := m.transport(proto)
	h := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto, 0, 0}
	h = append(append(h, m.addr(peers4)...), m.addr(peers4)...)
	if m.IntN(10) == 0 {
		h[0] = 0x46
		h = append(h, pick(m, []byte{1, 1, 1, 0}, []byte{131, 3, 4, 0}, []byte{0x94, 4, 0, 0})...)
	}
	if m.IntN(8) == 0 {
		binary.BigEndian.PutUint16(h[6:], pick[uint16](m, 0x2000, 0x2005, 0x0005, 0x4000, 0x1fff, 0x8000))
	}
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(body)))
	return append([]byte{8, 0}, append(h, body...)...)
}

func (m *Maker) ipv6() []byte {
	proto := pick[byte](m, 58, 58, 58, 58, 4, 6, 17, 17, 41, 47, 50, 59)
	body := m.transport(proto)
	for range m.IntN(8) / 5 {
		proto, body = m.extension(proto, body)
	}
	h := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(body)))
	h = append(h, proto, pick[byte](m, 255, 255, 255, 64, 1))
	h = append(append(h, m.addr(peers6)...), m.addr(peers6)...)
	return append([]byte{0x86, 0xdd}, append(h, body...)...)
}

// extension puts an extension header before a body, and gives its type.
func (m *Maker) extension(next byte, body []byte) (byte, []byte) {
	kind := pick[byte](m, 0, 43, 44, 44, 51, 60)
	h := []byte{next, 0, 5, 2, 0, 0, 1, 0}
	switch kind {
	case 44:
		h = []byte{next, 0, 0, 0, 0, 0, 0, 7}
		binary.BigEndian.PutUint16(h[2:], pick[uint16](m, 0, 1, 8, 9, 0xfff8))
	case 51:
		h = []byte{next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}
	}
	return kind, append(h, body...)
}

func (m *Maker) transport(proto byte) []byte {
	switch proto {
	case 6:
		h := append(m.port(), m.port()...)
		return append(h, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, pick[byte](m, 0x02, 0x12, 0x10, 0x18, 0x04), 0xff, 0xff, 0, 0, 0, 0)
	case 17:
		h := append(m.port(), m.port()...)
		return append(h, 0, 16, 0, 0, 'd', 'a', 't', 'a', 'g', 'r', 'a', 'm')
	case 1:
		h := []byte{pick[byte](m, 0, 3, 3, 5, 8, 9, 11, 12), 0, 0, 0, 0, 1, 0, 1}
		return m.quote(h, m.ipv4)
	case 58:
		return m.icmpv6()
	}
	return []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0}
}

func (m *Maker) icmpv6() []byte {
	kind := pick[byte](m, 128, 133, 134, 135, 135, 135, 136, 136, 137, 143, 131, 132, 2)
	h := []byte{kind, 0, 0, 0, 0, 0, 0, 0}
	if kind == 135 || kind == 136 || kind == 137 {
		h = append(h, m.addr(peers6)...)
	}
	if kind <= 4 {
		return m.quote(h, m.ipv6)
	}
	if kind >= 133 && kind <= 137 && m.IntN(3) > 0 {
		mac := pick(m, []byte(m.vm), []byte(m.vm), []byte{2, 0, 0, 0, 2, 1})
		h = append(append(h, pick[byte](m, 1, 2, 14), 1), mac...)
	}
	return h
}

// quote puts a datagram, or its beginning, behind an ICMP header.
func (m *Maker) quote(header []byte, datagram func() []byte) []byte {
	if m.IntN(4) == 0 {
		return header
	}
	if m.IntN(8) == 0 {
		datagram = pick(m, m.ipv4, m.ipv6)
	}
	about := datagram()[2:] // less its EtherType
	if m.IntN(4) == 0 {
		about = about[:m.IntN(len(about))]
	}
	return append(header, about...)
}

func (m *Maker) arp() []byte {
	h := []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, pick[byte](m, 1, 1, 2, 2, 3, 8)}
	mac := pick(m, []byte(m.vm), []byte(m.vm), []byte{2, 0, 0, 0, 2, 1})
	h = append(append(h, mac...), m.addr(peers4)...)
	return append(append(h, 0, 0, 0, 0, 0, 0), m.addr(peers4)...)
}

// other is a frame of another kind: tags, LLC, EtherTypes that a policy names.
func (m *Maker) other() []byte {
	inner := pick(m, m.ipv4, m.ipv6, m.arp)()
	switch m.IntN(4) {
	case 0:
		return append([]byte{0, 0x40, 0xaa, 0xaa, 3, 0, 0, 0}, inner...)
	case 1:
		kind := pick[uint16](m, 0x88cc, 0x88b5, 0x888e, 0x8847, 0x8864, 0, 0xffff, 0x05ff, 0x0600)
		return append(binary.BigEndian.AppendUint16(nil, kind), inner...)
	}
	for range 1 + m.IntN(2) {
		tag := binary.BigEndian.AppendUint16(nil, pick[uint16](m, 0x8100, 0x88a8, 0x9100))
		inner = append(binary.BigEndian.AppendUint16(tag, pick[uint16](m, 0, 5, 0xe000, 4095)), inner...)
	}
	return inner
}

// mutate changes some bytes behind the MAC addresses, or cuts the frame off, in
// one frame of four.
func (m *Maker) mutate(f []byte) []byte {
	switch m.IntN(8) {
	case 0:
		for range 1 + m.IntN(3) {
			f[12+m.IntN(min(len(f)-12, 50))] ^= 1 << m.IntN(8)
		}
	case 1:
		f = f[:14+m.IntN(len(f)-14)]
	}
	return f
}
