package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"macvtap-filter/internal/libvirt/rpc"
)

// ErrGone says that the daemon knows no running VM of that UUID.
var ErrGone = errors.New("not running")

// A Listener is a connection to the daemon that stays open and tells of VMs.
type Listener struct {
	rpc     *rpc.Conn
	conn    net.Conn
	changed chan string
	closed  context.Context // ends with Close
	stop    context.CancelFunc

	mu   sync.Mutex
	news map[string]bool // UUIDs not told yet, each once, however much happens to the VM
	come chan struct{}   // holds one when there are any
	slow map[string]bool // UUIDs of VMs of which the daemon still owes an answer
}

// events are those after which a VM's direct interfaces or its policy may be
// others: it started or stopped, got or lost a device, or its <metadata> changed.
var events = []rpc.Event{rpc.Lifecycle, rpc.DeviceAdded, rpc.DeviceRemoved, rpc.MetadataChange}

// Listen connects to the first socket that answers, within patience, and listens to
// the daemon's events. What changes after its return is told.
func Listen(patience time.Duration) (*Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	l := &Listener{conn: conn, changed: make(chan string), news: map[string]bool{}, slow: map[string]bool{}, come: make(chan struct{}, 1)}
	l.closed, l.stop = context.WithCancel(context.Background())
	if err := l.listen(ctx); err != nil {
		l.stop()
		return nil, fmt.Errorf("libvirt: %s: %w", conn.RemoteAddr(), err)
	}
	go l.tell()
	return l, nil
}

func (l *Listener) listen(ctx context.Context) error {
	c, err := rpc.Open(ctx, l.conn, uri, func(vm rpc.Domain) { l.note(formatUUID(vm.UUID)) })
	if err != nil {
		return err
	}
	for _, e := range events {
		if err := c.Subscribe(ctx, e); err != nil {
			c.Cut()
			return err
		}
	}
	l.rpc = c
	return nil
}

// note keeps that a VM changed until somebody asks. It does not wait: what comes over
// the connection after an event is an answer that the same somebody may wait for.
func (l *Listener) note(uuid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.news[uuid] = true
	if len(l.news) > rpc.MaxDomains {
		l.conn.Close() // so many cannot run; who listens anew asks after those that do
	}
	select {
	case l.come <- struct{}{}:
	default:
	}
}

// tell says which VMs changed.
func (l *Listener) tell() {
	for {
		select {
		case <-l.come:
		case <-l.closed.Done():
			return
		}
		for uuid := range l.take() {
			select {
			case l.changed <- uuid:
			case <-l.closed.Done():
				return
			}
		}
	}
}

func (l *Listener) take() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	news := l.news
	l.news = map[string]bool{}
	return news
}

// Changed gives the UUIDs of VMs that changed, in lower case with hyphens.
func (l *Listener) Changed() <-chan string { return l.changed }

// Ended is closed when the connection is lost.
func (l *Listener) Ended() <-chan struct{} { return l.rpc.Ended() }

// Close ends the connection.
func (l *Listener) Close() {
	l.stop()
	l.rpc.Cut()
}

// Running gives the UUIDs of the running VMs.
func (l *Listener) Running(patience time.Duration) (uuids []string, err error) {
	ctx, cancel := context.WithTimeout(l.closed, patience)
	defer cancel()
	domains, err := l.rpc.Domains(ctx, rpc.Active)
	if err != nil {
		return nil, fmt.Errorf("libvirt: list the running VMs: %w", err)
	}
	for _, d := range domains {
		uuids = append(uuids, formatUUID(d.UUID))
	}
	return uuids, nil
}

// LiveXML gives the XML of a running VM as it is now; ErrGone when there is none, and
// ErrSlow when the daemon cannot say, since something else keeps that VM busy. The VM is
// told as changed when it can. Until then the daemon is not asked again: it takes five
// questions at a time (max_client_requests in libvirt's src/remote/libvirtd.conf.in), and
// so many about one VM would keep those about others waiting.
func (l *Listener) LiveXML(uuid string, patience time.Duration) (string, error) {
	type answer struct {
		xml string
		err error
	}
	if l.isSlow(uuid) {
		return "", fmt.Errorf("VM %s: libvirt: %w", uuid, ErrSlow)
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
		l.setSlow(uuid, true)
		go func() {
			<-answers
			l.setSlow(uuid, false)
			l.note(uuid)
		}()
		return "", fmt.Errorf("VM %s: libvirt: %w (%s)", uuid, ErrSlow, patience)
	}
}

func (l *Listener) isSlow(uuid string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slow[uuid]
}

func (l *Listener) setSlow(uuid string, slow bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slow {
		l.slow[uuid] = true
	} else {
		delete(l.slow, uuid)
	}
}

// liveXML waits as long as the daemon takes.
func (l *Listener) liveXML(uuid string) (string, error) {
	id, err := parseUUID(uuid)
	if err != nil {
		return "", err
	}
	d, err := l.rpc.LookupByUUID(l.closed, id)
	if err != nil {
		return "", gone(err)
	}
	active, err := l.rpc.IsActive(l.closed, d)
	if err != nil {
		return "", gone(err)
	}
	if !active {
		return "", ErrGone
	}
	xml, err := l.rpc.XML(l.closed, d)
	return xml, gone(err)
}

// gone has a VM that the daemon knows no more be ErrGone.
func gone(err error) error {
	if errors.Is(err, rpc.ErrNoDomain) {
		return ErrGone
	}
	return err
}
