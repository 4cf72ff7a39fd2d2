package watch

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/patience"
)

// Files are read a moment after something happened to them, once for what happens
// together. The configuration must be the same for a second, and nobody may have it open
// to write to it: half a file may well be right, and open more than the whole.
const (
	debounce = 100 * time.Millisecond
	calm     = time.Second
)

// A text is what was read of a configuration.
type text struct {
	config.Text
	err error
}

func readText(file string) text {
	read, err := config.Read(file)
	return text{read, err}
}

// parse gives the configuration that was read.
func (t text) parse() (*config.Config, error) {
	if t.err != nil {
		return nil, t.err
	}
	return t.Parse()
}

// same reports whether two readings read the same.
func (t text) same(o text) bool {
	return t.Equal(o.Text) && fmt.Sprint(t.err) == fmt.Sprint(o.err)
}

// filesOf gives a configuration's file and those beside it, as far as they can be found.
func filesOf(file string) []string {
	beside, _ := config.Beside(file)
	return append([]string{file}, beside...)
}

// anyWritten reports whether one of the configuration's files is being written.
func anyWritten(file string) bool { return slices.ContainsFunc(filesOf(file), beingWritten) }

// readFirst reads the configuration when watch starts.
func readFirst(ctx context.Context, file string) text {
	for end := time.Now().Add(patience.Write); anyWritten(file) && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(debounce)
	}
	return readText(file)
}

// A configReader says when there is another configuration.
type configReader struct {
	file    string
	folders *folders

	taken text // what was told last

	next   text      // what may be told next
	since  time.Time // when that was first read, zero for nothing
	forced bool      // somebody asked for it, whether it is another or not
}

// read reads the file. It gives how long to wait before it is read again, 0 for until
// something happens, and what to tell, if anything.
func (c *configReader) read(now time.Time) (again time.Duration, tell *text) {
	c.follow()
	read, written := readText(c.file), anyWritten(c.file)
	switch {
	case !written && read.same(c.taken) && !c.forced:
		c.since = time.Time{}
		return 0, nil
	case written, c.since.IsZero(), !read.same(c.next):
		c.next, c.since = read, now
		if written || !read.same(c.taken) {
			return calm, nil
		}
	case now.Sub(c.since) < calm:
		return calm - now.Sub(c.since), nil
	}
	c.taken, c.since, c.forced = read, time.Time{}, false
	return 0, &read
}

// follow has the folders tell in which the files are by links, and the one beside the file,
// which may have come only now.
func (c *configReader) follow() {
	_ = c.folders.add(filepath.Join(filepath.Dir(c.file), config.Folder)) // few have it
	for _, file := range filesOf(c.file) {
		if real, err := filepath.EvalSymlinks(file); err == nil {
			_ = c.folders.add(filepath.Dir(real)) // it may have gone since
		}
	}
}

// listenFiles tells when the configuration or the host's name servers change. Folders are
// watched, not files, since files are replaced. Whatever happens in the configuration's
// may be about it: it may be a link, or below one.
func listenFiles(ctx context.Context, configFile string, taken text, reload <-chan struct{}, tell func(event)) error {
	folders, err := openFolders(ctx)
	if err != nil {
		return err
	}
	if err := folders.add(filepath.Dir(configFile)); err != nil {
		return fmt.Errorf("watch the folder of the configuration: %w", err)
	}
	for _, folder := range []string{"/etc", "/run/systemd/resolve"} {
		_ = folders.add(folder) // not every host has both
	}
	c := &configReader{file: configFile, folders: folders, taken: taken}
	go func() {
		look, facts := time.After(0), (<-chan time.Time)(nil) // it may have changed since it was read
		for {
			select {
			case name, open := <-folders.names:
				if !open {
					return
				}
				if look == nil {
					look = time.After(debounce)
				}
				if facts == nil && (name == "resolv.conf" || name == lost) {
					facts = time.After(debounce)
				}
			case <-reload:
				c.forced, look = true, time.After(0)
			case now := <-look:
				look = nil
				again, read := c.read(now)
				if again > 0 {
					look = time.After(again)
				}
				if read != nil {
					tell(func(w *watcher) { w.reload(*read) })
				}
			case <-facts:
				facts = nil
				tell(func(w *watcher) { w.look.facts = true })
			}
		}
	}()
	return nil
}
