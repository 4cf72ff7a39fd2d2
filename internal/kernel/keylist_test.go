package kernel_test

// What several keys open or close.
const (
	arpFromVM  = `ARP (scan|for a denied|announcement of a denied|reply to a denied).*, from the VM`
	arpToVM    = `ARP re(ply|quest) of a denied host, to the VM`
	ndFromVM   = `(solicitation for the gateway, sent|neighbour advertisement of its own address) to a denied host, from the VM`
	rsFromVM   = `router solicitation to a denied host, from the VM`
	ndToVM     = `neighbour (solicitation|advertisement) of a denied host, to the VM`
	linkScan   = `neighbour scan, (multicast|unicast), link-local, from the VM`
	globalScan = `neighbour scan, (multicast|unicast), global, from the VM`
	// A probe for the VM's own address: the VM defends it.
	arpProbeToVM = `ARP probe of a denied host, to the VM`

	limited    = `limited broadcast, no DHCP( in a denied host's frame)?, from the VM`
	directed   = `directed broadcast( in a denied host's frame)?, from the VM`
	mDNS       = `mDNS( over IPv6)?( in a denied host's frame)?, from the VM`
	allOfIPv6  = `.*(DHCPv6|probe for its own|router (solicitation|adv)|neighbour|MLDv2|IPv6|NAT64|6to4|link-local|ping (of|from) the gateway).*`
	nameServer = `(ARP re(quest|ply) (for|to|of) the name server|DNS (query|answer)), (from|to) the VM`
)

// keys are lines of a policy, or more of a configuration, and which attacks they
// open and which ordinary traffic they close, as patterns of names with ways.
var keys = []struct {
	policy        string
	opens, closes []string
}{
	{policy: `log = true`},
	{policy: `ethertypes = ["lldp"]`, opens: []string{`LLDP, from the VM`}},
	{policy: `ethertypes = ["vlan"]`, opens: []string{`(VLAN \d+|two VLAN 0) tags?.*`}},
	{policy: `spoofing = "pass"`, opens: []string{
		`ARP (reply|announcement|request) .*(gateway|name server).*(allowed host|inside|broadcast|gratuitous), from the VM`, `ARP announcement of the (gateway|name server), from the VM`,
		`ARP (with another sender's MAC address inside|from another's MAC address outside), from the VM`,
		`(another's|the gateway's|a multicast) MAC address.*(internet|learn it|as source), from the VM`,
		`the (gateway|name server)'s (IPv6 )?address, to .*, from the VM`,
		`(router )?solicitation with (another's|a second) MAC address inside, from the VM`,
		`solicitation in the gateway's name, from the VM`,
		`neighbour advertisement (of another's MAC address|of the gateway|in the gateway's name) to an allowed host, from the VM`,
		`neighbour advertisement of another's MAC address to all nodes, from the VM`,
		`from .* to the (gateway|name server|internet)(, IPv6)?, from the VM`, `ARP probe for the (gateway|name server)'s address, from the VM`,
	}},
	{policy: `neighbours = "pass"`, opens: []string{
		`ARP .*[^e], from the VM`, `ARP .*(scan|probe|inside|reverse|inverse), from the VM`, `ARP .*, to the VM`,
		`neighbour (scan|solicitation (of|for)|advertisement of).*(link-local|global|nodes|host), (from|to) the VM`,
		`(router )?solicitation (for|with|from|in (a denied|a frame)) .*, from the VM`, `router solicitation to (all nodes|a denied host), from the VM`, `probe for a public address of a denied host, from the VM`, `neighbour advertisement to (a public address of a denied host|the gateway in a frame for all), from the VM`, `probe for its own address in a denied host's frame, from the VM`, `probe that takes the gateway's address, from the VM`,
	}},
	{policy: `routers = "pass"`, opens: []string{
		`ICMP redirect to an allowed host, from the VM`,
		`router advertisement to (all nodes|a denied host|an allowed host)(, the router's end|, from a global address)?, from the VM`,
		`router advertisement to an allowed host, from afar, from the VM`,
		`ICMPv6 redirect to (all nodes|a denied host|an allowed host), from the VM`,
	}},
	{policy: `multicast = "pass"`, opens: []string{
		`(mDNS|LLMNR|SSDP|WS-Discovery|all hosts|all nodes|DHCP's group).*`, limited, `directed broadcast.*, from the VM`, `NetBIOS name query, from the VM`, `to (class E|an interface-local group|a global group) in a denied host's frame, from the VM`,
		`ping of all (hosts|nodes).*`, `(IGMP|MLD) .*`, `(IPv6 )?datagram for the gateway in a (broad|multi)cast frame, from the VM`,
		`DHCPv6 solicit from no link-local address, from the VM`,
		`node information query to all nodes, from the VM`,
		// The first fragment is dropped, so nobody makes anything of it.
		`router advertisement to all nodes, its second fragment, from the VM`,
		`DHCPv6 solicit in .*, from the VM`, `IPv[46] multicast of a denied host, to the VM`,
	}},
	{policy: `dhcp = "server"`, opens: []string{
		`DHCP offer, .*`, `DHCP acknowledgement(, broadcast|, unicast to the client), from the VM`,
		`DHCP as a relay, to the gateway, from the VM`, `DHCP (discover|request|decline|release|inform) (for another|too short|by way|of a|of another|with a) .*, from the VM`, // it may be a relay
		`DHCPv6 (advertise|reply) to (a denied|an allowed) host, from the VM`, `DHCPv6 reply to all nodes, from the VM`,
		`DHCPv6 (relay-forward|relay-reply|advertise|reply|reconfigure|lease query) to servers, from the VM`, `DHCPv6 (relay-forward|reply) (in|behind an extension header).*`, `first fragment of a DHCPv6 solicit, from the VM`, `DHCPv6 of no type, from the VM`,
		arpFromVM, arpToVM, linkScan, globalScan, ndFromVM, ndToVM, // clients renew by unicast
	}},
	{policy: `tunnels = "pass"`, opens: []string{
		`(loose|strict) source route.*`, `(routing header type .|segment routing) to .*`, `routing header (behind options|in a fragment), .*`, `routing header before ICMPv6, by an internet host, from the VM`,
		`(IPv4 in IP|IPv6 in IP|GRE|minimal encapsulation|EtherIP|L2TPv3|MPLS in IP|Ethernet in IP) (to|in|by) .*`, `IPv6 in IPv6 (behind|in) .*`,
		`(a|from a) denied host's address as (6to4|NAT64|Teredo).*`, `.* as (NAT64|6to4), from the VM`, `IP in IP by way of an internet host, to the VM`,
	}},
	{policy: `offload = "pass"`, opens: []string{`checksum stored over .*`, `DHCP cut into fragments .*, to the gateway, from the VM`, `UDP cut into fragments of four bytes.*`, `DHCP release cut into fragments, from the VM`}},
	{policy: `ipv6 = "drop"`, closes: []string{allOfIPv6}},
	{policy: "isolate = true\ngateway_macs = [\"02:00:00:00:02:01\"]", closes: []string{nameServer}},
	{policy: `serve = ["tcp/443"]`, opens: []string{arpFromVM, arpToVM, linkScan, globalScan, ndFromVM, ndToVM}},
	{policy: "[[vm]]\nname = \"web-1\"\naddresses = [\"192.168.2.100\", \"2001:db8:2:0:5054:ff:fe00:1\"]", opens: []string{arpProbeToVM}},
	{policy: "[[vm]]\nname = \"web-1\"\naddresses = [\"192.168.2.100\", \"192.168.2.101\", \"2001:db8:2:0:5054:ff:fe00:1\", \"fe80::5054:ff:fe00:1\"]", opens: []string{arpProbeToVM}},
	{policy: `allow = ["router", "dns udp/53 tcp/53", "broadcast"]`, closes: []string{`UDP to the gateway, link-local, from the VM`}},
	{policy: `allow = ["gateway", "dns", "broadcast udp/9"]`, opens: []string{limited, directed}},
	{policy: `allow = ["gateway", "dns", "broadcast", "224.0.0.251 udp/5353", "ff02::fb udp/5353"]`, opens: []string{mDNS, `IPv[46] multicast of a denied host, to the VM`}},
	{policy: `allow = ["gateway", "dns", "broadcast", "192.168.2.77 tcp/22", "fe80::77 tcp/22"]`, opens: []string{
		`TCP (over IPv6 )?to a denied host(, link-local)?, from the VM`, `ARP (scan|scan, each host by itself|for a denied.*|reply to a denied.*), from the VM`, arpToVM, linkScan, ndFromVM, rsFromVM, ndToVM,
	}},
}
