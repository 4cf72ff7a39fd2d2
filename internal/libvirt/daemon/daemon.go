// Package daemon speaks libvirtd's side of libvirt's protocol (src/rpc/virnetprotocol.x and
// src/remote/remote_protocol.x), for tests and benchmarks that have no libvirt.
package daemon

import (
	"encoding/binary"
	"io"
)

// Procedures that clients call.
const (
	Open         = 1
	Close        = 2
	GetXML       = 14
	LookupByName = 23
	LookupByUUID = 24
	AuthList     = 66
	IsActive     = 150
	SetMetadata  = 264
	ListAll      = 273
	Lifecycle    = 318
)

// headerSize is that of a message's length and header.
const headerSize = 28

// A Call is one that a client made.
type Call struct {
	Procedure uint32
	Arguments []byte
	header    []byte
}

// Read reads the next call.
func Read(r io.Reader) (Call, error) {
	c := Call{header: make([]byte, headerSize)}
	if _, err := io.ReadFull(r, c.header); err != nil {
		return c, err
	}
	c.Procedure = binary.BigEndian.Uint32(c.header[12:])
	c.Arguments = make([]byte, max(binary.BigEndian.Uint32(c.header), headerSize)-headerSize)
	_, err := io.ReadFull(r, c.Arguments)
	return c, err
}

// Answer gives the message that answers the call: its result, or an error.
func (c Call) Answer(result []byte, failed bool) []byte {
	binary.BigEndian.PutUint32(c.header[16:], 1) // an answer
	if failed {
		binary.BigEndian.PutUint32(c.header[24:], 1)
	}
	return Message(c.header, result)
}

// Message gives a message with its length, which takes the header's first word.
func Message(header, payload []byte) []byte {
	binary.BigEndian.PutUint32(header, uint32(headerSize+len(payload)))
	return append(header, payload...)
}

// Words writes numbers as XDR does (RFC 4506, 4.2).
func Words(of ...uint32) (out []byte) {
	for _, n := range of {
		out = binary.BigEndian.AppendUint32(out, n)
	}
	return out
}

// Text writes a string (RFC 4506, 4.11).
func Text(s string) []byte {
	return append(append(Words(uint32(len(s))), s...), make([]byte, -len(s)&3)...)
}

// VM writes a running VM's name, UUID and number: remote_nonnull_domain.
func VM(name string, uuid [16]byte, id uint32) []byte {
	return append(append(Text(name), uuid[:]...), Words(id)...)
}
