package watch

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a file is left alone after a change: many editors write one in
// several steps.
const settle = 100 * time.Millisecond

// listenFiles tells when the configuration file or the host's name servers change.
// Folders are watched, not files, since files are replaced.
func listenFiles(ctx context.Context, configFile string, tell func(event)) error {
	notifier, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	context.AfterFunc(ctx, func() { notifier.Close() })
	configFile, err = filepath.Abs(configFile)
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	if err := notifier.Add(filepath.Dir(configFile)); err != nil {
		return fmt.Errorf("watch the folder of the configuration: %w", err)
	}
	for _, folder := range []string{"/etc", "/run/systemd/resolve"} {
		_ = notifier.Add(folder) // not every host has both
	}
	go func() {
		var reload, facts <-chan time.Time
		for {
			select {
			case e, open := <-notifier.Events:
				switch {
				case !open:
					return
				case e.Name == configFile:
					reload = time.After(settle)
				case filepath.Base(e.Name) == "resolv.conf":
					facts = time.After(settle)
				}
			case _, open := <-notifier.Errors:
				if !open {
					return
				}
				reload, facts = time.After(settle), time.After(settle) // events were lost
			case <-reload:
				reload = nil
				tell((*watcher).reload)
			case <-facts:
				facts = nil
				tell(func(w *watcher) { w.look.facts = true })
			}
		}
	}()
	return nil
}
