package frame

import (
	"net/netip"
	"testing"
)

// What a frame is described as is what it is read as.
func TestWords(t *testing.T) {
	vlan := uint16(7)
	for _, c := range []struct {
		from, to string
		d        Description
		want     string
	}{
		{"192.0.2.1", "198.51.100.1", Description{Proto: 6, SourcePort: 40000, Port: 443}, "IPv4, 192.0.2.1 > 198.51.100.1, TCP 40000 > 443 [SYN]"},
		{"2001:db8::1", "2001:db8::2", Description{Proto: 17, SourcePort: 40000, Port: 53}, "IPv6, 2001:db8::1 > 2001:db8::2, UDP 40000 > 53"},
		{"192.0.2.1", "198.51.100.1", Description{Proto: 1}, "IPv4, 192.0.2.1 > 198.51.100.1, ICMP echo request"},
		{"2001:db8::1", "2001:db8::2", Description{Proto: 58}, "IPv6, 2001:db8::1 > 2001:db8::2, ICMPv6 echo request"},
		{"192.0.2.1", "192.0.2.2", Description{ARP: true}, "ARP, request, 192.0.2.1 > 192.0.2.2, sender 02:00:00:00:00:01"},
		{"192.0.2.1", "198.51.100.1", Description{Proto: 99, VLAN: &vlan}, "VLAN 7, IPv4, 192.0.2.1 > 198.51.100.1, protocol 99"},
	} {
		c.d.Source, c.d.Destination = netip.MustParseAddr(c.from), netip.MustParseAddr(c.to)
		c.d.SourceMAC, c.d.DestinationMAC = here, there
		f, err := c.d.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := Words(f), "02:00:00:00:00:01 > 02:00:00:00:00:02, "+c.want; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		for n := range f {
			_ = Words(f[:n]) // whatever is cut off
		}
	}
}

// Headers that the descriptions of frames have no words for.
func TestWordsOfOddFrames(t *testing.T) {
	const ether, ip6 = "020000000002 020000000001 ", "86dd 60000000 0010 "
	const addresses6 = " 40 20010db8000000000000000000000001 20010db8000000000000000000000002 "
	for hex, want := range map[string]string{
		"0200":                             "2 bytes, too few for a frame",
		ether + "0026 424203000000000000":  "IEEE 802.2 LLC",
		ether + "88cc 0200":                "EtherType 0x88cc",
		ether + "88a8 0005 8100 0006 0806": "802.1ad VLAN 5, VLAN 6, ARP, cut short or not of IPv4",
		ether + "0800 46000020 0000 2000 4011 0000 c0000201 c0000202 01010101 9c400035":                                 "IPv4, 192.0.2.1 > 192.0.2.2, with options, first fragment, UDP 40000 > 53",
		ether + "0800 45000020 0000 0002 4011 0000 c0000201 c0000202 9c400035":                                          "IPv4, 192.0.2.1 > 192.0.2.2, UDP, fragment at 16",
		ether + ip6 + "00" + addresses6 + "3a00050200000100 8700000000000000" + "fe80000000000000" + "0000000000000001": "IPv6, 2001:db8::1 > 2001:db8::2, hop-by-hop options, ICMPv6 neighbour solicitation for fe80::1",
		ether + ip6 + "2c" + addresses6 + "06000001 00000000 9c40 0050 00000000 00000000 5012":                          "IPv6, 2001:db8::1 > 2001:db8::2, first fragment, TCP 40000 > 80 [SYN ACK]",
		ether + ip6 + "2c" + addresses6 + "06000011 00000000":                                                           "IPv6, 2001:db8::1 > 2001:db8::2, TCP, fragment at 16",
	} {
		f, err := ParseHex(hex)
		if err != nil {
			t.Fatal(err)
		}
		if len(f) > 14 {
			want = "02:00:00:00:00:01 > 02:00:00:00:00:02, " + want
		}
		if got := Words(f); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
