package frame

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var (
	here  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	there = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// A packet library reads from the frames what they were described as.
func TestBytes(t *testing.T) {
	vlan := uint16(7)
	for _, c := range []struct {
		name     string
		from, to string
		d        Description
		want     []gopacket.LayerType
		port     uint16
	}{
		{"TCP", "192.0.2.1", "198.51.100.1", Description{Proto: 6, SourcePort: 40000, Port: 443}, []gopacket.LayerType{layers.LayerTypeIPv4, layers.LayerTypeTCP}, 443},
		{"UDP, IPv6", "2001:db8::1", "2001:db8::2", Description{Proto: 17, SourcePort: 40000, Port: 53}, []gopacket.LayerType{layers.LayerTypeIPv6, layers.LayerTypeUDP}, 53},
		{"ICMP", "192.0.2.1", "198.51.100.1", Description{Proto: 1}, []gopacket.LayerType{layers.LayerTypeIPv4, layers.LayerTypeICMPv4}, 0},
		{"ICMPv6", "2001:db8::1", "2001:db8::2", Description{Proto: 58}, []gopacket.LayerType{layers.LayerTypeIPv6, layers.LayerTypeICMPv6}, 0},
		{"ARP", "192.0.2.1", "192.0.2.2", Description{ARP: true}, []gopacket.LayerType{layers.LayerTypeARP}, 0},
		{"VLAN tag", "192.0.2.1", "198.51.100.1", Description{Proto: 17, Port: 53, VLAN: &vlan}, []gopacket.LayerType{layers.LayerTypeDot1Q, layers.LayerTypeIPv4, layers.LayerTypeUDP}, 53},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.d.Source, c.d.Destination = netip.MustParseAddr(c.from), netip.MustParseAddr(c.to)
			c.d.SourceMAC, c.d.DestinationMAC = here, there
			f, err := c.d.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default)
			if p.ErrorLayer() != nil {
				t.Fatal(p.ErrorLayer().Error())
			}
			for _, want := range c.want {
				if p.Layer(want) == nil {
					t.Errorf("no %s in %s", want, p)
				}
			}
			if eth := p.LinkLayer().(*layers.Ethernet); !bytes.Equal(eth.SrcMAC, here) || !bytes.Equal(eth.DstMAC, there) {
				t.Errorf("MAC addresses %s to %s", eth.SrcMAC, eth.DstMAC)
			}
			if n := p.NetworkLayer(); n != nil && (n.NetworkFlow().Src().String() != c.from || n.NetworkFlow().Dst().String() != c.to) {
				t.Errorf("addresses %s", n.NetworkFlow())
			}
			if l := p.TransportLayer(); l != nil && binary.BigEndian.Uint16(l.TransportFlow().Dst().Raw()) != c.port {
				t.Errorf("port %s, want %d", l.TransportFlow().Dst(), c.port)
			}
		})
	}
}

func TestBytesOfTwoFamilies(t *testing.T) {
	d := Description{Source: netip.MustParseAddr("192.0.2.1"), Destination: netip.MustParseAddr("2001:db8::1")}
	if _, err := d.Bytes(); err == nil {
		t.Error("no error for an IPv4 and an IPv6 address")
	}
	d = Description{Source: netip.MustParseAddr("2001:db8::2"), Destination: netip.MustParseAddr("2001:db8::1"), ARP: true}
	if _, err := d.Bytes(); err == nil {
		t.Error("no error for ARP of an IPv6 address")
	}
}

func TestParseHex(t *testing.T) {
	want := []byte{0xde, 0xad, 0xbe, 0xef}
	for _, s := range []string{"deadbeef", "DE:AD:BE:EF", "de ad\nbe-ef"} {
		if got, err := ParseHex(s); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %x, %v", s, got, err)
		}
	}
	for _, s := range []string{"", " ", "abc", "zz"} {
		if _, err := ParseHex(s); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
}

// What another program writes is read.
func TestReadPcap(t *testing.T) {
	frames := [][]byte{bytes.Repeat([]byte{1}, 60), bytes.Repeat([]byte{2}, 1514)}
	write := func(w *pcapgo.Writer, link layers.LinkType, snap int) {
		t.Helper()
		if err := w.WriteFileHeader(65536, link); err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			kept := f[:min(snap, len(f))]
			if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(kept), Length: len(f)}, kept); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, newWriter := range map[string]func(*bytes.Buffer) *pcapgo.Writer{
		"microseconds": func(b *bytes.Buffer) *pcapgo.Writer { return pcapgo.NewWriter(b) },
		"nanoseconds":  func(b *bytes.Buffer) *pcapgo.Writer { return pcapgo.NewWriterNanos(b) },
	} {
		var b bytes.Buffer
		write(newWriter(&b), layers.LinkTypeEthernet, 65536)
		got, err := ReadPcap(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(frames, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if _, err := ReadPcap(bytes.NewReader(b.Bytes()[:b.Len()-1])); err == nil {
			t.Errorf("%s: no error for a file cut short", name)
		}
	}
	var cut, cooked bytes.Buffer
	write(pcapgo.NewWriter(&cut), layers.LinkTypeEthernet, 100)
	write(pcapgo.NewWriter(&cooked), layers.LinkTypeLinuxSLL, 65536)
	for _, c := range []struct{ text, want string }{
		{cut.String(), "was cut to 100 of 1514 bytes"}, {cooked.String(), "link type 113"},
		{"\x0a\x0d\x0d\x0a" + strings.Repeat("x", 20), "pcapng"}, {strings.Repeat("x", 24), "no capture file"}, {"", "no capture file"},
	} {
		if _, err := ReadPcap(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestGroupMAC(t *testing.T) {
	for _, c := range []struct {
		to   string
		arp  bool
		want string
	}{
		{to: "192.0.2.1", want: ""},
		{to: "2001:db8::1", want: ""},
		{to: "192.0.2.1", arp: true, want: "ff:ff:ff:ff:ff:ff"},
		{to: "255.255.255.255", want: "ff:ff:ff:ff:ff:ff"},
		{to: "224.0.0.251", want: "01:00:5e:00:00:fb"},
		{to: "239.255.255.250", want: "01:00:5e:7f:ff:fa"}, // 23 bits of the address
		{to: "ff02::1:ff00:1", want: "33:33:ff:00:00:01"},
	} {
		got := GroupMAC(Description{Destination: netip.MustParseAddr(c.to), ARP: c.arp})
		if got.String() != c.want {
			t.Errorf("%s, ARP %t: %s, want %s", c.to, c.arp, got, c.want)
		}
	}
}
