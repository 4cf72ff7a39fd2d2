package libvirt

import (
	"context"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// SocketEvents tells, until ctx ends, when something happens in the folder of the
// daemon's sockets: it may be there again. Where there is no such folder to watch,
// nothing is told.
func SocketEvents(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	notifier, err := fsnotify.NewWatcher()
	if err != nil {
		return out
	}
	context.AfterFunc(ctx, func() { notifier.Close() })
	folder := filepath.Dir(sockets[0])
	if notifier.Add(folder) != nil {
		_ = notifier.Add(filepath.Dir(folder)) // libvirt was never started yet
	}
	go func() {
		for e := range notifier.Events {
			if e.Name == folder && e.Has(fsnotify.Create) {
				_ = notifier.Add(folder)
			}
			if filepath.Dir(e.Name) != folder {
				continue
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}
