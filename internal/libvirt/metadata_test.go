package libvirt

import (
	"context"
	"errors"
	"slices"
	"testing"

	"macvtap-filter/internal/libvirt/daemon"
)

// What is set in a VM's metadata is set in what runs alone, and one that something keeps busy is
// given up.
func TestSetMetadata(t *testing.T) {
	for name, want := range map[string]error{"a": nil, "x": ErrGone, "o": ErrGone, "h": ErrSlow} {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t)
			patience := bound
			if name == d.hanging {
				defer close(d.let)
				patience = brief // meant to be over
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := SetMetadata(ctx, uuidOf(name), "k", "urn:x", "<a/>")
			if !errors.Is(err, want) {
				t.Fatalf("the error is %v, want %v", err, want)
			}
			if want != nil {
				return
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			// An element, with its prefix and namespace, of what runs.
			call := string(slices.Concat(daemon.Words(2, 1), daemon.Text("<a/>"), daemon.Words(1), daemon.Text("k"), daemon.Words(1), daemon.Text("urn:x"), daemon.Words(1)))
			if d.metadata != call {
				t.Errorf("set: %q, want %q", d.metadata, call)
			}
		})
	}
}
