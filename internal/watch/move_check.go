package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/offload"
	"macvtap-filter/internal/patience"
)

// moveInterval is the pause after a device's check was moved: meanwhile the kernel let
// nobody change any network device, for some 10 ms.
const moveInterval = 100 * time.Millisecond

// moveCheck has the check of checksum offload cost the frames of one device less, the
// first that it was not tried for since rules were made for it; a hook has no time for
// that. It gives when the next one's turn is, nil when there is none.
func (w *watcher) moveCheck(ctx context.Context) <-chan time.Time {
	var next *device
	for _, d := range w.devices {
		if !d.checkMoved && (next == nil || d.Index < next.Index) {
			next = d
		}
	}
	if next == nil {
		return nil
	}
	next.checkMoved = true
	moved, err := moveToTCX(ctx, next.Index)
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(err, context.Canceled):
	case err != nil:
		w.Log(slog.LevelWarn, fmt.Sprintf("%s: %v; the check of checksum offload works, but costs each frame more time than it has to; nothing is open, and nothing has to be done", next, err), next.fields(journal.Advice))
	}
	if !moved {
		return time.After(0)
	}
	return time.After(moveInterval)
}

// moveToTCX moves the check while nobody else of this program attaches it, or takes it
// away.
func moveToTCX(ctx context.Context, index int) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience.Pass)
	defer cancel()
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	return offload.MoveToTCX(index)
}
