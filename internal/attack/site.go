// Package attack lists what a hostile VM, or a hostile host of its LAN, puts on
// the wire to reach whom it must not reach or to mislead whom it may: named frames,
// each with its source. Beside them it lists what an ordinary VM sends and
// receives, which nobody may stop. It builds bytes and sends nothing.
package attack

import (
	"net"
	"net/netip"
)

// A Host is one station of the LAN.
type Host struct {
	MAC  net.HardwareAddr
	IPv4 netip.Addr
	Link netip.Addr // IPv6, link-local
	IPv6 netip.Addr // global
}

// A Site says who is who in the frames.
type Site struct {
	VM      Host
	Gateway Host // allowed; the VM's router, and its DHCP server
	DNS     Host // allowed
	Victim  Host // denied
	LAN     netip.Prefix
	Web     Host // on the internet; frames for it carry the gateway's MAC address
}

// A Way is a direction of traffic.
type Way string

// The two ways.
const (
	FromVM Way = "from the VM"
	ToVM   Way = "to the VM"
)

// A Case is one attack, or one piece of ordinary traffic, of one or several frames.
type Case struct {
	Name   string
	Way    Way
	Source string // the CVE or RFC in which it is described
	Frames [][]byte

	// Requests are what the VM sends for the host to make Frames of, each with a
	// virtio header before it. Where there are none, it sends Frames as they are.
	Requests [][]byte

	// Reason is the one under which the default policy counts each frame that is
	// sent, without the direction: "arp-claim". It is "" for what must pass.
	Reason string

	// Also is the one on kernels that parse the frame otherwise, "" where all agree.
	Also string
}

// Sent is how many frames are sent.
func (c Case) Sent() int {
	if len(c.Requests) > 0 {
		return len(c.Requests)
	}
	return len(c.Frames)
}

// EUI64 gives the interface's own link-local address (RFC 4291, appendix A).
func EUI64(prefix netip.Addr, mac net.HardwareAddr) netip.Addr {
	a := prefix.As16()
	copy(a[8:], []byte{mac[0] ^ 0x02, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(a)
}

// A list is a list of cases under construction, with the first error in it.
type list struct {
	Site
	cases []Case
	err   error
}

func (l *list) fromVM(name, source, reason string, frames ...[]byte) {
	l.cases = append(l.cases, Case{Name: name, Way: FromVM, Source: source, Reason: reason, Frames: frames})
}

func (l *list) toVM(name, source, reason string, frames ...[]byte) {
	l.cases = append(l.cases, Case{Name: name, Way: ToVM, Source: source, Reason: reason, Frames: frames})
}

// Attacks lists what must not arrive under the default policy.
func Attacks(s Site) ([]Case, error) {
	l := &list{Site: s}
	l.plain()
	l.tags()
	l.kinds()
	l.short()
	l.ipv4()
	l.groups()
	l.arp()
	l.spoofed()
	l.dhcp()
	l.routers()
	l.neighbours()
	l.ipv6()
	l.tunnels()
	l.doors()
	l.private()
	l.sideDoors()
	l.client()
	l.sources()
	l.probes()
	l.inbound()
	l.offload()
	return l.cases, l.err
}

// Misdelivered lists what is for another's MAC address, and must not reach the VM under
// the default policy though its device has taken that address, or takes every frame.
func Misdelivered(s Site) ([]Case, error) {
	l := &list{Site: s}
	l.misdelivered()
	return l.cases, l.err
}

// Ordinary lists what must arrive under the default policy.
func Ordinary(s Site) ([]Case, error) {
	l := &list{Site: s}
	l.leases()
	l.resolution()
	l.internet()
	l.hearsay()
	l.announcements()
	l.offloads()
	return l.cases, l.err
}
