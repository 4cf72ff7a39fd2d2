package lab

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTimeout is what Receive gives when no frame came in time. It is also an
// os.ErrDeadlineExceeded.
var ErrTimeout = fmt.Errorf("no frame in time: %w", os.ErrDeadlineExceeded)

// maxFrame is the longest frame received, in bytes: a 64 KiB segment that was
// never cut up, with its headers.
const maxFrame = 1<<16 + 256

// A frameFile is a non-blocking descriptor that gives one frame a read.
type frameFile struct {
	file *os.File
	conn syscall.RawConn
	buf  []byte
}

// newFrameFile takes over fd, which must be non-blocking.
func newFrameFile(fd int, name string) (*frameFile, error) {
	file := os.NewFile(uintptr(fd), name)
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &frameFile{file: file, conn: conn, buf: make([]byte, maxFrame)}, nil
}

// receive waits up to timeout for read to give a frame; 0 looks once. read gets
// the descriptor and the buffer and gives the frame's length.
func (f *frameFile) receive(timeout time.Duration, read func(fd int, buf []byte) (int, error)) ([]byte, error) {
	var deadline time.Time // zero: none; an elapsed one would forbid even one look
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	if err := f.file.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	var n int
	var readErr error
	err := f.conn.Read(func(fd uintptr) bool {
		for {
			n, readErr = read(int(fd), f.buf)
			if !errors.Is(readErr, unix.EINTR) {
				break
			}
		}
		return timeout <= 0 || !errors.Is(readErr, unix.EAGAIN)
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) || err == nil && errors.Is(readErr, unix.EAGAIN):
		return nil, ErrTimeout
	case err != nil:
		return nil, err
	case readErr != nil:
		return nil, readErr
	}
	return append([]byte(nil), f.buf[:n]...), nil
}

// drain gives every frame that is waiting, without waiting for more.
func drain(receive func(time.Duration) ([]byte, error)) ([][]byte, error) {
	var frames [][]byte
	for {
		frame, err := receive(0)
		if errors.Is(err, ErrTimeout) {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, frame)
	}
}
