package libvirt

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestHangs shows a daemon that takes connections and never answers: who asks it gives
// up when the context ends.
func TestHangs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "libvirt-sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	usual := sockets
	sockets = []string{socket}
	t.Cleanup(func() { sockets = usual })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond) // meant to be over
	defer cancel()
	asked := make(chan error, 1)
	go func() {
		_, err := Dial(ctx)
		asked <- err
	}()
	select {
	case err := <-asked:
		if !errors.Is(err, ErrSlow) {
			t.Errorf("the error is %v, want that no answer came", err)
		}
	case <-time.After(bound):
		t.Fatal("it waits on and on")
	}
	// On a busy machine the time is over before anybody has connected.
	over, cancel := context.WithDeadline(context.Background(), time.Now())
	defer cancel()
	if _, err := Dial(over); !errors.Is(err, ErrSlow) {
		t.Errorf("late from the start: the error is %v, want that no answer came", err)
	}
}
