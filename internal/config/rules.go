package config

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"macvtap-filter/internal/near"
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

// checkRules reads what a policy says beside deny and allow; what it does not say is as in
// the policy that it builds on.
func checkRules(check checker, at string, raw filePolicy, base Rules) Rules {
	r := Rules{
		PassSpoofing:   choice(check, at, "spoofing", raw.Spoofing, base.PassSpoofing, "drop", "pass"),
		FollowMAC:      choice(check, at, "mac_changes", raw.MACChanges, base.FollowMAC, "ignore", "follow"),
		PassNeighbours: choice(check, at, "neighbours", raw.Neighbours, base.PassNeighbours, "filter", "pass"),
		PassRouters:    choice(check, at, "routers", raw.Routers, base.PassRouters, "drop", "pass"),
		PassMulticast:  choice(check, at, "multicast", raw.Multicast, base.PassMulticast, "drop", "pass"),
		PassDHCPServer: choice(check, at, "dhcp", raw.DHCP, base.PassDHCPServer, "client", "server"),
		PassTunnels:    choice(check, at, "tunnels", raw.Tunnels, base.PassTunnels, "drop", "pass"),
		PassOffload:    choice(check, at, "offload", raw.Offload, base.PassOffload, "check", "pass"),
		DropIPv6:       choice(check, at, "ipv6", raw.IPv6, base.DropIPv6, "filter", "drop"),
		AnyNextHop:     choice(check, at, "next_hop", raw.NextHop, base.AnyNextHop, "router", "any"),
		Log:            said(raw.Log, base.Log),
		Isolate:        said(raw.Isolate, base.Isolate),
		Serve:          list(check, at, "serve", raw.Serve, base.Serve, one(parseService)),
		EtherTypes:     list(check, at, "ethertypes", raw.EtherTypes, base.EtherTypes, one(parseEtherType)),
		GatewayMACs:    list(check, at, "gateway_macs", raw.GatewayMACs, base.GatewayMACs, one(parseGatewayMAC)),
	}
	r.Max = Rates{
		Packets:  checkRate(check, at, "max_packets", raw.Packets, base.Max.Packets),
		NewFlows: checkRate(check, at, "max_new_flows", raw.NewFlows, base.Max.NewFlows), InboundFlows: checkRate(check, at, "max_inbound_flows", raw.Inflows, base.Max.InboundFlows), Broadcasts: checkRate(check, at, "max_broadcasts", raw.Broadcasts, base.Max.Broadcasts),
	}
	if raw.GatewayMACs != nil && len(r.GatewayMACs) > 0 && raw.NextHop != nil && r.AnyNextHop && !r.Isolate {
		check.add(at+".gateway_macs", "gateway_macs: they count for nothing with next_hop = \"any\"")
	}
	return r
}

// checkLearn reads how addresses are learned, with what the policy says that this one builds
// on. Where any pass, only what is written is meant: a policy that writes spoofing = "pass"
// and nothing of learn learns nothing, and one with spoofing = "drop" again learns as was
// written, or by default.
func checkLearn(check checker, at string, raw filePolicy, r Rules, base learning) learning {
	ways := map[string]Learn{"off": LearnOff, "dhcp": LearnDHCP, "first": LearnFirst}
	switch {
	case raw.Learn != nil:
		how, ok := ways[*raw.Learn]
		if !ok {
			check.add(at+".learn", "learn = %q: want \"off\", \"dhcp\" or \"first\"", *raw.Learn)
		}
		return learning{how, how}
	case !r.PassSpoofing:
		return learning{base.written, base.written}
	case raw.Spoofing != nil:
		return learning{base.written, LearnOff}
	}
	return base
}

// learning is what was last written of learn, or the default, and what comes of it beside
// spoofing.
type learning struct{ written, how Learn }

func parseGatewayMAC(text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("%q is no MAC address", text)
	}
	if group := mac[0]&1 != 0; group || [6]byte(mac) == [6]byte{} {
		// A group's would open what isolate closes: every host takes such a frame.
		return nil, fmt.Errorf("%q is no MAC address that a gateway can have", text)
	}
	return mac, nil
}

// choice reads a key of two values, the first of which is the usual one, and reports
// whether it has the other.
func choice(check checker, at, key string, written *string, base bool, usual, other string) bool {
	if written == nil {
		return base
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
		return 0, fmt.Errorf("%q is no EtherType: write a number from 0x0600 on such as \"0x88cc\", or a name such as \"lldp\"%s", s, meant(near.Name(s, slices.Sorted(maps.Keys(etherTypeNames)))))
	}
	switch n {
	case 0x0800, 0x86dd, 0x0806:
		return 0, fmt.Errorf("%q: IPv4, IPv6 and ARP pass by deny and allow", s)
	}
	return uint16(n), nil
}
