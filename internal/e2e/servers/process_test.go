//go:build e2e

package servers

import (
	"bytes"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"macvtap-filter/internal/lab"
)

// bound ends what hangs, and decides nothing else.
const bound = 5 * time.Minute

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, bound)
		}
	}
}

// A daemon is a program that runs until it is stopped, or the test ends.
type daemon struct {
	cmd  *exec.Cmd
	gone chan struct{}

	mu   sync.Mutex
	said bytes.Buffer
}

// Write takes what the program says.
func (d *daemon) Write(text []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.Write(text)
}

// start runs a program in a namespace. What it said is shown if the test fails.
func start(t *testing.T, ns *lab.Namespace, cmd *exec.Cmd) *daemon {
	t.Helper()
	d := &daemon{cmd: cmd, gone: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = d, d
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // what it started may hold on to its output
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // most are killed
		close(d.gone)
	}()
	t.Cleanup(func() {
		d.stop()
		if t.Failed() {
			d.mu.Lock()
			defer d.mu.Unlock()
			t.Logf("%s said:\n%s", cmd, d.said.Bytes())
		}
	})
	return d
}

func (d *daemon) stop() {
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // with what it started; it may have ended
	<-d.gone
}

// awaitEnd waits until the program has ended by itself.
func (d *daemon) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-d.gone:
	case <-time.After(bound):
		t.Fatalf("%s has not ended within %v", d.cmd, bound)
	}
}

// run runs a program in a namespace and gives what it printed.
func run(t *testing.T, ns *lab.Namespace, cmd *exec.Cmd) string {
	t.Helper()
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := ns.Run(cmd); err != nil {
		t.Fatalf("%s: %v: %s%s", cmd, err, out.Bytes(), said.Bytes())
	}
	return out.String()
}
