package config

import (
	"fmt"
	"net"
	"strconv"
)

// etherTypeNames may stand for the EtherTypes that people are most likely to pass
// (IEEE 802 numbers).
var etherTypeNames = map[string]uint16{
	"eapol": 0x888e, "lldp": 0x88cc, "mpls": 0x8847, "pppoe-discovery": 0x8863, "pppoe-session": 0x8864,
	"ptp": 0x88f7, "qinq": 0x88a8, "vlan": 0x8100, "wol": 0x0842,
}

// lowestEtherType is the first value that is a type and not the length of an IEEE
// 802.2 LLC frame (IEEE 802.3, 3.2.6).
const lowestEtherType = 0x0600

func checkRules(check checker, at string, raw filePolicy) Rules {
	r := Rules{
		PassSpoofing:   choice(check, at, "spoofing", raw.Spoofing, "drop", "pass"),
		FollowMAC:      choice(check, at, "mac_changes", raw.MACChanges, "ignore", "follow"),
		PassNeighbours: choice(check, at, "neighbours", raw.Neighbours, "filter", "pass"),
		PassRouters:    choice(check, at, "routers", raw.Routers, "drop", "pass"),
		PassMulticast:  choice(check, at, "multicast", raw.Multicast, "drop", "pass"),
		PassDHCPServer: choice(check, at, "dhcp", raw.DHCP, "client", "server"),
		PassTunnels:    choice(check, at, "tunnels", raw.Tunnels, "drop", "pass"),
		PassOffload:    choice(check, at, "offload", raw.Offload, "check", "pass"),
		DropIPv6:       choice(check, at, "ipv6", raw.IPv6, "filter", "drop"),
		AnyNextHop:     choice(check, at, "next_hop", raw.NextHop, "router", "any"),
		Log:            raw.Log != nil && *raw.Log,
		Isolate:        raw.Isolate != nil && *raw.Isolate,
	}
	r.Learn = checkLearn(check, at, raw.Learn, r.PassSpoofing)
	for i, text := range raw.Serve {
		service, err := parseService(text)
		if err != nil {
			check.add(at+".serve."+strconv.Itoa(i), "serve: %v", err)
		}
		r.Serve = append(r.Serve, service)
	}
	for i, text := range raw.EtherTypes {
		kind, err := parseEtherType(text)
		if err != nil {
			check.add(at+".ethertypes."+strconv.Itoa(i), "ethertypes: %v", err)
		}
		r.EtherTypes = append(r.EtherTypes, kind)
	}
	for i, text := range raw.GatewayMACs {
		mac, err := net.ParseMAC(text)
		if err != nil || len(mac) != 6 {
			check.add(at+".gateway_macs."+strconv.Itoa(i), "gateway_macs: %q is no MAC address", text)
		} else if group := mac[0]&1 != 0; group || [6]byte(mac) == [6]byte{} {
			// A group's would open what isolate closes: every host takes such a frame.
			check.add(at+".gateway_macs."+strconv.Itoa(i), "gateway_macs: %q is no MAC address that a gateway can have", text)
		}
		r.GatewayMACs = append(r.GatewayMACs, mac)
	}
	if len(r.GatewayMACs) > 0 && r.AnyNextHop && !r.Isolate {
		check.add(at+".gateway_macs", "gateway_macs: they count for nothing with next_hop = \"any\"")
	}
	return r
}

// checkLearn reads how addresses are learned; where any pass, only what is written is meant.
func checkLearn(check checker, at string, written *string, passSpoofing bool) Learn {
	words := map[string]Learn{"off": LearnOff, "dhcp": LearnDHCP, "first": LearnFirst}
	switch {
	case written == nil && passSpoofing:
		return LearnOff
	case written == nil:
		return LearnFirst
	}
	how, ok := words[*written]
	if !ok {
		check.add(at+".learn", "learn = %q: want \"off\", \"dhcp\" or \"first\"", *written)
	}
	return how
}

// choice reads a key of two values, the first of which is the default, and
// reports whether it has the other.
func choice(check checker, at, key string, written *string, usual, other string) bool {
	if written == nil {
		return false
	}
	if *written != usual && *written != other {
		check.add(at+"."+key, "%s = %q: want %q or %q", key, *written, usual, other)
	}
	return *written == other
}

func parseEtherType(s string) (uint16, error) {
	if kind, ok := etherTypeNames[s]; ok {
		return kind, nil
	}
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil || n < lowestEtherType {
		return 0, fmt.Errorf("%q is no EtherType: write a number from 0x0600 on such as \"0x88cc\", or a name such as \"lldp\"", s)
	}
	switch n {
	case 0x0800, 0x86dd, 0x0806:
		return 0, fmt.Errorf("%q: IPv4, IPv6 and ARP pass by deny and allow", s)
	}
	return uint16(n), nil
}
