package prove

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/ruleset"
)

// A Spec is what a configuration and the facts promise of an interface's frames, read off the
// reference of the configuration. It shares no code with what makes the rules.
type Spec struct {
	Policy config.Policy
	Facts  facts.Facts
	MAC    net.HardwareAddr
}

// A Property is something that holds for all frames: Broken gives those for which it does not.
type Property struct {
	Name   string
	Broken Bit
}

// The addresses that no host of the internet has (RFC 1122, 3.2.1.3; RFC 3927; RFC 1112;
// RFC 4291), and those of IPv6 that stand for ones of IPv4 (RFC 3056, RFC 4380, RFC 6052, RFC 8215).
var (
	nobodys4   = prefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
	nobodys6   = prefixes("::/16", "ff00::/8")
	standsFor4 = prefixes("64:ff9b::/32", "2001::/32", "2002::/16")
	privates   = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
)

// carriers are protocols that carry other datagrams, or frames.
var carriers = []byte{4, 41, 47, 55, 94, 97, 98, 103, 115, 137, 143, 145}

func prefixes(all ...string) []netipx.IPRange {
	var out []netipx.IPRange
	for _, p := range all {
		out = append(out, netipx.RangeOfPrefix(netip.MustParsePrefix(p)))
	}
	return out
}

// peers gives the addresses of an entry.
func (s Spec) peers(e config.Entry) []netipx.IPRange {
	var out []netipx.IPRange
	one := func(all []netip.Addr) {
		for _, a := range all {
			out = append(out, netipx.IPRangeFrom(a, a))
		}
	}
	switch e.Word {
	case "":
		return []netipx.IPRange{e.Range}
	case config.Gateway, config.Router:
		one(s.Facts.Gateway)
	case config.DNS:
		one(s.Facts.DNS)
	case config.Broadcast:
		one(s.Facts.Broadcast)
	case config.Private:
		return privates
	case config.OnLink:
		for _, p := range s.Facts.OnLink {
			out = append(out, netipx.RangeOfPrefix(p.Masked()))
		}
	}
	return out
}

// in gives whether an address, of either family by its size, lies in ranges.
func (f *Frame) in(address Word, all []netipx.IPRange) Bit {
	out := False
	for _, r := range all {
		if r.From().BitLen() != len(address) {
			continue
		}
		if p, ok := r.Prefix(); ok {
			out = f.Or(out, f.Equal(address[:p.Bits()], Bytes(p.Addr().AsSlice())[:p.Bits()]))
		} else {
			out = f.Or(out, f.Within(address, Bytes(r.From().AsSlice()), Bytes(r.To().AsSlice())))
		}
	}
	return out
}

// denied gives whether deny holds an address, or no host of the internet has it.
func (s Spec) denied(f *Frame, address Word) Bit {
	out := f.Or(f.in(address, nobodys4), f.in(address, nobodys6))
	if !s.Policy.PassTunnels {
		out = f.Or(out, f.in(address, standsFor4))
	}
	for _, e := range s.Policy.Deny {
		out = f.Or(out, f.in(address, s.peers(e)))
	}
	return out
}

// isRouter, hasServices and whole tell the entries of allow apart.
func isRouter(e config.Entry) bool { return e.Word == config.Router }

func whole(e config.Entry) bool {
	return len(e.Services) == 0 && e.Word != config.Router && e.Word != config.Broadcast
}

// allowed gives whether an entry of a kind in allow holds an address.
func (s Spec) allowed(f *Frame, address Word, kind func(config.Entry) bool) Bit {
	out := False
	for _, e := range s.Policy.Allow {
		if kind(e) {
			out = f.Or(out, f.in(address, s.peers(e)))
		}
	}
	return out
}

// service gives whether a datagram is of a service that allow names for an address, by its
// port at the peer, for which it has so many bytes of the transport header.
func (s Spec) service(f *Frame, address, port Word, has int) Bit {
	out := False
	for _, e := range s.Policy.Allow {
		services := e.Services
		if isRouter(e) { // DHCP, whatever else
			services = append([]config.Service{{Proto: 17, From: 67, To: 67}, {Proto: 17, From: 547, To: 547}}, services...)
		}
		out = f.Or(out, f.And(f.in(address, s.peers(e)), f.ofService(services, port)))
	}
	return f.And(out, f.reads(has))
}

func (f *Frame) ofService(all []config.Service, port Word) Bit {
	out := False
	for _, s := range all {
		out = f.Or(out, f.And(f.Is(f.L4, uint64(s.Proto)), f.Within(port, Constant(uint64(s.From), 16), Constant(uint64(s.To), 16))))
	}
	return out
}

// hasPorts gives whether the ports of a datagram are there to be read, in a header that is
// whole: shorter ones no receiver takes.
func (f *Frame) hasPorts() Bit { return f.And(f.Valid, f.Later.Not(), f.HasTransport(8)) }

// reads gives whether rules can read so many bytes of the transport header, if it is one.
func (f *Frame) reads(n int) Bit { return f.And(f.Valid, f.Later.Not(), f.HasTransport(n)) }

func (f *Frame) sourcePort() Word { return join(f.Transport(0), f.Transport(1)) }

func (f *Frame) destinationPort() Word { return join(f.Transport(2), f.Transport(3)) }

// icmp gives whether a datagram is a message of ICMP or ICMPv6 of some types.
func (f *Frame) icmp(l4 byte, types ...byte) Bit {
	return f.And(f.Valid, f.Later.Not(), f.Is(f.L4, uint64(l4)), f.HasTransport(1), f.Among(f.Transport(0), types...))
}

func (f *Frame) is(etherType uint16) Bit { return f.Is(f.Type(), uint64(etherType)) }

// fromTo gives whether a datagram is of UDP, from and to some ports.
func (f *Frame) fromTo(from, to int) Bit {
	return f.And(f.reads(4), f.Is(f.L4, 17), f.Is(f.sourcePort(), uint64(from)), f.Is(f.destinationPort(), uint64(to)))
}

// Properties gives what the rules of a judgement promise.
func (s Spec) Properties(j *Judgement) []Property {
	var out []Property
	add := func(name string, holds Bit) {
		out = append(out, Property{name, j.And(j.Passes, holds.Not())})
	}
	add("frame kinds", s.kinds(j))
	if j.Hook == ruleset.Egress {
		s.fromVM(j, add)
	} else {
		s.toVM(j, add)
	}
	return out
}

// kinds are those of which a frame passes.
func (s Spec) kinds(j *Judgement) Bit {
	v6 := j.is(ruleset.EtherTypeIPv6)
	if s.Policy.DropIPv6 {
		v6 = False
	}
	out := j.Or(j.is(ruleset.EtherTypeIPv4), j.is(ruleset.EtherTypeARP), v6)
	for _, kind := range s.Policy.EtherTypes {
		out = j.Or(out, j.is(kind))
	}
	if j.Hook == ruleset.Egress {
		out = j.Or(out, s.moved(j))
	}
	return out
}

// moved gives what QEMU sends where a VM has moved: reverse ARP of its own MAC address to all.
func (s Spec) moved(j *Judgement) Bit {
	mac := Bytes(s.MAC)
	own := func(at int) Bit { return j.And(j.Has(at+6), j.Equal(j.Network(at, 6), mac)) }
	return j.And(j.is(0x8035), j.Is(j.Destination(), 1<<48-1), own(8), own(18), j.Is(j.Network(0, 8), 0x0001080006040003))
}

// Own gives whether the sets have an address for the VM's own, when the frame was judged.
func (s Spec) own(j *Judgement, address Word) Bit {
	set := "nic-addresses-ipv4"
	if len(address) == 128 {
		set = "nic-addresses-ipv6"
	}
	out := False
	for _, known := range j.table.Sets {
		if known.Name == set {
			out = j.Holds(set, append(Bytes(j.device), address...))
		}
	}
	for _, p := range s.Policy.Prefixes {
		out = j.Or(out, j.in(address, []netipx.IPRange{netipx.RangeOfPrefix(p)}))
	}
	return out
}

// knowsOwn reports whether a family's addresses are the VM's own or spoofed: they are named,
// or learned.
func (s Spec) knowsOwn(ipv4 bool) bool {
	return !s.Policy.PassSpoofing && (s.Policy.Names(ipv4) || s.Policy.Learn != config.LearnOff)
}

// others gives the addresses that are others' for certain: gateways, broadcast addresses,
// single ones that are allowed, and name servers that are, in whatever way.
func (s Spec) others() []netipx.IPRange {
	var out []netipx.IPRange
	add := func(a netip.Addr) {
		if a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && !a.IsMulticast() && !slices.Contains(s.Policy.Addresses, a) {
			out = append(out, netipx.IPRangeFrom(a, a))
		}
	}
	for _, a := range slices.Concat(s.Facts.Gateway, s.Facts.Broadcast) {
		add(a)
	}
	for _, e := range s.Policy.Allow {
		for _, r := range s.peers(e) {
			if r.From() == r.To() && e.Word != config.Broadcast {
				add(r.From())
			}
			for _, server := range s.Facts.DNS {
				if r.Contains(server) {
					add(server)
				}
			}
		}
	}
	return out
}

// router gives whether a MAC address is a router's of the family, as the rules know them.
func (s Spec) router(j *Judgement, mac Word, ipv4 bool) Bit {
	set := "nic-routers-ipv4"
	if !ipv4 {
		set = "nic-routers-ipv6"
	}
	for _, known := range j.table.Sets {
		if known.Name == set {
			return j.Holds(set, append(Bytes(j.device), mac...))
		}
	}
	return False
}

// gateways are the MAC addresses for isolate.
func (s Spec) gateways(f *Frame, mac Word) Bit {
	all := s.Policy.GatewayMACs
	if len(all) == 0 {
		for _, m := range s.Facts.GatewayMACs {
			all = append(all, net.HardwareAddr(m))
		}
	}
	out := False
	for _, m := range all {
		out = f.Or(out, f.Equal(mac, Bytes(m)))
	}
	return out
}

// beyondLink gives whether an address is a host's of another network; known is false where
// the host knows no prefix of the family's link, or the rules ask for no router.
func (s Spec) beyondLink(f *Frame, address Word) (is Bit, known bool) {
	link := prefixes("fe80::/10", "224.0.0.0/3", "ff00::/8")
	for _, p := range s.Facts.OnLink {
		if p.Addr().BitLen() == len(address) {
			known = true
			link = append(link, netipx.RangeOfPrefix(p.Masked()))
		}
	}
	return f.in(address, link).Not(), known && s.denies(len(address)) && !s.Policy.AnyNextHop && !s.Policy.Isolate
}

// denies reports whether deny holds any address of a family, by how many bits one has.
func (s Spec) denies(bits int) bool {
	return slices.ContainsFunc(s.Policy.Deny, func(e config.Entry) bool {
		return slices.ContainsFunc(s.peers(e), func(r netipx.IPRange) bool { return r.From().BitLen() == bits })
	})
}

// broadcasts are the link's broadcast addresses.
func (s Spec) broadcasts() []netipx.IPRange {
	return s.peers(config.Entry{Word: config.Broadcast})
}

// Kept gives what is true of what the sets hold at any time: of addresses of the VM's own, and
// of routers.
func (s Spec) kept(f *Frame, set string, key Word) Bit {
	value := key[32:]
	switch set {
	case "nic-addresses-ipv4":
		return f.Or(f.in(value, s.others()), f.in(value, nobodys4)).Not()
	case "nic-addresses-ipv6", "nic-probed-ipv6":
		return f.Or(f.in(value, s.others()), f.in(value, nobodys6)).Not()
	case "passed-ipv4", "passed-ipv6":
		return s.denied(f, key[:len(key)-64]).Not()
	case "nic-routers-ipv4", "nic-routers-ipv6":
		return value[7].Not()
	}
	return True
}

// Kept gives that the sets hold at first only what they ever hold (see Filled).
func (s Spec) Kept(j *Judgement) Bit {
	out := True
	for _, a := range j.sets.asked {
		if len(a.key) > 32 {
			out = j.And(out, j.Implies(a.is, s.kept(j.Frame, a.set.Name, a.key)))
		}
		if flows, key := flowOf(a.set.Name, a.key); flows != "" {
			out = j.And(out, j.Implies(a.is, j.sets.has(j.Circuit, j.set(flows), key)))
		}
	}
	return out
}

// flowOf gives the set of connections that stand, and the key in it, of one that passed just now.
func flowOf(set string, key Word) (flows string, of Word) {
	if family, ok := strings.CutPrefix(set, "passed-"); ok {
		return "nic-flows-tcp-" + family, join(key[len(key)-32:], key[:len(key)-32])
	}
	return "", nil
}

// Remembered gives the frames after which a connection is held for one that passed just now, and
// stands no more.
func (s Spec) Remembered(j *Judgement) []Property {
	var out []Property
	for _, family := range []string{"ipv4", "ipv6"} {
		set, broken := "passed-"+family, False
		if !slices.ContainsFunc(j.table.Sets, func(known ruleset.Set) bool { return known.Name == set }) {
			continue
		}
		for _, e := range j.events[set] {
			flows, key := flowOf(set, e.key)
			if e.is {
				broken = j.Or(broken, j.And(e.when, j.Holds(flows, key).Not()))
			}
		}
		for _, e := range j.events["nic-flows-tcp-"+family] {
			if !e.is {
				broken = j.Or(broken, j.And(e.when, j.Holds(set, join(e.key[32:], e.key[:32]))))
			}
		}
		out = append(out, Property{"connections that passed just now stand, " + family, broken})
	}
	return out
}

// Filled gives, for each rule that adds to a set of which something is kept, the frames for
// which it adds anything else.
func (s Spec) Filled(j *Judgement) []Property {
	var out []Property
	for _, set := range []string{"nic-addresses-ipv4", "nic-addresses-ipv6", "nic-probed-ipv6", "nic-routers-ipv4", "nic-routers-ipv6", "passed-ipv4", "passed-ipv6"} {
		broken := False
		for _, e := range j.events[set] {
			if e.is {
				broken = j.Or(broken, j.And(e.when, s.kept(j.Frame, set, e.key).Not()))
			}
		}
		out = append(out, Property{"what rules add to " + set, broken})
	}
	return append(out, s.flows(j)...)
}

// continues gives whether a datagram is a later fragment of one whose first one passed to, or
// from, that peer, as rules that track flows know it. Without that one nobody puts it together.
func (s Spec) continues(j *Judgement, peer Word) Bit {
	for _, known := range j.table.Sets {
		if known.Name == "nic-flows-fragments-ipv4" && len(peer) == 32 {
			return j.And(j.Or(j.Network(6, 2)[3:]...), j.Holds(known.Name, join(Bytes(j.device), peer, j.Network(4, 2))))
		}
	}
	return False
}
