package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

// ErrSlow says that the daemon did not answer in time about a VM. The VM is told as
// changed when it does.
var ErrSlow = errors.New("no answer in time")

// ErrGone says that the daemon knows no running VM of that UUID.
var ErrGone = errors.New("not running")

// A Listener is a connection to the daemon that stays open and tells of VMs.
type Listener struct {
	rpc     *rpc.Libvirt
	conn    net.Conn
	changed chan string
	closed  context.Context // ends with Close
	stop    context.CancelFunc
}

// events are those after which a VM's direct interfaces or its policy may be
// others: it started or stopped, got or lost a device, or its <metadata> changed.
var events = []rpc.DomainEventID{
	rpc.DomainEventIDLifecycle, rpc.DomainEventIDDeviceAdded, rpc.DomainEventIDDeviceRemoved, rpc.DomainEventIDMetadataChange,
}

// Listen connects to the first socket that answers, within patience, and listens to
// the daemon's events. What changes after its return is told.
func Listen(patience time.Duration) (*Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	l := &Listener{rpc: rpc.NewWithDialer(dialers.NewAlreadyConnected(conn)), conn: conn, changed: make(chan string, 64)}
	l.closed, l.stop = context.WithCancel(context.Background())
	err = l.within(patience, func() error {
		if err := l.rpc.ConnectToURI(rpc.QEMUSystem); err != nil {
			return err
		}
		for _, id := range events {
			if err := l.subscribe(id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("libvirt: %s: %w", conn.RemoteAddr(), err)
	}
	return l, nil
}

func (l *Listener) subscribe(id rpc.DomainEventID) error {
	stream, err := l.rpc.SubscribeEvents(l.closed, id, nil)
	if err != nil {
		return err
	}
	go func() {
		for e := range stream {
			vm, ok := about(e)
			if !ok {
				continue
			}
			l.tell(formatUUID(vm.UUID))
		}
	}()
	return nil
}

// tell says that a VM changed.
func (l *Listener) tell(uuid string) {
	select {
	case l.changed <- uuid:
	case <-l.closed.Done():
	}
}

// about gives the VM that an event is about.
func about(event any) (vm rpc.Domain, ok bool) {
	switch e := event.(type) {
	case *rpc.DomainEventCallbackLifecycleMsg:
		return e.Msg.Dom, true
	case *rpc.DomainEventCallbackDeviceAddedMsg:
		return e.Dom, true
	case *rpc.DomainEventCallbackDeviceRemovedMsg:
		return e.Msg.Dom, true
	case *rpc.DomainEventCallbackMetadataChangeMsg:
		return e.Dom, true
	}
	return vm, false
}

// Changed gives the UUIDs of VMs that changed, in lower case with hyphens.
func (l *Listener) Changed() <-chan string { return l.changed }

// Ended is closed when the connection is lost.
func (l *Listener) Ended() <-chan struct{} { return l.rpc.Disconnected() }

// Close ends the connection.
func (l *Listener) Close() {
	l.stop()
	_ = l.conn.Close() // nothing is left undone
}

// Running gives the UUIDs of the running VMs.
func (l *Listener) Running(patience time.Duration) (uuids []string, err error) {
	err = l.within(patience, func() error {
		domains, _, err := l.rpc.ConnectListAllDomains(1, rpc.ConnectListDomainsActive)
		for _, d := range domains {
			uuids = append(uuids, formatUUID(d.UUID))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("libvirt: list the running VMs: %w", err)
	}
	return uuids, nil
}

// LiveXML gives the XML of a running VM as it is now; ErrGone when there is none, and
// ErrSlow when the daemon cannot say, since something else keeps that VM busy.
func (l *Listener) LiveXML(uuid string, patience time.Duration) (string, error) {
	type answer struct {
		xml string
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		xml, err := l.liveXML(uuid)
		answers <- answer{xml, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return "", fmt.Errorf("VM %s: libvirt: %w", uuid, a.err)
		}
		return a.xml, nil
	case <-time.After(patience):
		go func() {
			<-answers
			l.tell(uuid)
		}()
		return "", fmt.Errorf("VM %s: libvirt: %w (%s)", uuid, ErrSlow, patience)
	}
}

func (l *Listener) liveXML(uuid string) (string, error) {
	id, err := parseUUID(uuid)
	if err != nil {
		return "", err
	}
	d, err := l.rpc.DomainLookupByUUID(id)
	if rpc.IsNotFound(err) {
		return "", ErrGone
	}
	if err != nil {
		return "", err
	}
	active, err := l.rpc.DomainIsActive(d)
	if rpc.IsNotFound(err) || err == nil && active == 0 {
		return "", ErrGone
	}
	if err != nil {
		return "", err
	}
	xml, err := l.rpc.DomainGetXMLDesc(d, 0)
	if rpc.IsNotFound(err) {
		return "", ErrGone
	}
	return xml, err
}

// within bounds a call to the daemon. One that does not come back leaves the
// connection unusable, and ends it.
func (l *Listener) within(patience time.Duration, call func() error) error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		_ = l.conn.Close()
		return fmt.Errorf("no answer for %s", patience)
	}
}
