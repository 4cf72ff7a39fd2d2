package libvirt

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Procedures of libvirt's src/remote/remote_protocol.x.
const (
	getXML       = 14
	lookupByName = 23
	lookupByUUID = 24
	authList     = 66
	isActive     = 150
	listAll      = 273
	lifecycle    = 318
)

// A fakeDaemon answers for VMs whose names are letters, and whose UUIDs begin with their
// names. It keeps the answer about one that hangs until it is let go, and reads nothing
// more while it owes as many answers as libvirt's owes at most.
type fakeDaemon struct {
	hanging string
	let     chan struct{}

	mu   sync.Mutex
	conn net.Conn
}

// startDaemon has a daemon listen where daemons do, for one client.
func startDaemon(t *testing.T) *fakeDaemon {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "libvirt-sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	usual := sockets
	sockets = []string{filepath.Join(t.TempDir(), "none"), socket}
	d := &fakeDaemon{hanging: "h", let: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		d.conn = conn
		d.serve()
	}()
	t.Cleanup(func() {
		sockets = usual
		_ = listener.Close()
		<-ended // with its client, or without one
	})
	return d
}

func (d *fakeDaemon) serve() {
	const atOnce = 5                  // max_client_requests
	owed := make(chan bool, atOnce-1) // it waits with the last one in hand
	for {
		header := make([]byte, 28)
		if _, err := io.ReadFull(d.conn, header); err != nil {
			return
		}
		arguments := make([]byte, binary.BigEndian.Uint32(header)-28)
		if _, err := io.ReadFull(d.conn, arguments); err != nil {
			return
		}
		binary.BigEndian.PutUint32(header[16:], 1) // an answer
		procedure := binary.BigEndian.Uint32(header[12:])
		if procedure == getXML && string(arguments[4:5]) == d.hanging {
			owed <- true
			go func() {
				<-d.let
				<-owed
				d.send(header, d.result(header, procedure, arguments))
			}()
			continue
		}
		d.send(header, d.result(header, procedure, arguments))
	}
}

// result is what a call gives; a failure is marked in the header.
func (d *fakeDaemon) result(header []byte, procedure uint32, arguments []byte) []byte {
	switch procedure {
	case authList:
		return words(1, 0)
	case lookupByUUID, lookupByName:
		name := string(arguments[:1])
		if procedure == lookupByName {
			name = string(arguments[4:5])
		}
		if name == "x" {
			binary.BigEndian.PutUint32(header[24:], 1)
			return append(words(42, 10, 1), text("Domain not found")...)
		}
		return vm(name)
	case isActive:
		if string(arguments[4:5]) == "o" { // off
			return words(0)
		}
		return words(1)
	case getXML:
		return text("<domain>" + string(arguments[4:5]) + "</domain>")
	case listAll:
		return append(append(append(words(2), vm("b")...), vm("a")...), words(2)...)
	}
	return words(1)
}

func (d *fakeDaemon) send(header, payload []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	binary.BigEndian.PutUint32(header, uint32(28+len(payload)))
	_ = d.conn.SetWriteDeadline(time.Now().Add(bound))
	if _, err := d.conn.Write(append(header, payload...)); err != nil {
		d.conn.Close() // who goes early goes early
	}
}

// start tells that a VM started.
func (d *fakeDaemon) start(name string) {
	d.send(words(0, 0x20008086, 1, lifecycle, 2, 0, 0), append(append(words(1), vm(name)...), words(2, 0)...))
}

func words(of ...uint32) (out []byte) {
	for _, n := range of {
		out = binary.BigEndian.AppendUint32(out, n)
	}
	return out
}

func text(s string) []byte {
	return append(append(words(uint32(len(s))), s...), make([]byte, -len(s)&3)...)
}

func vm(name string) []byte {
	uuid := make([]byte, 16)
	copy(uuid, name)
	return append(append(text(name), uuid...), words(7)...)
}

// uuidOf is the UUID of the VM of a name.
func uuidOf(name string) string {
	var uuid [16]byte
	copy(uuid[:], name)
	return formatUUID(uuid)
}
