package libvirt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"macvtap-filter/internal/libvirt/rpc"
)

const (
	bound = 5 * time.Minute // ends what hangs, however busy the machine is
	brief = 50 * time.Millisecond
)

// A VM that something keeps busy is no other's failure.
func TestClientOfSlowVM(t *testing.T) {
	d := startDaemon(t)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	c, err := Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	short, cancel := context.WithTimeout(ctx, brief) // meant to be over
	defer cancel()
	if _, err := c.LiveXML(short, "h"); !errors.Is(err, ErrSlow) {
		t.Errorf("of a VM that hangs: %v, want %v", err, ErrSlow)
	}
	if xml, err := c.LiveXML(ctx, "a"); err != nil || xml != "<domain>a</domain>" {
		t.Errorf("of another: %q, %v", xml, err)
	}
	for name, want := range map[string]error{"x": ErrUnknown, "o": ErrNotRunning} {
		if _, err := c.LiveXML(ctx, name); !errors.Is(err, want) {
			t.Errorf("of %s: %v, want %v", name, err, want)
		}
	}
	names, err := c.Running(ctx)
	if err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("running: %v, %v", names, err)
	}
	close(d.let)
}

// A listener asks after other VMs meanwhile, and is told of the slow one when libvirt can
// say what it is.
func TestListenerOfSlowVM(t *testing.T) {
	d := startDaemon(t)
	l := listener(t)
	if _, err := l.LiveXML(uuidOf("h"), brief); !errors.Is(err, ErrSlow) {
		t.Errorf("of a VM that hangs: %v, want %v", err, ErrSlow)
	}
	for range 10 { // much happens to it meanwhile
		if _, err := l.LiveXML(uuidOf("h"), brief); !errors.Is(err, ErrSlow) {
			t.Errorf("of a VM that hangs on: %v, want %v", err, ErrSlow)
		}
	}
	if xml, err := l.LiveXML(uuidOf("a"), bound); err != nil || xml != "<domain>a</domain>" {
		t.Errorf("of another: %q, %v", xml, err)
	}
	for _, name := range []string{"x", "o"} {
		if _, err := l.LiveXML(uuidOf(name), bound); !errors.Is(err, ErrGone) {
			t.Errorf("of %s: %v, want %v", name, err, ErrGone)
		}
	}
	uuids, err := l.Running(bound)
	if err != nil || !slices.Equal(uuids, []string{uuidOf("b"), uuidOf("a")}) {
		t.Errorf("running: %v, %v", uuids, err)
	}
	select {
	case uuid := <-l.Changed():
		t.Errorf("told of %s, of which nothing is known yet", uuid)
	default:
	}
	close(d.let)
	select {
	case uuid := <-l.Changed():
		if uuid != uuidOf("h") {
			t.Errorf("told of %s, want the VM that was slow", uuid)
		}
	case <-time.After(bound):
		t.Error("never told of the VM that was slow")
	}
}

// However many events come while nobody asks for them, calls are answered, and each VM
// is told of: who follows the VMs does both, one after the other.
func TestListenerOfManyEvents(t *testing.T) {
	d := startDaemon(t)
	l := listener(t)
	const vms = 1_000
	for i := range 3 * vms {
		d.start(fmt.Sprint("vm", i%vms))
	}
	if _, err := l.LiveXML(uuidOf("a"), bound); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for len(told) < vms {
		select {
		case uuid := <-l.Changed():
			told[uuid] = true
		case <-time.After(bound):
			t.Fatalf("told of %d VMs, want %d", len(told), vms)
		}
	}
	for i := range vms {
		if name := fmt.Sprint("vm", i); !told[uuidOf(name)] {
			t.Errorf("%s is not told of", name)
		}
	}
}

// A daemon that tells of more VMs than can run is listened to no more.
func TestListenerOfRubbish(t *testing.T) {
	d := startDaemon(t)
	l := listener(t)
	go func() {
		for i := range 3 * rpc.MaxDomains {
			d.start(fmt.Sprint("vm", i))
		}
	}()
	select {
	case <-l.Ended():
	case <-time.After(bound):
		t.Fatal("it listens on and on")
	}
}

func listener(t *testing.T) *Listener {
	t.Helper()
	l, err := Listen(bound)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}
