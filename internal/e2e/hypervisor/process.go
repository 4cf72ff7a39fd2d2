package hypervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTime is how long a process may take to end, far above what it takes on a busy machine.
const stopTime = 3 * time.Minute

// A Process runs in the background on the hypervisor, until it is stopped or the sandbox ends.
type Process struct {
	name    string
	process *os.Process
	log     string        // the path by which the caller finds what it says
	ended   chan struct{} // closed when it has ended
}

// start starts a program in the background. What it says is added to a file of the hypervisor.
func (h *Hypervisor) start(log string, env []string, name string, args ...string) (*Process, error) {
	p := &Process{name: name, log: h.Path(log), ended: make(chan struct{})}
	file, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd := h.Command(context.Background(), name, args...)
	cmd.Stdout, cmd.Stderr = file, file
	cmd.Env = append(cmd.Env, env...)
	// The terminal's interrupts are for the tests alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p.process = cmd.Process
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.ended)
	}()
	return p, nil
}

// StartService starts a program that tells its supervisor when it is ready, as systemd.service(5) has it with
// Type=notify, and waits until it is: `macvtap-filter watch` is one. It is an error that the program ends before.
func (h *Hypervisor) StartService(ctx context.Context, name string, args ...string) (*Process, error) {
	socket := filepath.Join(workDir, filepath.Base(name)+".notify")
	if err := os.Remove(h.Path(socket)); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: h.Path(socket), Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p, err := h.start(socket+".log", []string{"NOTIFY_SOCKET=" + socket}, name, args...)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	ready := make(chan error, 1)
	go func() { ready <- awaitReady(conn) }()
	select {
	case err = <-ready:
	case <-p.ended:
		err = fmt.Errorf("%s ended before it was ready: %s", name, p.Log())
	case <-ctx.Done():
		err = fmt.Errorf("%s is not ready: %w: %s", name, ctx.Err(), p.Log())
	}
	if err != nil {
		return nil, errors.Join(err, p.kill(), conn.Close())
	}
	// It goes on notifying, its watchdog for one: the socket stays as long as it.
	go func() {
		<-p.ended
		_ = conn.Close()
	}()
	return p, nil
}

// awaitReady reads notifications, assignments one a line (sd_notify(3)), until one says that the service is ready. Then
// it goes on reading in the background, so that the service is never kept waiting.
func awaitReady(conn *net.UnixConn) error {
	message := make([]byte, 1<<12)
	for {
		n, err := conn.Read(message)
		if err != nil {
			return fmt.Errorf("wait for READY=1: %w", err)
		}
		for line := range strings.Lines(string(message[:n])) {
			if strings.TrimSpace(line) != "READY=1" {
				continue
			}
			go func() {
				for err := error(nil); err == nil; _, err = conn.Read(message) {
				}
			}()
			return nil
		}
	}
}

// Log returns what the process has said so far.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Stop ends the process with a signal and waits for its end. One that does not heed the signal in time is killed, and
// that is an error.
func (p *Process) Stop(signal syscall.Signal) error {
	if err := p.process.Signal(signal); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("%s did not end within %s", p.name, stopTime), p.kill())
	}
}

// kill ends the process, if it has not ended.
func (p *Process) kill() error {
	if err := p.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	return nil
}
