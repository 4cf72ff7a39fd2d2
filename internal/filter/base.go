package filter

import (
	"bytes"
	"fmt"
	"slices"

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

// base is the base chain of the NIC, in the one direction: it tells the policy's chains for
// datagrams and ARP that the frame is of this device and, from the VM or to it alone, of its
// MAC address.
//
// The frame's own type is asked, a VLAN tag included: of a tagged frame, meta protocol names
// what is inside once the kernel has lifted the tag off, always on the way in, and by Linux
// 7.3 on the way out, too.
func (s side) base(device string) {
	c := s.baseChain(device)
	for _, kind := range s.entries() {
		when := one(ruleset.Is(ruleset.EtherType, kind.etherType))
		if !s.policy.PassSpoofing {
			when = all(one(ruleset.Compare{Field: s.ownMAC, Op: ruleset.Equal, Value: s.mac}), when)
		}
		c.goTo(kind.chain, all(when, s.parsed(kind))...)
	}
	c.goTo(otherChain)
	c.done()
}

// baseChain begins a base chain, with what drops frames of a later device of the name.
func (s side) baseChain(device string) *chain {
	c := s.newChain("")
	c.Hook = &ruleset.Hook{Type: s.hook, Device: device}
	c.Rules = append(c.Rules, c.dropped("stale-device", ruleset.StaleComment,
		one(ruleset.Compare{Field: s.index(), Op: ruleset.NotEqual, Value: unknownIndex})))
	return c
}

// An entry is a kind of frame with a chain of its own.
type entry struct {
	etherType uint16
	chain     string
}

// entries gives them, the commonest first.
func (s side) entries() []entry {
	out := []entry{{ruleset.EtherTypeIPv4, family4.name}, {ruleset.EtherTypeIPv6, family6.name}, {ruleset.EtherTypeARP, "arp"}}
	if s.policy.DropIPv6 {
		out = slices.Delete(out, 1, 2)
	}
	return out
}

// parsed matches, from the VM, datagrams whose header the kernel finds right
// (include/net/netfilter/nf_tables_ipv4.h, nft_set_pktinfo_ipv4_validate): of others no rule
// can tell the protocol or the ports, so none that drops by them would, and not every
// receiver is as particular. The protocol of others is not there to be compared, and none
// has the number 255 (IANA's protocol numbers).
func (s side) parsed(kind entry) []ruleset.Match {
	if !s.out || kind.etherType == ruleset.EtherTypeARP {
		return nil
	}
	return one(ruleset.Compare{Field: ruleset.L4Proto, Op: ruleset.NotEqual, Value: []byte{255}})
}

// otherChain judges the frames that the base chain has no chain for.
const otherChain = "other"

func (s side) other() {
	c := s.newChain(otherChain)
	if !s.policy.PassSpoofing {
		c.otherMAC()
	}
	c.isolated()
	c.limited()
	switch {
	case s.out:
		c.drop("malformed", "IPv4 header that is not right", ruleset.Is(ruleset.EtherType, ruleset.EtherTypeIPv4))
		if !s.policy.DropIPv6 {
			c.drop("malformed", "IPv6 header that is not right", ruleset.Is(ruleset.EtherType, ruleset.EtherTypeIPv6))
		}
		c.announcement()
	case !s.policy.PassSpoofing:
		for _, kind := range s.entries() { // for all, or for a group
			c.goTo(kind.chain, ruleset.Is(ruleset.EtherType, kind.etherType))
		}
	}
	if s.policy.DropIPv6 {
		c.drop("ipv6", "IPv6", ruleset.Is(ruleset.EtherType, ruleset.EtherTypeIPv6))
	}
	for _, kind := range s.policy.EtherTypes {
		c.accept(fmt.Sprintf("ethertypes: 0x%04x", kind), ruleset.Is(ruleset.EtherType, kind))
	}
	c.drop("vlan", "VLAN tag", ruleset.Is(ruleset.EtherType, ruleset.EtherTypeVLAN))
	c.drop("vlan", "VLAN tag (802.1ad)", ruleset.Is(ruleset.EtherType, ruleset.EtherTypeQinQ))
	c.drop("llc", "IEEE 802.2 LLC", ruleset.Compare{Field: ruleset.EtherType, Op: ruleset.Less, Value: []byte{0x06, 0x00}})
	c.drop("ethertype", "not IPv4, IPv6 or ARP")
	c.done()
}

// otherMAC drops what is not from the VM's MAC address, or to one host and not to it: the
// device may be promiscuous, or have been given another address.
func (c *chain) otherMAC() {
	if c.out {
		c.drop("spoofed-mac", "source MAC address not the VM's own", c.isNotOwn(ownMACSet, ruleset.EtherSource))
		return
	}
	c.drop("other-host", "frame for another MAC address", unicast, c.isNotOwn(ownMACSet, ruleset.EtherDestination))
}

// announcement lets pass what QEMU sends in the VM's name when it has moved here, so that
// switches learn it: reverse ARP (RFC 903) of the VM's MAC address for itself, without
// any IP address, to all (QEMU's net/announce.c, announce_self_create).
func (c *chain) announcement() {
	own := func(at uint32) ruleset.Match { return c.isOwn(ownBitsSet, network(at, 6)) }
	noAddress := func(at uint32) ruleset.Match {
		return ruleset.Compare{Field: network(at, 4), Op: ruleset.Equal, Value: make([]byte, 4)}
	}
	toAll := ruleset.Compare{Field: ruleset.EtherDestination, Op: ruleset.Equal, Value: bytes.Repeat([]byte{0xff}, 6)}
	request := ruleset.Compare{Field: network(0, 8), Op: ruleset.Equal, Value: []byte{0, 1, 0x08, 0, 6, 4, 0, 3}}
	c.accept("QEMU's announcement of the VM after a migration", toAll, ruleset.Is(ruleset.EtherType, etherTypeRARP), request, own(8), noAddress(14), own(18), noAddress(24))
}

const etherTypeRARP = 0x8035 // IEEE 802 numbers

// isolated drops, where the policy says so, unicast frames to or from a MAC address that is
// no gateway's. Each chain that frames come to from the base chain begins with it.
func (c *chain) isolated() {
	if c.policy.Isolate {
		c.drop("isolated", "not the gateway's MAC address", c.notGateway()...)
	}
}

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
