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
}

// Nothing is for calls that ask or answer nothing.
type Nothing struct{}
