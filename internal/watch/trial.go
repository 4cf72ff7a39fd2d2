package watch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/patience"
)

// A configuration on trial is in force for as long as the connection lasts of who tries it, and
// says so at its end: however that process ends, the configuration before is in force again.

// A Candidate is a configuration to be tried.
type Candidate struct {
	File string `json:"file"`
	Hash string `json:"hash"` // of what was read, see config.Text
}

// confirmed is what is sent of a candidate that is to stay in force.
const confirmed = "confirmed"

// A Trial is one that a running watch takes part in.
type Trial struct {
	conn  net.Conn
	Ended <-chan struct{} // watch has ended, and with it the trial
}

// Try has the watch of the caller's network namespace take a candidate until End or Confirm. It is
// ErrNotRunning when there is none.
func Try(ctx context.Context, c Candidate) (*Trial, error) {
	name, err := TrialSocket("watch-trial")
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: patience.Report}).DialContext(ctx, "unix", name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("have watch try %s: %w", c.File, err)
	}
	answers := bufio.NewReader(conn)
	var answer string
	if err = conn.SetDeadline(time.Now().Add(patience.Report)); err == nil {
		if err = json.NewEncoder(conn).Encode(c); err == nil {
			answer, err = answers.ReadString('\n')
		}
	}
	if answer = strings.TrimSpace(answer); err == nil && answer != "" {
		err = errors.New(answer)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("have watch try %s: %w", c.File, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = answers.ReadByte() // it says no more
	}()
	return &Trial{conn, ended}, nil
}

// Confirm has the candidate stay in force: by now it stands in the configuration's file.
func (t *Trial) Confirm() error {
	_, err := fmt.Fprintln(t.conn, confirmed)
	return errors.Join(err, t.conn.Close())
}

// End has the configuration before be in force again, unless the candidate was confirmed.
func (t *Trial) End() { _ = t.conn.Close() }

// TrialSocket gives a socket's file for the network namespace that the process is in.
func TrialSocket(kind string) (string, error) {
	name, err := lockName()
	return strings.NewReplacer("-watch-", "-"+kind+"-", ".lock", ".sock").Replace(name), err
}

// serveTrials takes candidates, until ctx ends.
func serveTrials(ctx context.Context, tell func(event)) error {
	name, err := TrialSocket("watch-trial")
	if err != nil {
		return err
	}
	listener, err := ListenAt(name)
	if err != nil {
		return fmt.Errorf("the socket by which watch is told of a trial: %w", err)
	}
	accept(ctx, listener, func(conn net.Conn) {
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		go takePart(conn, tell)
	})
	return nil
}

// accept hands on who connects, until ctx ends.
func accept(ctx context.Context, listener net.Listener, serve func(net.Conn)) {
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				serve(conn)
			}
		}
	}()
}

// ListenAt listens at a socket that only root can use, in place of one that nobody listens at.
func ListenAt(name string) (net.Listener, error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// A moment later, with the process's mask, others could be connected.
	mask := unix.Umask(0o177)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: name})
	unix.Umask(mask)
	if err != nil {
		return nil, err
	}
	return listener, nil
}

// takePart takes part in one trial, to its end.
func takePart(conn net.Conn, tell func(event)) {
	defer conn.Close()
	said := bufio.NewReader(conn)
	line, err := said.ReadBytes('\n')
	var c Candidate
	if err != nil || json.Unmarshal(line, &c) != nil {
		return
	}
	read := readText(c.File)
	tried, err := read.parse()
	if err == nil && read.Hash() != c.Hash {
		err = fmt.Errorf("%s has changed meanwhile", c.File)
	}
	taken := make(chan error, 1)
	if err == nil {
		tell(func(w *watcher) { taken <- w.try(tried) })
		err = <-taken
	}
	if err != nil {
		fmt.Fprintln(conn, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Fprintln(conn)
	word, _ := said.ReadString('\n')
	tell(func(w *watcher) { w.tried(strings.TrimSpace(word) == confirmed) })
}

// try takes a candidate.
func (w *watcher) try(c *config.Config) error {
	if w.former != nil {
		return errors.New("another configuration is on trial")
	}
	w.former = w.config
	w.Log(slog.LevelInfo, fmt.Sprintf("%s is in force on trial, until it is confirmed or taken back", c.File), journal.Fields{Reason: journal.Config})
	w.take(c)
	return nil
}

// tried ends a trial. One that was confirmed is in the file, which is read a moment later.
func (w *watcher) tried(stays bool) {
	former := w.former
	w.former = nil
	if stays {
		return
	}
	w.Log(slog.LevelWarn, fmt.Sprintf("%s was not confirmed: %s is in force again", w.config.File, former.File), journal.Fields{Reason: journal.Config})
	w.take(former)
}

// take has a configuration be in force.
func (w *watcher) take(c *config.Config) {
	w.config = c
	w.configured()
	w.replan(func(*device) bool { return true })
}
