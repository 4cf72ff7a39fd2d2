package filter

import (
	"bytes"

	"macvtap-filter/internal/ruleset"
)

// groupBit is the bit of a MAC address that marks multicast and broadcast (IEEE
// 802, 8.2.2).
var groupBit = []byte{0x01, 0, 0, 0, 0, 0}

// unicast and group match frames by their destination MAC address.
var (
	unicast = ruleset.Masked{Field: ruleset.EtherDestination, Mask: groupBit, Op: ruleset.Equal, Value: make([]byte, 6)}
	group   = ruleset.Masked{Field: ruleset.EtherDestination, Mask: groupBit, Op: ruleset.NotEqual, Value: make([]byte, 6)}
)

// base is the direction's base chain: what the Ethernet header says.
func (s side) base(device string) {
	c := s.newChain("")
	c.Hook = &ruleset.Hook{Type: s.hook, Device: device}
	if !s.policy.Isolate {
		c.fastPath()
	}
	if s.out && !s.policy.PassSpoofing {
		c.drop("spoofed-mac", "source MAC address not the VM's own",
			ruleset.Compare{Field: ruleset.EtherSource, Op: ruleset.NotEqual, Value: s.mac})
	}
	if !s.out && !s.policy.PassSpoofing {
		// The device may be promiscuous, or have been given another address.
		c.drop("other-host", "frame for another MAC address",
			unicast, ruleset.Compare{Field: ruleset.EtherDestination, Op: ruleset.NotEqual, Value: s.mac})
	}
	if s.policy.Isolate {
		c.drop("isolated", "not the gateway's MAC address", s.notGateway()...)
		c.fastPath()
	}
	// The frame's own bytes are asked, a VLAN tag included: of a tagged frame, meta
	// protocol names what is inside once the kernel has lifted the tag off, always
	// on the way in, and by Linux 7.3 on the way out, too.
	frame := ruleset.EtherType
	c.datagrams(family4, ruleset.Is(frame, ruleset.EtherTypeIPv4))
	if s.policy.DropIPv6 {
		c.drop("ipv6", "IPv6", ruleset.Is(frame, ruleset.EtherTypeIPv6))
	} else {
		c.datagrams(family6, ruleset.Is(frame, ruleset.EtherTypeIPv6))
	}
	c.goTo("arp", ruleset.Is(frame, ruleset.EtherTypeARP))
	if s.out {
		c.announcement()
	}
	for _, kind := range s.policy.EtherTypes {
		c.accept(ruleset.Is(frame, kind))
	}
	c.drop("vlan", "VLAN tag", ruleset.Is(frame, ruleset.EtherTypeVLAN))
	c.drop("vlan", "VLAN tag (802.1ad)", ruleset.Is(frame, ruleset.EtherTypeQinQ))
	c.drop("llc", "IEEE 802.2 LLC", ruleset.Compare{Field: ruleset.EtherType, Op: ruleset.Less, Value: []byte{0x06, 0x00}})
	c.drop("ethertype", "not IPv4, IPv6 or ARP")
	c.done()
}

// announcement lets pass what QEMU sends in the VM's name when it has moved here, so that
// switches learn it: reverse ARP (RFC 903) of the VM's MAC address for itself, without
// any IP address, to all (QEMU's net/announce.c, announce_self_create).
func (c *chain) announcement() {
	request := append([]byte{0, 1, 0x08, 0, 6, 4, 0, 3}, c.mac...)
	about := append(append(make([]byte, 4), c.mac...), make([]byte, 4)...)
	header := append(append(bytes.Repeat([]byte{0xff}, 6), c.mac...), etherTypeRARP...)
	c.accept(ruleset.Compare{Field: ruleset.Raw(ruleset.LinkHeader, 0, 14), Op: ruleset.Equal, Value: header},
		ruleset.Compare{Field: network(0, 14), Op: ruleset.Equal, Value: request},
		ruleset.Compare{Field: network(14, 14), Op: ruleset.Equal, Value: about})
}

var etherTypeRARP = []byte{0x80, 0x35} // IEEE 802 numbers

// datagrams hands a family's to its chain; of the VM's only those whose header the kernel
// finds right (include/net/netfilter/nf_tables_ipv4.h, nft_set_pktinfo_ipv4_validate). Of
// others no rule can tell the protocol or the ports, so none that drops by them would,
// and not every receiver is as particular.
func (c *chain) datagrams(f family, when ruleset.Match) {
	if !c.out {
		c.goTo(f.name, when)
		return
	}
	c.goTo(f.name, when, parsed)
	c.drop("malformed", f.label+" header that is not right", when)
}

// parsed matches datagrams whose protocol the kernel knows: of others it is not there to
// be compared. No protocol has the number 255 (IANA's protocol numbers).
var parsed = ruleset.Compare{Field: ruleset.L4Proto, Op: ruleset.NotEqual, Value: []byte{255}}

// notGateway matches unicast frames to or from a MAC address that is no gateway's.
func (s side) notGateway() []ruleset.Match {
	field := ruleset.EtherSource
	if s.out {
		field = ruleset.EtherDestination
	}
	var elements []ruleset.Element
	for _, mac := range s.policy.GatewayMACs {
		elements = append(elements, ruleset.Element{From: [][]byte{mac}, To: [][]byte{mac}})
	}
	gateways := ruleset.Among(field, true, elements...)
	return []ruleset.Match{gateways, unicast}
}
