package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// complete are the events after which a file may be whole: it was closed by who wrote it,
// put in its place, linked there, or taken away (inotify(7)). That somebody writes is none.
const complete = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE

// lost is told in place of a file's name when events were lost.
const lost = ""

// folders tell what becomes of the files in them.
type folders struct {
	inotify *os.File
	names   chan string // of files, without the folder
}

// openFolders begins to tell, until ctx ends. Nothing is told of a folder that was not
// added.
func openFolders(ctx context.Context) (*folders, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	f := &folders{os.NewFile(uintptr(fd), "inotify"), make(chan string)}
	context.AfterFunc(ctx, func() { f.inotify.Close() })
	go f.tell(ctx)
	return f, nil
}

// add has a folder tell, too.
func (f *folders) add(folder string) error {
	raw, err := f.inotify.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) {
		_, failure = unix.InotifyAddWatch(int(fd), folder, complete|unix.IN_ONLYDIR)
	})
	if err = errors.Join(err, failure); err != nil {
		return &fs.PathError{Op: "watch", Path: folder, Err: err}
	}
	return nil
}

// tell passes on what the kernel tells.
func (f *folders) tell(ctx context.Context) {
	defer close(f.names)
	buffer := make([]byte, 16<<10)
	for {
		n, err := f.inotify.Read(buffer)
		if err != nil {
			return
		}
		for rest := buffer[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			event := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0]))
			end := unix.SizeofInotifyEvent + int(event.Len)
			name := strings.TrimRight(string(rest[unix.SizeofInotifyEvent:end]), "\x00")
			if event.Mask&unix.IN_Q_OVERFLOW != 0 {
				name = lost
			}
			rest = rest[end:]
			select {
			case f.names <- name:
			case <-ctx.Done():
				return
			}
		}
	}
}

// beingWritten reports whether somebody has a file open to write to it: only where nobody
// does, the kernel gives a lease to read it (fcntl(2)). Where it gives none for another
// reason, as on some file systems, nobody knows, and the answer is no.
func beingWritten(file string) bool {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer f.Close() // ends the lease
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	return errors.Is(err, unix.EAGAIN)
}
