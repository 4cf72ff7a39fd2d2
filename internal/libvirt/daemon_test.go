package libvirt

import (
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"macvtap-filter/internal/libvirt/daemon"
)

// A fakeDaemon answers for VMs whose names are letters, and whose UUIDs begin with their
// names. It keeps the answer about one that hangs until it is let go, and reads nothing
// more while it owes as many answers as libvirt's owes at most.
type fakeDaemon struct {
	hanging string
	let     chan struct{}

	mu       sync.Mutex
	conn     net.Conn
	metadata string // what was set last, as it came
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
		call, err := daemon.Read(d.conn)
		if err != nil {
			return
		}
		if (call.Procedure == daemon.GetXML || call.Procedure == daemon.SetMetadata) && string(call.Arguments[4:5]) == d.hanging {
			owed <- true
			go func() {
				<-d.let
				<-owed
				d.send(call.Answer(d.result(call)))
			}()
			continue
		}
		d.send(call.Answer(d.result(call)))
	}
}

// result is what a call gives, or how it fails.
func (d *fakeDaemon) result(call daemon.Call) (result []byte, failed bool) {
	switch call.Procedure {
	case daemon.AuthList:
		return daemon.Words(1, 0), false
	case daemon.LookupByUUID, daemon.LookupByName:
		name := string(call.Arguments[:1])
		if call.Procedure == daemon.LookupByName {
			name = string(call.Arguments[4:5])
		}
		if name == "x" {
			return append(daemon.Words(42, 10, 1), daemon.Text("Domain not found")...), true
		}
		return vm(name), false
	case daemon.IsActive:
		if string(call.Arguments[4:5]) == "o" { // off
			return daemon.Words(0), false
		}
	case daemon.GetXML:
		return daemon.Text("<domain>" + string(call.Arguments[4:5]) + "</domain>"), false
	case daemon.SetMetadata:
		if string(call.Arguments[4:5]) == "o" {
			return append(daemon.Words(55, 10, 1), daemon.Text("domain is not running")...), true
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.metadata = string(call.Arguments[8+16+4:])
		return nil, false
	case daemon.ListAll:
		return slices.Concat(daemon.Words(2), vm("b"), vm("a"), daemon.Words(2)), false
	}
	return daemon.Words(1), false
}

func (d *fakeDaemon) send(message []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.conn.SetWriteDeadline(time.Now().Add(bound))
	if _, err := d.conn.Write(message); err != nil {
		d.conn.Close() // who goes early goes early
	}
}

// start tells that a VM started.
func (d *fakeDaemon) start(name string) {
	d.send(daemon.Message(daemon.Words(0, 0x20008086, 1, daemon.Lifecycle, 2, 0, 0), slices.Concat(daemon.Words(1), vm(name), daemon.Words(2, 0))))
}

func vm(name string) []byte {
	var uuid [16]byte
	copy(uuid[:], name)
	return daemon.VM(name, uuid, 7)
}

// uuidOf is the UUID of the VM of a name.
func uuidOf(name string) string {
	var uuid [16]byte
	copy(uuid[:], name)
	return formatUUID(uuid)
}
