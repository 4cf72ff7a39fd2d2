// Package guestrpc is what the tests and the agent in a guest say to each other: JSON-RPC, as net/rpc/jsonrpc speaks it,
// over a virtio serial port. Methods are called "Agent.Probe" and so on.
package guestrpc

import (
	"net/netip"
	"time"
)

// PortName is the name of the virtio serial port.
const PortName = "agent"

// EchoPort is the port on which the agent sends back every UDP datagram and what comes by TCP, on each NIC.
const EchoPort = 7

// A Probe asks for an answer from somebody on the network, through one NIC and no other.
type Probe struct {
	NIC string
	// Kind is "udp", "tcp" or "ping".
	Kind string
	// To is asked; ping takes no notice of the port. Link-local addresses need no zone.
	To netip.AddrPort
	// Token is what a datagram or ping carries, and what the answer must carry.
	Token string
	// Wait is how long to ask again until the answer is given up.
	Wait time.Duration
}

// An Answer tells how a probe went.
type Answer struct {
	Answered bool
	// Reason says why not.
	Reason string
}

// A Sight asks how many frames that carry a token a NIC has received, up to one that carries the token Until.
type Sight struct {
	NIC          string
	Token, Until string
}

// Raw is frames to send from a NIC as they are, Ethernet header included.
type Raw struct {
	NIC    string
	Frames [][]byte
	// VirtioHeaders says that each begins with a virtio header, which asks for checksums and segments.
	VirtioHeaders bool
}

// VirtioHeader is the length of such a header, in bytes.
const VirtioHeader = 10

// Heard asks which of these frames a NIC has received as they are, up to frames that carry each of the tokens in Until.
// The answer has a truth for each frame. What was received is forgotten then.
type Heard struct {
	NIC    string
	Frames [][]byte
	Until  []string
}

// A Question asks a name server for the addresses of a name. The answer is a list of them.
type Question struct {
	NIC    string
	Server netip.AddrPort
	Name   string
	Wait   time.Duration
}

// A Lease asks for an IPv4 address by DHCP. The answer is what the client came to know: a line as in
// "bound 192.168.2.9 192.168.2.1", the address and the server it is from.
type Lease struct {
	NIC string
	// Renew has the client that holds a lease already ask its server again.
	Renew bool
	// Wait is how long a lease may take: for a first one the client asks that often, once a second.
	Wait time.Duration
}

// A Transfer asks to send so many bytes of [Content] over a TCP connection, and to receive until its end.
type Transfer struct {
	NIC  string
	To   netip.AddrPort
	Size int64
	Seed byte
	// Wait is how long all of it may take.
	Wait time.Duration
}

// A Stream asks to send frames on a NIC, round and round, until it is told to stop.
type Stream struct {
	NIC    string
	Frames [][]byte
	// Hostile are frames that are counted if they come to the NIC meanwhile.
	Hostile [][]byte
	// Plugged says that the NIC may have yet to be plugged in. The stream begins as soon as the kernel has it.
	Plugged bool
}

// Streamed tells how many frames a stream has sent, and how many hostile ones have come.
type Streamed struct {
	Sent, Came int
}

// Plugged asks to wait for a NIC that is plugged in and to configure it, by a line as the guest's /nic.sh takes it.
type Plugged struct {
	NIC, Config string
	Wait        time.Duration
}

// Nothing is for calls that ask or answer nothing.
type Nothing struct{}
